#pragma once

// A value of the template language: what Python's values are to jinja2. Strings, lists and dicts
// never change once made (the sandbox that transformers uses forbids it too), so copies share them.
// Only a namespace changes.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/text/jinja/meter.h"
#include "engine/text/jinja/text.h"

namespace alcca::jinja {

struct List;
struct Dict;
struct Generator;
struct Namespace;
struct Callable;
struct Loop;

enum class Kind {
  kUndefined,
  kNone,
  kBool,
  kInt,
  kFloat,
  kBigInt,  // An integer beyond 64 bits: it can be printed and compared, no more.
  kString,
  kList,  // Tuples and Python's views of a dict too.
  kDict,
  kGenerator,  // A list that can be read once and is always true.
  kNamespace,
  kCallable,
  kLoop,
};

class Value {
 public:
  struct Undefined {
    std::shared_ptr<const std::string> what;  // For the error of whoever uses it.
  };
  struct BigInt {
    std::shared_ptr<const Text> digits;
  };

  Value() : Value(Undefined{}) {}
  explicit Value(Undefined undefined) : data_(std::move(undefined)) {}
  explicit Value(Text text) : data_(std::make_shared<const Text>(std::move(text))) {}
  Value(std::shared_ptr<const Text> text, bool markup) : data_(std::move(text)), markup_(markup) {}
  explicit Value(std::shared_ptr<const List> list) : data_(std::move(list)) {}
  explicit Value(std::shared_ptr<const Dict> dict) : data_(std::move(dict)) {}
  explicit Value(std::shared_ptr<Generator> generator) : data_(std::move(generator)) {}
  explicit Value(std::shared_ptr<Namespace> space) : data_(std::move(space)) {}
  explicit Value(std::shared_ptr<const Callable> callable) : data_(std::move(callable)) {}
  explicit Value(std::shared_ptr<Loop> loop) : data_(std::move(loop)) {}
  Value(BigInt digits, Origin origin) : data_(std::move(digits)), origin_(origin) {}

  static Value UndefinedAs(std::string what);
  static Value None(Origin origin = Origin::kTemplate) { return Value(std::monostate(), origin); }
  static Value Bool(bool value, Origin origin = Origin::kTemplate) { return Value(value, origin); }
  static Value Int(int64_t value, Origin origin = Origin::kTemplate) {
    return Value(value, origin);
  }
  static Value Float(double value, Origin origin = Origin::kTemplate) {
    return Value(value, origin);
  }

  Kind kind() const { return static_cast<Kind>(data_.index()); }
  bool Is(Kind kind) const { return this->kind() == kind; }
  bool IsNumber() const { return Is(Kind::kBool) || Is(Kind::kInt) || Is(Kind::kFloat); }

  // Each only for its own kind.
  bool boolean() const { return std::get<bool>(data_); }
  int64_t integer() const { return std::get<int64_t>(data_); }
  double real() const { return std::get<double>(data_); }
  const Text& text() const { return *std::get<std::shared_ptr<const Text>>(data_); }
  const Text& digits() const { return *std::get<BigInt>(data_).digits; }
  const List& list() const { return *std::get<std::shared_ptr<const List>>(data_); }
  const Dict& dict() const { return *std::get<std::shared_ptr<const Dict>>(data_); }
  Generator& generator() const { return *std::get<std::shared_ptr<Generator>>(data_); }
  Namespace& space() const { return *std::get<std::shared_ptr<Namespace>>(data_); }
  const Callable& callable() const { return *std::get<std::shared_ptr<const Callable>>(data_); }
  Loop& loop() const { return *std::get<std::shared_ptr<Loop>>(data_); }
  std::string_view undefined_what() const;

  // Of a bool or int, as an int; of a bool, int or float, as a double.
  int64_t AsInt() const { return Is(Kind::kBool) ? boolean() : integer(); }
  double AsDouble() const;

  // Where a value that is no string came from; of a string each byte knows.
  Origin origin() const { return origin_; }
  // Python's Markup: what `safe` and `escape` return. Strings added to it are escaped.
  bool markup() const { return markup_; }
  std::shared_ptr<const Text> shared_text() const {
    return std::get<std::shared_ptr<const Text>>(data_);
  }

  bool Truth() const;
  int depth() const;                  // 0 for a value without parts.
  const void* identity() const;       // Of what is shared; nullptr for plain values.
  std::string_view TypeName() const;  // "str", "int", as Python calls it.

 private:
  template <typename T>
  Value(T value, Origin origin) : data_(value), origin_(origin) {}

  // In the order of Kind.
  std::variant<Undefined, std::monostate, bool, int64_t, double, BigInt,
               std::shared_ptr<const Text>, std::shared_ptr<const List>,
               std::shared_ptr<const Dict>, std::shared_ptr<Generator>, std::shared_ptr<Namespace>,
               std::shared_ptr<const Callable>, std::shared_ptr<Loop>>
      data_;
  Origin origin_ = Origin::kTemplate;
  bool markup_ = false;
};

struct List {
  std::vector<Value> items;
  bool tuple = false;
  int depth = 1;
};

// In the order in which keys were added, as Python's.
struct Dict {
  std::vector<std::pair<Value, Value>> items;
  std::unordered_map<std::string, size_t> index;  // DictKey -> items
  int depth = 1;

  // False if the value cannot be a key.
  bool Add(Value key, Value value);
  const Value* Find(const Value& key) const;
  const Value* Find(std::string_view key) const;
};

struct Generator {
  std::vector<Value> items;
  bool read = false;
  int depth = 1;
};

struct Namespace {
  std::unordered_map<std::string, Value> values;
};

struct Loop {
  std::vector<Value> items;
  size_t index = 0;
  int depth = 1;
};

struct Statement;

// A macro, a method of a value, or a function of the environment.
struct Callable {
  std::string name;
  const Statement* macro = nullptr;  // In the template, which outlives the rendering.
  bool method = false;
  Value self;  // Of a method.
  // Variables of loops and macros around the macro, as they were when it was defined.
  std::unordered_map<std::string, Value> closure;
  int depth = 1;
};

// Arguments of a call, a filter or a test.
struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;
};

// INVALID_ARGUMENT if it is nested deeper than kMaxNesting.
absl::StatusOr<Value> MakeList(std::vector<Value> items, Meter* meter, bool tuple = false);
absl::StatusOr<Value> MakeGenerator(std::vector<Value> items, Meter* meter);
absl::StatusOr<Value> MakeDict(Dict dict, Meter* meter);
// Charges for the text.
absl::StatusOr<Value> MakeString(Text text, Meter* meter);

// The origin of what is computed from both.
inline Origin Joined(const Value& a, const Value& b) {
  return a.origin() == Origin::kMessage || b.origin() == Origin::kMessage ? Origin::kMessage
                                                                          : Origin::kTemplate;
}

// Of a text as a whole: kMessage if any byte is.
Origin OriginOf(const Value& value);

}  // namespace alcca::jinja
