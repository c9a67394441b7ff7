#include "base/strict_json.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"

namespace alcca {
namespace {

using nlohmann::json;

// At most 60 characters of printable ASCII, for error messages.
std::string Excerpt(const std::string& text) {
  constexpr size_t kShown = 60;
  return absl::StrCat(absl::CHexEscape(text.substr(0, kShown)), text.size() > kShown ? "..." : "");
}

std::string Describe(const json& value) {
  switch (value.type()) {
    case json::value_t::string:
      return absl::StrCat("'", Excerpt(value.get_ref<const std::string&>()), "'");
    case json::value_t::number_integer:
    case json::value_t::number_unsigned:
    case json::value_t::number_float:
    case json::value_t::boolean:
      return value.dump();  // Only strings can make dump() throw.
    default:
      return absl::StrCat("a value of type ", value.type_name());
  }
}

// Builds the document, within the limits. The library's own builder keeps the last of two equal
// keys without a word.
class DocumentSax : public nlohmann::json_sax<json> {
 public:
  DocumentSax(json* root, size_t max_values) : root_(root), max_values_(max_values) {}
  const std::string& error() const { return error_; }

  bool null() override { return Add(nullptr) != nullptr; }
  bool boolean(bool value) override { return Add(value) != nullptr; }
  bool number_integer(int64_t value) override { return Add(value) != nullptr; }
  bool number_unsigned(uint64_t value) override { return Add(value) != nullptr; }
  bool number_float(double value, const std::string&) override { return Add(value) != nullptr; }
  bool string(std::string& value) override { return Add(std::move(value)) != nullptr; }
  bool binary(json::binary_t&) override { return Fail("binary data"); }
  bool start_object(size_t) override { return Open(json::object()); }
  bool start_array(size_t) override { return Open(json::array()); }
  bool end_object() override { return Close(); }
  bool end_array() override { return Close(); }

  bool key(std::string& text) override {
    last_key_ = text;
    if (open_.back()->contains(text)) {
      return Fail(absl::StrCat("duplicate key '", Excerpt(text), "'"));
    }
    slot_ = &(*open_.back())[text];
    return true;
  }

  bool parse_error(size_t position, const std::string&, const json::exception&) override {
    return Fail(absl::StrCat("not valid JSON at byte ", position,
                             last_key_.empty() ? "" : " after key '", Excerpt(last_key_),
                             last_key_.empty() ? "" : "'"));
  }

 private:
  bool Fail(std::string error) {
    error_ = std::move(error);
    return false;
  }

  // Stores the value where the document is being written: root, array end or the key's slot.
  json* Add(json value) {
    if (++values_ > max_values_) {
      Fail(absl::StrCat("more than ", max_values_, " values"));
      return nullptr;
    }
    json* place = root_;
    if (!open_.empty() && open_.back()->is_array()) {
      open_.back()->push_back(nullptr);
      place = &open_.back()->back();
    } else if (!open_.empty()) {
      place = slot_;
    }
    *place = std::move(value);
    return place;
  }

  bool Open(json container) {
    if (open_.size() == kMaxJsonDepth) {
      return Fail(absl::StrCat("nested more than ", kMaxJsonDepth, " deep"));
    }
    json* place = Add(std::move(container));
    if (place == nullptr) {
      return false;
    }
    open_.push_back(place);  // Stays put: its parent does not change while it is open.
    return true;
  }

  bool Close() {
    open_.pop_back();
    return true;
  }

  json* root_;
  const size_t max_values_;
  std::vector<json*> open_;  // The containers around the current position.
  json* slot_ = nullptr;     // Where the value of the last key goes.
  size_t values_ = 0;
  std::string last_key_;
  std::string error_;
};

}  // namespace

absl::StatusOr<nlohmann::json> ParseStrictJson(std::string_view text, std::string_view name,
                                               size_t max_values, size_t max_bytes) {
  const std::string file(name);
  if (text.size() > max_bytes) {
    return absl::InvalidArgumentError(
        absl::StrCat(file, ": file of ", text.size(), " bytes, at most ", max_bytes));
  }
  const size_t nul = text.find('\0');  // The library takes a NUL for the end of the text.
  if (nul != std::string_view::npos) {
    return absl::InvalidArgumentError(absl::StrCat(file, ": not valid JSON at byte ", nul));
  }
  json document;
  DocumentSax sax(&document, max_values);
  if (!json::sax_parse(text.begin(), text.end(), &sax)) {
    return absl::InvalidArgumentError(absl::StrCat(file, ": ", sax.error()));
  }
  if (!document.is_object()) {
    return absl::InvalidArgumentError(
        absl::StrCat(file, ": expected a JSON object, found ", Describe(document)));
  }
  return document;
}

JsonReader::JsonReader(const nlohmann::json& object, std::string_view name)
    : object_(object), name_(name) {}

bool JsonReader::Has(const char* key) const {
  const auto it = object_.find(key);
  return it != object_.end() && !it->is_null();
}

bool JsonReader::Empty() const {
  return object_.empty();
}

bool JsonReader::IsNull(const char* key) const {
  const auto it = object_.find(key);
  return it != object_.end() && it->is_null();
}

absl::Status JsonReader::Invalid(const char* key, const std::string& what) const {
  return absl::InvalidArgumentError(absl::StrCat(name_, ": '", key, "': ", what));
}

absl::Status JsonReader::Unsupported(const char* key, const std::string& what) const {
  const auto it = object_.find(key);
  const bool list = it != object_.end() && it->is_array() && !it->empty();
  const std::string found = it == object_.end() ? "nothing" : Describe(list ? it->front() : *it);
  return absl::UnimplementedError(absl::StrCat(name_, ": '", key, "': ", what, ", found ", found));
}

void JsonReader::Fail(const char* key, const std::string& what) {
  if (status_.ok()) {
    status_ = Invalid(key, what);
  }
}

const nlohmann::json* JsonReader::Required(const char* key, const std::string& expected) {
  if (Has(key)) {
    return &*object_.find(key);
  }
  Fail(key, absl::StrCat("missing, expected ", expected));
  return nullptr;
}

bool JsonReader::ReadInt(const char* key, const nlohmann::json& value, int64_t min, int64_t max,
                         int64_t* out) {
  // An unsigned value beyond int64_t is out of every range.
  const bool fits = value.is_number_integer() &&
                    !(value.is_number_unsigned() && value.get<uint64_t>() > INT64_MAX);
  if (!fits || value.get<int64_t>() < min || value.get<int64_t>() > max) {
    Fail(key,
         absl::StrCat("expected an integer in [", min, ", ", max, "], found ", Describe(value)));
    return false;
  }
  *out = value.get<int64_t>();
  return true;
}

void JsonReader::Int(const char* key, int64_t min, int64_t max, int64_t* out) {
  const json* value = Required(key, absl::StrCat("an integer in [", min, ", ", max, "]"));
  if (value != nullptr) {
    ReadInt(key, *value, min, max, out);
  }
}

void JsonReader::Number(const char* key, double min, double max, double* out) {
  const std::string expected = absl::StrCat("a number in [", min, ", ", max, "]");
  const json* value = Required(key, expected);
  if (value == nullptr) {
    return;
  }
  if (!value->is_number() || !(value->get<double>() >= min) || !(value->get<double>() <= max)) {
    return Fail(key, absl::StrCat("expected ", expected, ", found ", Describe(*value)));
  }
  *out = value->get<double>();
}

void JsonReader::OptionalInt(const char* key, int64_t min, int64_t max, int64_t* out) {
  if (Has(key)) {
    Int(key, min, max, out);
  }
}

void JsonReader::OptionalNumber(const char* key, double min, double max, double* out) {
  if (Has(key)) {
    Number(key, min, max, out);
  }
}

void JsonReader::OptionalInt32(const char* key, int64_t min, int64_t max,
                               std::optional<int32_t>* out) {
  int64_t value = 0;
  if (Has(key) && ReadInt(key, object_[key], min, max, &value)) {
    *out = static_cast<int32_t>(value);
  }
}

void JsonReader::OptionalFloat(const char* key, double min, double max, std::optional<float>* out) {
  if (!Has(key)) {
    return;
  }
  double value = std::nan("");
  Number(key, min, max, &value);
  if (!std::isnan(value)) {
    *out = static_cast<float>(value);
  }
}

void JsonReader::Bool(const char* key, bool* out) {
  if (!Has(key)) {
    return;
  }
  const json& value = object_[key];
  if (!value.is_boolean()) {
    return Fail(key, absl::StrCat("expected true or false, found ", Describe(value)));
  }
  *out = value.get<bool>();
}

void JsonReader::String(const char* key, std::string* out) {
  if (!Has(key)) {
    return;
  }
  const json& value = object_[key];
  if (!value.is_string()) {
    return Fail(key, absl::StrCat("expected a string, found ", Describe(value)));
  }
  *out = value.get<std::string>();
}

void JsonReader::Choice(const char* key, const std::vector<std::string>& choices,
                        std::string* out) {
  std::string value;
  String(key, &value);
  if (!status_.ok() || !Has(key)) {
    return;
  }
  std::string expected;
  for (const std::string& choice : choices) {
    if (value == choice) {
      *out = value;
      return;
    }
    absl::StrAppend(&expected, expected.empty() ? "" : ", ", choice);
  }
  Fail(key, absl::StrCat("expected one of ", expected, "; found ", Describe(object_[key])));
}

void JsonReader::StringList(const char* key, std::vector<std::string>* out) {
  if (!Has(key)) {
    return;
  }
  const json& value = object_[key];
  const auto is_string = [](const json& item) { return item.is_string(); };
  if (!value.is_array() || !std::all_of(value.begin(), value.end(), is_string)) {
    return Fail(key, "expected a list of strings");
  }
  for (const json& item : value) {
    out->push_back(item.get<std::string>());
  }
}

void JsonReader::IntOrIntList(const char* key, int64_t min, int64_t max,
                              std::vector<int64_t>* out) {
  if (!Has(key)) {
    return;
  }
  const json& value = object_[key];
  int64_t number = 0;
  if (!value.is_array()) {
    if (ReadInt(key, value, min, max, &number)) {
      out->push_back(number);
    }
    return;
  }
  for (const json& item : value) {
    if (!ReadInt(key, item, min, max, &number)) {
      return;
    }
    out->push_back(number);
  }
}

bool JsonReader::IsList(const char* key) const {
  const auto it = object_.find(key);
  return it != object_.end() && it->is_array();
}

void JsonReader::NumberTable(const char* key, double min, double max, bool integers,
                             std::vector<std::vector<double>>* out) {
  if (!Has(key)) {
    return;
  }
  const json& table = object_[key];
  if (!table.is_array() || table.empty() || !table.front().is_array() || table.front().empty()) {
    return Fail(key, "expected a list of lists of numbers");
  }
  for (const json& row : table) {
    if (!row.is_array() || row.size() != table.front().size()) {
      return Fail(key, absl::StrCat("expected lists of ", table.front().size(), " numbers each"));
    }
    std::vector<double> numbers;
    for (const json& item : row) {
      const bool fits = (integers ? item.is_number_integer() : item.is_number()) &&
                        item.get<double>() >= min && item.get<double>() <= max;
      if (!fits) {
        return Fail(key, absl::StrCat("expected ", integers ? "integers" : "numbers", " in [", min,
                                      ", ", max, "], found ", Describe(item)));
      }
      numbers.push_back(item.get<double>());
    }
    out->push_back(std::move(numbers));
  }
}

JsonReader JsonReader::Object(const char* key) {
  static const json& kEmpty = *new json(json::object());
  const std::string name = absl::StrCat(name_, ": ", key);
  if (Has(key) && object_[key].is_object()) {
    return JsonReader(object_[key], name);
  }
  Fail(key, "expected an object");
  return JsonReader(kEmpty, name);
}

void JsonReader::RefuseOtherKeys(const std::vector<std::string>& known) {
  for (auto it = object_.begin(); it != object_.end(); ++it) {
    const std::string& key = it.key();
    if (key.rfind("_", 0) == 0) {
      continue;
    }
    if (std::find(known.begin(), known.end(), key) == known.end()) {
      return Fail(Excerpt(key).c_str(), "unknown key");
    }
  }
}

}  // namespace alcca
