// Small JSON files from outside (config.json and its kin), read strictly: duplicate keys, deep
// nesting, bulk and text after the document are errors, and so is a value of the wrong type or
// range. Nothing here throws. Included by the .cc files that parse, never by a header.

#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "nlohmann/json_fwd.hpp"

namespace alcca {

inline constexpr size_t kMaxJsonBytes = size_t{16} << 20;
inline constexpr size_t kMaxJsonDepth = 32;
inline constexpr size_t kMaxJsonValues = 100'000;  // Bounds the memory of a document.

// The document, which is an object. `name` is how errors call it.
absl::StatusOr<nlohmann::json> ParseStrictJson(std::string_view text, std::string_view name,
                                               size_t max_values = kMaxJsonValues,
                                               size_t max_bytes = kMaxJsonBytes);

// Reads typed values of one object and remembers the first error, so that a parser is a list of
// calls and one look at status(). A failed call leaves *out as it was. null counts as absent.
class JsonReader {
 public:
  JsonReader(const nlohmann::json& object, std::string_view name);

  absl::Status status() const { return status_; }
  bool Has(const char* key) const;     // Present and not null.
  bool IsNull(const char* key) const;  // Present and null.
  bool Empty() const;                  // No key at all.

  // Required.
  void Int(const char* key, int64_t min, int64_t max, int64_t* out);
  void Number(const char* key, double min, double max, double* out);

  // Optional: absent leaves *out as it was.
  void OptionalInt(const char* key, int64_t min, int64_t max, int64_t* out);
  void OptionalNumber(const char* key, double min, double max, double* out);
  void OptionalInt32(const char* key, int64_t min, int64_t max, std::optional<int32_t>* out);
  void OptionalFloat(const char* key, double min, double max, std::optional<float>* out);
  void Bool(const char* key, bool* out);
  void String(const char* key, std::string* out);
  void Choice(const char* key, const std::vector<std::string>& choices, std::string* out);
  void StringList(const char* key, std::vector<std::string>* out);
  // A list of lists of numbers, all of one length, none empty; integers only with `integers`.
  void NumberTable(const char* key, double min, double max, bool integers,
                   std::vector<std::vector<double>>* out);
  bool IsList(const char* key) const;
  void IntOrIntList(const char* key, int64_t min, int64_t max, std::vector<int64_t>* out);

  // The object under key; an empty one, and an error here, when it is not an object.
  JsonReader Object(const char* key);

  // Keys that begin with '_' are comments and always allowed.
  void RefuseOtherKeys(const std::vector<std::string>& known);

  // Error values that name the file and the key.
  absl::Status Invalid(const char* key, const std::string& what) const;
  absl::Status Unsupported(const char* key, const std::string& what) const;

 private:
  void Fail(const char* key, const std::string& what);
  // The value of a key that Has(); otherwise an error that names what was expected.
  const nlohmann::json* Required(const char* key, const std::string& expected);
  bool ReadInt(const char* key, const nlohmann::json& value, int64_t min, int64_t max,
               int64_t* out);

  const nlohmann::json& object_;
  std::string name_;
  absl::Status status_;
};

}  // namespace alcca
