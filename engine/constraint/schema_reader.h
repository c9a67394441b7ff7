// One schema object to its shape, keyword by keyword.

#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/constraint/schema_shape.h"

namespace alcca {

class SchemaReader {
 public:
  SchemaReader(SchemaShapes* shapes, const JsonValue& schema, const std::string& path)
      : shapes_(*shapes), schema_(schema), path_(path) {}

  absl::StatusOr<Shape> Read();
  // No keyword that restricts a value.
  static bool SaysNothing(const JsonValue& schema);

 private:
  absl::Status Error(std::string_view keyword, std::string_view what) const;
  absl::Status RefuseUnsupported() const;
  std::string Path(std::string_view keyword) const;
  std::string Path(std::string_view keyword, std::string_view key) const;
  absl::StatusOr<ExprId> Sub(const JsonValue& schema, const std::string& path);

  // Typed access; errors name keyword and pointer. Absent leaves *out.
  absl::Status Count(std::string_view keyword, uint32_t* out) const;
  absl::StatusOr<bool> Number(std::string_view keyword, Decimal* out) const;

  absl::Status ReadTypes(Shape* shape);
  absl::Status ReadEnum(Shape* shape);
  absl::Status ReadNumbers(Shape* shape);
  absl::Status ReadBound(std::string_view keyword, std::string_view exclusive_keyword,
                         const std::function<DfaPtr(const Decimal&, bool)>& make, Shape* shape);
  absl::Status ReadStrings(Shape* shape);
  absl::Status ReadArrays(Shape* shape);
  absl::Status ReadContains(ArrayShape* array);
  absl::Status ReadObjects(Shape* shape);
  absl::Status ReadProperties(ObjectShape* object, bool* says_something);
  absl::Status ReadExtras(ObjectShape* object, bool* says_something);
  absl::Status ReadPropertyNames(Shape* shape);
  absl::Status ReadDependencies(Shape* shape);
  absl::Status ReadCombinations(Shape* shape);
  absl::StatusOr<ExprId> ReadList(std::string_view keyword, const JsonValue& list, bool all);
  absl::StatusOr<ExprId> ReadOneOf(const JsonValue& list);
  absl::StatusOr<ExprId> Resolve(const std::string& reference);
  absl::StatusOr<DfaPtr> PatternDfa(std::string_view keyword, const std::string& pattern);
  absl::Status AndInto(Shape* shape, const Shape& other);
  static Shape RequireMember(const std::string& name, bool present);

  SchemaShapes& shapes_;
  const JsonValue& schema_;
  const std::string path_;
};

}  // namespace alcca
