#include "engine/constraint/json_document.h"

#include <algorithm>
#include <unordered_set>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"

namespace alcca {
namespace {

using nlohmann::json;
using Type = JsonValue::Type;

class DocumentSax : public nlohmann::json_sax<json> {
 public:
  DocumentSax(const JsonLimits& limits, JsonValue* root) : limits_(limits), root_(root) {}
  const std::string& error() const { return error_; }

  bool null() override { return Add({.type = Type::kNull}) != nullptr; }
  bool boolean(bool value) override {
    return Add({.type = Type::kBoolean, .boolean = value}) != nullptr;
  }
  bool number_integer(int64_t value) override {
    return Add({.type = Type::kNumber, .text = absl::StrCat(value)}) != nullptr;
  }
  bool number_unsigned(uint64_t value) override {
    return Add({.type = Type::kNumber, .text = absl::StrCat(value)}) != nullptr;
  }
  bool number_float(double, const std::string& digits) override {
    return Add({.type = Type::kNumber, .text = digits}) != nullptr;
  }
  bool string(std::string& value) override {
    return Add({.type = Type::kString, .text = std::move(value)}) != nullptr;
  }
  bool binary(json::binary_t&) override { return Fail("binary data"); }
  bool start_object(size_t) override { return Open({.type = Type::kObject}); }
  bool start_array(size_t) override { return Open({.type = Type::kArray}); }
  bool end_object() override { return Close(); }
  bool end_array() override { return Close(); }
  bool key(std::string& text) override {
    if (!keys_.back().insert(text).second) {
      return Fail(absl::StrCat("duplicate key ", QuoteJson(text)));
    }
    key_ = text;
    return true;
  }
  bool parse_error(size_t position, const std::string&, const json::exception&) override {
    return Fail(absl::StrCat("not valid JSON at byte ", position));
  }

 private:
  bool Fail(std::string error) {
    error_ = std::move(error);
    return false;
  }
  JsonValue* Add(JsonValue value) {
    if (++values_ > limits_.values) {
      Fail(absl::StrCat("more than ", limits_.values, " values"));
      return nullptr;
    }
    if (open_.empty()) {
      *root_ = std::move(value);
      return root_;
    }
    JsonValue* parent = open_.back();
    if (parent->is_array()) {
      parent->items.push_back(std::move(value));
      return &parent->items.back();
    }
    parent->members.emplace_back(std::move(key_), std::move(value));
    return &parent->members.back().second;
  }
  bool Open(JsonValue container) {
    if (open_.size() == limits_.depth) {
      return Fail(absl::StrCat("nested more than ", limits_.depth, " deep"));
    }
    JsonValue* place = Add(std::move(container));
    if (place == nullptr) {
      return false;
    }
    open_.push_back(place);  // Stays put: its parent does not change while it is open.
    keys_.emplace_back();
    return true;
  }
  bool Close() {
    open_.pop_back();
    keys_.pop_back();
    return true;
  }

  const JsonLimits& limits_;
  JsonValue* root_;
  std::vector<JsonValue*> open_;
  std::vector<std::unordered_set<std::string>> keys_;
  std::string key_;
  size_t values_ = 0;
  std::string error_;
};

}  // namespace

const JsonValue* JsonValue::Find(std::string_view key) const {
  for (const auto& [name, value] : members) {
    if (name == key) {
      return &value;
    }
  }
  return nullptr;
}

absl::StatusOr<JsonValue> ParseJsonDocument(std::string_view text, const JsonLimits& limits) {
  if (text.size() > limits.bytes) {
    return absl::InvalidArgumentError(
        absl::StrCat(text.size(), " bytes of JSON, at most ", limits.bytes));
  }
  if (const size_t nul = text.find('\0'); nul != std::string_view::npos) {
    return absl::InvalidArgumentError(absl::StrCat("not valid JSON at byte ", nul));
  }
  JsonValue root;
  DocumentSax sax(limits, &root);
  if (!json::sax_parse(text.begin(), text.end(), &sax)) {
    return absl::InvalidArgumentError(sax.error());
  }
  return root;
}

absl::StatusOr<Decimal> ParseDecimal(std::string_view number) {
  constexpr int64_t kMaxDigits = 400;
  const absl::Status too_long = absl::InvalidArgumentError(absl::StrCat(
      "number ", std::string(number.substr(0, 40)), " has more than ", kMaxDigits, " digits"));
  Decimal out;
  if (number.starts_with('-')) {
    out.negative = true;
    number.remove_prefix(1);
  }
  int64_t exponent = 0;
  if (const size_t e = number.find_first_of("eE"); e != std::string_view::npos) {
    std::string digits(number.substr(e + 1));
    if (digits.starts_with('+')) {
      digits.erase(0, 1);
    }
    if (!absl::SimpleAtoi(digits, &exponent)) {
      return too_long;
    }
    number = number.substr(0, e);
  }
  const size_t point = std::min(number.find('.'), number.size());
  std::string digits(number.substr(0, point));
  if (point < number.size()) {
    digits += number.substr(point + 1);
  }
  if (digits.find_first_not_of('0') == std::string::npos) {
    return Decimal();
  }
  const int64_t before = static_cast<int64_t>(point) + exponent;  // Digits before the point.
  if (before > kMaxDigits || before < -kMaxDigits ||
      static_cast<int64_t>(digits.size()) > kMaxDigits) {
    return too_long;
  }
  if (before < 0) {
    digits.insert(0, static_cast<size_t>(-before), '0');
  } else if (before > static_cast<int64_t>(digits.size())) {
    digits.append(static_cast<size_t>(before) - digits.size(), '0');
  }
  const auto cut = static_cast<size_t>(std::max<int64_t>(before, 0));
  out.whole = digits.substr(0, cut);
  out.fraction = digits.substr(cut);
  out.whole.erase(0, std::min(out.whole.find_first_not_of('0'), out.whole.size()));
  if (out.whole.empty()) {
    out.whole = "0";
  }
  out.fraction.resize(out.fraction.find_last_not_of('0') + 1);
  return out;
}

int CompareDecimals(const Decimal& a, const Decimal& b) {
  if (a.negative != b.negative) {
    return a.negative ? -1 : 1;
  }
  int order = 0;
  if (a.whole.size() != b.whole.size()) {
    order = a.whole.size() < b.whole.size() ? -1 : 1;
  } else if (const int c = a.whole.compare(b.whole); c != 0) {
    order = c < 0 ? -1 : 1;
  } else if (const int f = a.fraction.compare(b.fraction); f != 0) {
    order = f < 0 ? -1 : 1;
  }
  return a.negative ? -order : order;
}

std::string QuoteJson(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    constexpr std::string_view kShort = "\"\\\b\f\n\r\t";
    if (const size_t i = kShort.find(c); i != std::string_view::npos) {
      out += {'\\', "\"\\bfnrt"[i]};
    } else if (static_cast<uint8_t>(c) < 0x20) {
      constexpr char kHex[] = "0123456789abcdef";
      out += {'\\', 'u', '0', '0', kHex[c >> 4], kHex[c & 15]};
    } else {
      out += c;
    }
  }
  return out + '"';
}

}  // namespace alcca
