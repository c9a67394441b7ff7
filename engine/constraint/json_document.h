// A JSON document as schemas need it: members keep their order, numbers keep their digits.

#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"

namespace alcca {

struct JsonValue {
  enum class Type : uint8_t { kNull, kBoolean, kNumber, kString, kArray, kObject };
  Type type = Type::kNull;
  bool boolean = false;
  std::string text{};  // Of a string: the characters. Of a number: its digits as written.
  std::vector<JsonValue> items{};
  std::vector<std::pair<std::string, JsonValue>> members{};

  bool is_object() const { return type == Type::kObject; }
  bool is_array() const { return type == Type::kArray; }
  bool is_string() const { return type == Type::kString; }
  bool is_number() const { return type == Type::kNumber; }
  const JsonValue* Find(std::string_view key) const;  // nullptr if there is none.
};

struct JsonLimits {
  size_t bytes = 4 << 20;
  size_t depth = 100;
  size_t values = 200'000;
};

// Strict: duplicate keys, text after the document and what is over a limit are INVALID_ARGUMENT.
absl::StatusOr<JsonValue> ParseJsonDocument(std::string_view text, const JsonLimits& limits = {});

// A decimal number without its exponent: sign, digits before the point (no leading zeros but "0"),
// digits behind it (no trailing zeros).
struct Decimal {
  bool negative = false;
  std::string whole = "0";
  std::string fraction;
  bool is_integer() const { return fraction.empty(); }
  bool is_zero() const { return whole == "0" && fraction.empty(); }
};
// INVALID_ARGUMENT if it would have more than 400 digits.
absl::StatusOr<Decimal> ParseDecimal(std::string_view number);
// -1, 0, 1.
int CompareDecimals(const Decimal& a, const Decimal& b);

// `text` as JSON writes it, quotes included, escaping only what must be.
std::string QuoteJson(std::string_view text);

}  // namespace alcca
