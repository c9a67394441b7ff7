// What a JSON schema means: the set of JSON values that it allows, type by type, in a form that is
// closed under and, or, not. Every operation is exact or says INVALID_ARGUMENT; the one thing that
// is left out is numbers with an exponent, which are allowed only where any number is.

#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <tuple>
#include <unordered_map>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/constraint/char_dfa.h"
#include "engine/constraint/grammar.h"
#include "engine/constraint/json_document.h"
#include "engine/constraint/json_schema.h"

namespace alcca {

// A set of values that is looked at when it is needed: schemas may be recursive.
using ExprId = uint32_t;
inline constexpr ExprId kAnyValue = 0;
inline constexpr ExprId kNoValue = 1;

struct NumberSet {
  DfaPtr plain{};          // Spellings without an exponent, all those of a value or none.
  bool exponents = false;  // Every spelling with an exponent as well; only with all of `plain`.
};

struct StringShape {
  DfaPtr strings{};
  uint32_t min = 0, max = kUnbounded;  // Characters.
};

struct ArrayShape {
  struct Contains {
    ExprId item = kAnyValue;
    uint32_t min = 1, max = kUnbounded;
    uint32_t from = 0;  // Items before this one do not count.
  };
  std::vector<ExprId> prefix{};
  ExprId rest = kAnyValue;
  uint32_t min = 0, max = kUnbounded;
  std::vector<Contains> contains{};
  bool unique = false;

  bool full() const {
    return prefix.empty() && rest == kAnyValue && min == 0 && max == kUnbounded &&
           contains.empty() && !unique;
  }
};

struct ObjectShape {
  struct Member {
    std::string name{};
    ExprId value = kAnyValue;  // kNoValue: must be absent.
    bool required = false;
  };
  struct KeyClass {  // Of keys that no member has.
    DfaPtr keys{};
    ExprId value = kAnyValue;
  };
  std::vector<Member> members{};
  std::vector<KeyClass> extras{};  // Disjoint, together all keys.
  std::vector<KeyClass> exist{};   // Some other key of the class must be there with such a value.
  uint32_t min = 0, max = kUnbounded;

  bool full() const {
    return members.empty() && exist.empty() && min == 0 && max == kUnbounded &&
           extras.size() == 1 && extras[0].value == kAnyValue;
  }
  const Member* Find(std::string_view name) const;
  ExprId ValueOf(std::string_view name) const;
};

struct Shape {
  bool null = false, no = false, yes = false;  // null, false, true.
  NumberSet numbers{};
  std::vector<StringShape> strings{};  // Alternatives, which may overlap.
  std::vector<ArrayShape> arrays{};
  std::vector<ObjectShape> objects{};
};

// Shapes of schemas, made as they are asked for. References to JSON and returned pointers stay
// valid as long as this lives and the document does.
class SchemaShapes {
 public:
  SchemaShapes(const JsonValue& root, const JsonSchemaOptions& options);

  ExprId Schema(const JsonValue& schema, const std::string& path);
  ExprId Const(const JsonValue& value);
  ExprId And(std::vector<ExprId> parts);
  ExprId Or(std::vector<ExprId> parts);
  ExprId Not(ExprId part);

  absl::StatusOr<const Shape*> Normalize(ExprId expr);
  // True only if it is certain.
  bool ProvablyEmpty(ExprId expr, int depth);
  // One automaton for the strings of a shape.
  absl::StatusOr<DfaPtr> StringsOf(const Shape& shape);
  absl::StatusOr<DfaPtr> StringsOf(const StringShape& shape);
  // Certain that no string is longer: a finite set has none longer than it has states.
  static bool FitsBelow(const DfaPtr& strings, uint32_t max) {
    return strings->num_states() <= max && strings->Finite();
  }

  DfaBudget* budget() { return &budget_; }

  static Shape EmptyShape();
  static Shape FullShape();
  static ObjectShape FullObject();

 private:
  friend class SchemaReader;
  enum class Kind : uint8_t { kAny, kNone, kSchema, kConst, kAnd, kOr, kNot };
  struct Expr {
    Kind kind = Kind::kAny;
    const JsonValue* json = nullptr;
    std::string path{};  // JSON pointer of `json`, for errors.
    std::vector<ExprId> parts{};
    std::unique_ptr<Shape> shape{};
    bool open = false;  // Being normalised.
  };

  ExprId Add(Kind kind, std::vector<ExprId> parts);
  absl::StatusOr<Shape> Compute(ExprId expr);
  absl::StatusOr<Shape> ConstShape(const JsonValue& value);

  // Algebra (schema_algebra.cc).
  absl::StatusOr<Shape> AndShapes(const Shape& a, const Shape& b);
  absl::Status OrInto(const Shape& b, Shape* a);
  absl::StatusOr<Shape> NotShape(const Shape& a);
  absl::Status AndStrings(const std::vector<StringShape>& a, const std::vector<StringShape>& b,
                          std::vector<StringShape>* out);
  absl::Status AndArrays(const std::vector<ArrayShape>& a, const std::vector<ArrayShape>& b,
                         std::vector<ArrayShape>* out);
  absl::Status AndObjects(const std::vector<ObjectShape>& a, const std::vector<ObjectShape>& b,
                          std::vector<ObjectShape>* out);
  absl::Status AndObject(const ObjectShape& a, const ObjectShape& b, std::vector<ObjectShape>* out);
  absl::StatusOr<std::vector<StringShape>> NotString(const StringShape& a);
  absl::StatusOr<std::vector<ArrayShape>> NotArray(const ArrayShape& a);
  absl::StatusOr<std::vector<ObjectShape>> NotObject(const ObjectShape& a);
  bool EmptyArray(const ArrayShape& shape, int depth);
  bool EmptyObject(const ObjectShape& shape, int depth);

  const JsonValue& root_;
  const JsonSchemaOptions& options_;
  DfaBudget budget_;
  std::vector<Expr> exprs_;
  std::unordered_map<const JsonValue*, ExprId> by_json_;
  std::map<std::pair<Kind, std::vector<ExprId>>, ExprId> by_parts_;
  std::map<std::pair<ExprId, int>, bool> provably_empty_;
  std::map<std::string, DfaPtr> patterns_;                            // Search automata.
  std::map<std::tuple<DfaPtr, uint32_t, uint32_t>, DfaPtr> bounded_;  // By strings, min, max.
  bool refs_stand_alone_ = false;                                     // Up to draft 7.
};

// Numbers (schema_numbers.cc): spellings without an exponent, by value.
DfaPtr AllNumbers();
DfaPtr IntegerValues();     // 1, 1.0, -0.
DfaPtr IntegerSpellings();  // 1, not 1.0.
DfaPtr CanonicalNumbers();  // No zeros at the end of a fraction, but ".0".
DfaPtr NumbersAtLeast(const Decimal& bound, bool exclusive);
DfaPtr NumbersAtMost(const Decimal& bound, bool exclusive);
DfaPtr NumbersEqualTo(const Decimal& value);
absl::StatusOr<DfaPtr> MultiplesOf(const Decimal& step, DfaBudget* budget);

// Formats (schema_formats.cc): an expression that matches the whole string; nullptr if the format
// is none that is known.
const char* FormatPattern(std::string_view format);
// Formats that JSON schema defines and FormatPattern has not. Any other name is an annotation: JSON
// schema has validators pass over a format that they do not know.
bool IsUnsupportedFormat(std::string_view format);

}  // namespace alcca
