#pragma once

// Between JSON and values.

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "engine/text/jinja/meter.h"
#include "engine/text/jinja/value.h"

namespace alcca::jinja {

struct JsonStyle {
  bool ensure_ascii = false;
  bool indented = false;
  std::string indent;                 // Of one level, if indented.
  std::string item_separator = ", ";  // "," if indented.
  std::string key_separator = ": ";
  bool sort_keys = false;
};

// json.dumps(value). INVALID_ARGUMENT for a value that JSON does not have.
absl::StatusOr<Value> ToJson(const Value& value, const JsonStyle& style, Meter* meter);

// json.loads(text), every part of it of the given origin. INVALID_ARGUMENT: no JSON, a repeated
// key, nesting beyond kMaxNesting.
absl::StatusOr<Value> FromJson(std::string_view text, Origin origin, Meter* meter);

}  // namespace alcca::jinja
