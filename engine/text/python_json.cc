#include "engine/text/python_json.h"

#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>
#include <unordered_set>
#include <utility>

namespace alcca {
namespace {

void AppendQuoted(std::string_view s, std::string* out) {
  constexpr char kHex[] = "0123456789abcdef";
  constexpr std::string_view kEscaped = "\"\\\n\r\t\f\b", kLetters = "\"\\nrtfb";
  *out += '"';
  for (const char c : s) {
    if (const size_t i = kEscaped.find(c); i != std::string_view::npos) {
      *out += '\\';
      *out += kLetters[i];
    } else if (static_cast<uint8_t>(c) < 0x20) {
      *out += "\\u00";
      *out += kHex[c >> 4];
      *out += kHex[c & 15];
    } else {
      *out += c;
    }
  }
  *out += '"';
}

// Streams the parser's events to the output: no tree, so memory stays near that of the text. It
// refuses what Python would read but no sane client sends: repeated keys, and nesting so deep that
// recursive readers fail.
class PythonJsonWriter : public nlohmann::json_sax<nlohmann::ordered_json> {
 public:
  explicit PythonJsonWriter(size_t max_members) : max_members_(max_members) {}

  // Why our own rules stopped the parser; empty if the text is just no JSON.
  const std::string& refusal() const { return refusal_; }
  PythonJson& result() { return result_; }

  bool null() override { return Scalar("null"); }
  bool boolean(bool value) override { return Scalar(value ? "true" : "false"); }
  bool number_integer(number_integer_t value) override { return Scalar(std::to_string(value)); }
  bool number_unsigned(number_unsigned_t value) override { return Scalar(std::to_string(value)); }
  bool number_float(number_float_t value, const string_t& raw) override {
    // An integer beyond 64 bits comes here too; Python keeps all of its digits.
    const bool integer = raw.find_first_of(".eE") == std::string::npos;
    return Scalar(integer ? raw : PythonFloat(value));
  }
  bool string(string_t& value) override { return Scalar(Quoted(value)); }
  bool binary(binary_t&) override { return false; }
  bool start_object(std::size_t) override { return Open(true); }
  bool end_object() override { return Close('}'); }
  bool start_array(std::size_t) override { return Open(false); }
  bool end_array() override { return Close(']'); }
  bool key(string_t& name) override {
    if (!open_.back().keys.insert(name).second) {
      return Refuse("a key occurs twice in an object");
    }
    if (open_.back().keys.size() > 1) {
      result_.text += ", ";
    }
    AppendQuoted(name, &result_.text);
    result_.text += ": ";
    return open_.size() > 1 || AddMember(name);
  }
  bool parse_error(std::size_t, const std::string&, const nlohmann::detail::exception&) override {
    return false;
  }

 private:
  struct Container {
    bool object;
    bool empty = true;  // Of an array.
    std::unordered_set<std::string> keys;
  };

  bool Refuse(std::string_view why) {
    refusal_ = std::string(why);
    return false;
  }
  bool BeginValue() {
    if (open_.empty() || open_.back().object) {
      return true;
    }
    if (!open_.back().empty) {
      result_.text += ", ";
    }
    open_.back().empty = false;
    return open_.size() > 1 || AddMember("");
  }
  bool EndValue() {
    if (open_.size() == 1 && max_members_ > 0) {
      result_.members.back().value = result_.text.substr(member_begin_);
    }
    return true;
  }
  bool AddMember(std::string_view name) {
    if (max_members_ == 0) {
      return true;
    }
    if (result_.members.size() == max_members_) {
      return Refuse("has too many members");
    }
    result_.members.push_back({std::string(name), ""});
    member_begin_ = result_.text.size();
    return true;
  }
  bool Scalar(std::string_view text) {
    if (!BeginValue()) {
      return false;
    }
    result_.text += text;
    return EndValue();
  }
  bool Open(bool object) {
    if (!BeginValue()) {
      return false;
    }
    if (open_.size() == kMaxPythonJsonDepth) {
      return Refuse("is nested too deeply");
    }
    result_.text += object ? '{' : '[';
    open_.push_back({object, true, {}});
    return true;
  }
  bool Close(char bracket) {
    result_.text += bracket;
    open_.pop_back();
    return EndValue();
  }

  const size_t max_members_;
  size_t member_begin_ = 0;
  PythonJson result_;
  std::vector<Container> open_;
  std::string refusal_;
};

}  // namespace

std::string Quoted(std::string_view s) {
  std::string out;
  AppendQuoted(s, &out);
  return out;
}

std::string PythonFloat(double value) {
  char digits[64];  // The fixed form has at most 24 characters in this range.
  const double size = std::abs(value);
  const bool fixed = size == 0 || (size >= 1e-4 && size < 1e16);
  const auto end = std::to_chars(digits, digits + sizeof(digits), value,
                                 fixed ? std::chars_format::fixed : std::chars_format::scientific)
                       .ptr;
  std::string out(digits, end);
  if (fixed && out.find('.') == std::string::npos) {
    out += ".0";
  }
  return out;
}

JsonVerdict ToPythonJson(std::string_view text, size_t max_members, PythonJson* json,
                         std::string* refusal) {
  PythonJsonWriter writer(max_members);
  // A byte order mark, which the parser would skip, is no JSON to Python.
  const bool bom = text.starts_with("\xEF\xBB\xBF");
  const bool ok = !bom && nlohmann::ordered_json::sax_parse(text.begin(), text.end(), &writer);
  *json = std::move(writer.result());
  *refusal = writer.refusal();
  return ok ? JsonVerdict::kOk : refusal->empty() ? JsonVerdict::kNotJson : JsonVerdict::kRefused;
}

}  // namespace alcca
