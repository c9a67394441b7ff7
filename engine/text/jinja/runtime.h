#pragma once

// What expressions can do beyond operators: attributes, methods, filters, tests and functions.

#include <ctime>
#include <initializer_list>
#include <memory>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/text/jinja/meter.h"
#include "engine/text/jinja/value.h"

namespace alcca::jinja {

// Of one rendering.
struct Runtime {
  explicit Runtime(const Limits& limits, const std::tm& time) : meter(limits), now(time) {}
  // A namespace may hold itself.
  ~Runtime() {
    for (const auto& space : namespaces) {
      space->values.clear();
    }
  }
  Runtime(const Runtime&) = delete;
  Runtime& operator=(const Runtime&) = delete;

  Meter meter;
  const std::tm now;
  std::vector<std::shared_ptr<Namespace>> namespaces;
};

// value.name: a method or attribute before an item; undefined if there is none.
absl::StatusOr<Value> GetAttribute(const Value& value, std::string_view name, Runtime* runtime);
// value[key]: an item before a method or attribute; undefined if there is none.
absl::StatusOr<Value> GetItem(const Value& value, const Value& key, Runtime* runtime);

// Of a string, list, dict or loop, whose attribute `name` is a method.
absl::StatusOr<Value> CallMethod(const Value& self, std::string_view name,
                                 const Arguments& arguments, Runtime* runtime);
bool HasMethod(const Value& self, std::string_view name);

absl::StatusOr<Value> CallFilter(std::string_view name, const Value& input,
                                 const Arguments& arguments, Runtime* runtime);
absl::StatusOr<bool> CallTest(std::string_view name, const Value& input, const Arguments& arguments,
                              Runtime* runtime);

// range, dict, namespace, raise_exception, strftime_now.
bool IsFunction(std::string_view name);
absl::StatusOr<Value> CallFunction(std::string_view name, const Arguments& arguments,
                                   Runtime* runtime);

// The argument of each parameter, by position or name; nullptr if it was not given. `required` of
// them must be.
absl::StatusOr<std::vector<const Value*>> Bind(const Arguments& arguments,
                                               std::initializer_list<std::string_view> parameters,
                                               size_t required = 0);
// What Bind found, as a type; `standard` if it is nullptr.
absl::StatusOr<int64_t> AsInteger(const Value* value, int64_t standard);
absl::StatusOr<Text> AsText(const Value* value, std::string_view standard);
inline bool AsBool(const Value* value) {
  return value != nullptr && value->Truth();
}

}  // namespace alcca::jinja
