#include "engine/text/jinja/json.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/status_macros.h"
#include "engine/text/jinja/operations.h"
#include "engine/text/python_json.h"

namespace alcca::jinja {
namespace {

std::string Number(double value) {
  return std::isnan(value)   ? "NaN"
         : std::isinf(value) ? (value < 0 ? "-Infinity" : "Infinity")
                             : PythonFloat(value);
}

// Every character outside printable ASCII as \uXXXX, those beyond 16 bits as two.
std::string AsciiOnly(std::string_view text) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const char32_t code = NextCodePoint(text, &at);
    if (code < 0x7F) {
      out += static_cast<char>(code);
    } else if (code < 0x10000) {
      out += absl::StrFormat("\\u%04x", static_cast<uint32_t>(code));
    } else {
      const auto rest = static_cast<uint32_t>(code - 0x10000);
      out += absl::StrFormat("\\u%04x\\u%04x", 0xD800 + (rest >> 10), 0xDC00 + (rest & 0x3FF));
    }
  }
  return out;
}

class JsonWriter {
 public:
  JsonWriter(const JsonStyle& style, Meter* meter) : style_(style), meter_(*meter) {}

  absl::Status Write(const Value& value, int level) {
    RETURN_IF_ERROR(meter_.Step());
    switch (value.kind()) {
      case Kind::kNone:
        return Add("null", value.origin());
      case Kind::kBool:
        return Add(value.boolean() ? "true" : "false", value.origin());
      case Kind::kInt:
        return Add(absl::StrCat(value.integer()), value.origin());
      case Kind::kFloat:
        return Add(Number(value.real()), value.origin());
      case Kind::kBigInt:
        return Add(value.digits().bytes(), value.origin());
      case Kind::kString:
        return WriteString(value.text());
      case Kind::kList:
        return WriteList(value.list(), level);
      case Kind::kDict:
        return WriteDict(value.dict(), level);
      default:
        RETURN_IF_ERROR(CheckDefined(value));
        return absl::InvalidArgumentError(
            absl::StrCat("a value of type ", std::string(value.TypeName()), " is no JSON"));
    }
  }
  Text& out() { return out_; }

 private:
  absl::Status Add(std::string_view text, Origin origin) {
    out_.Append(text, origin);
    return meter_.Take(text.size());
  }
  // Between brackets, nothing that a template's author wrote.
  absl::Status Punctuate(std::string_view text) { return Add(text, Origin::kMessage); }

  absl::Status WriteString(const Text& text) {
    RETURN_IF_ERROR(meter_.Take(text.cost() * 2));
    RETURN_IF_ERROR(Punctuate("\""));
    size_t begin = 0;
    for (const Text::Run& run : text.runs()) {
      std::string quoted = Quoted(std::string_view(text.bytes()).substr(begin, run.end - begin));
      quoted = quoted.substr(1, quoted.size() - 2);
      RETURN_IF_ERROR(Add(style_.ensure_ascii ? AsciiOnly(quoted) : quoted, run.origin));
      begin = run.end;
    }
    return Punctuate("\"");
  }
  // Before item number `i`, or before the closing bracket (`last`).
  absl::Status Separate(size_t i, bool last, int level) {
    if (i > 0 && !last) {
      RETURN_IF_ERROR(Punctuate(style_.item_separator));
    }
    if (style_.indented) {
      RETURN_IF_ERROR(Punctuate("\n"));
      for (int l = last ? 1 : 0; l <= level; ++l) {
        RETURN_IF_ERROR(Punctuate(style_.indent));
      }
    }
    return absl::OkStatus();
  }
  absl::Status WriteList(const List& list, int level) {
    if (list.items.empty()) {
      return Punctuate("[]");
    }
    RETURN_IF_ERROR(Punctuate("["));
    for (size_t i = 0; i < list.items.size(); ++i) {
      RETURN_IF_ERROR(Separate(i, false, level));
      RETURN_IF_ERROR(Write(list.items[i], level + 1));
    }
    RETURN_IF_ERROR(Separate(0, true, level));
    return Punctuate("]");
  }
  absl::Status WriteKey(const Value& key) {
    switch (key.kind()) {
      case Kind::kString:
        return WriteString(key.text());
      case Kind::kNone:
      case Kind::kBool:
      case Kind::kInt:
      case Kind::kFloat:
        RETURN_IF_ERROR(Punctuate("\""));
        RETURN_IF_ERROR(Write(key, 0));
        return Punctuate("\"");
      default:
        return absl::InvalidArgumentError("a key of a dict is no JSON");
    }
  }
  absl::Status WriteDict(const Dict& dict, int level) {
    if (dict.items.empty()) {
      return Punctuate("{}");
    }
    RETURN_IF_ERROR(meter_.Take(dict.items.size() * sizeof(size_t)));
    std::vector<size_t> order(dict.items.size());
    std::iota(order.begin(), order.end(), size_t{0});
    if (style_.sort_keys) {
      for (const auto& [key, unused] : dict.items) {
        if (!key.Is(Kind::kString)) {
          return absl::InvalidArgumentError("keys that are no strings cannot be sorted");
        }
      }
      std::stable_sort(order.begin(), order.end(), [&dict](size_t a, size_t b) {
        return dict.items[a].first.text().bytes() < dict.items[b].first.text().bytes();
      });
    }
    RETURN_IF_ERROR(Punctuate("{"));
    for (size_t i = 0; i < order.size(); ++i) {
      const auto& [key, value] = dict.items[order[i]];
      RETURN_IF_ERROR(Separate(i, false, level));
      RETURN_IF_ERROR(WriteKey(key));
      RETURN_IF_ERROR(Punctuate(style_.key_separator));
      RETURN_IF_ERROR(Write(value, level + 1));
    }
    RETURN_IF_ERROR(Separate(0, true, level));
    return Punctuate("}");
  }

  const JsonStyle& style_;
  Meter& meter_;
  Text out_;
};

// Builds values from the parser's events.
class ValueBuilder : public nlohmann::json_sax<nlohmann::ordered_json> {
 public:
  ValueBuilder(Origin origin, Meter* meter) : origin_(origin), meter_(*meter) {}

  const absl::Status& status() const { return status_; }
  Value& result() { return result_; }

  bool null() override { return Add(Value::None(origin_)); }
  bool boolean(bool value) override { return Add(Value::Bool(value, origin_)); }
  bool number_integer(int64_t value) override { return Add(Value::Int(value, origin_)); }
  bool number_unsigned(uint64_t value) override {
    return value <= static_cast<uint64_t>(INT64_MAX)
               ? Add(Value::Int(static_cast<int64_t>(value), origin_))
               : AddBig(std::to_string(value));
  }
  bool number_float(double value, const std::string& raw) override {
    // An integer beyond 64 bits comes here too; Python keeps all of its digits.
    return raw.find_first_of(".eE") == std::string::npos ? AddBig(raw)
                                                         : Add(Value::Float(value, origin_));
  }
  bool string(std::string& text) override {
    absl::StatusOr<Value> value = MakeString(Text(text, origin_), &meter_);
    return value.ok() ? Add(*std::move(value)) : Fail(value.status());
  }
  bool binary(nlohmann::ordered_json::binary_t&) override { return false; }
  bool start_object(size_t) override { return Open(true); }
  bool end_object() override {
    Dict dict = std::move(open_.back().dict);
    open_.pop_back();
    absl::StatusOr<Value> value = MakeDict(std::move(dict), &meter_);
    return value.ok() ? Add(*std::move(value)) : Fail(value.status());
  }
  bool start_array(size_t) override { return Open(false); }
  bool end_array() override {
    std::vector<Value> items = std::move(open_.back().items);
    open_.pop_back();
    absl::StatusOr<Value> value = MakeList(std::move(items), &meter_);
    return value.ok() ? Add(*std::move(value)) : Fail(value.status());
  }
  bool key(std::string& name) override {
    if (open_.back().dict.Find(name) != nullptr) {
      return Fail(absl::InvalidArgumentError("a key occurs twice in an object"));
    }
    open_.back().key = Value(Text(name, origin_));
    return Charge(name.size() + sizeof(Text));
  }
  bool parse_error(size_t, const std::string&, const nlohmann::detail::exception&) override {
    return false;
  }

 private:
  struct Container {
    bool object = false;
    Value key;
    Dict dict;
    std::vector<Value> items;
  };

  bool Fail(const absl::Status& status) {
    status_ = status;
    return false;
  }
  bool Charge(uint64_t bytes) {
    const absl::Status status = meter_.Take(bytes);
    return status.ok() || Fail(status);
  }
  bool AddBig(std::string_view digits) {
    return Charge(digits.size()) &&
           Add(Value(Value::BigInt{std::make_shared<const Text>(digits, origin_)}, origin_));
  }
  bool Open(bool object) {
    if (open_.size() >= kMaxNesting) {
      return Fail(absl::InvalidArgumentError("is nested too deeply"));
    }
    open_.push_back({object, Value(), Dict(), {}});
    return Charge(sizeof(Container));
  }
  bool Add(Value value) {
    if (open_.empty()) {
      result_ = std::move(value);
    } else if (open_.back().object) {
      open_.back().dict.Add(open_.back().key, std::move(value));
    } else {
      open_.back().items.push_back(std::move(value));
    }
    return Charge(sizeof(Value));
  }

  const Origin origin_;
  Meter& meter_;
  std::vector<Container> open_;
  Value result_;
  absl::Status status_;
};

}  // namespace

absl::StatusOr<Value> ToJson(const Value& value, const JsonStyle& style, Meter* meter) {
  JsonWriter writer(style, meter);
  RETURN_IF_ERROR(writer.Write(value, 0));
  return MakeString(std::move(writer.out()), meter);
}

absl::StatusOr<Value> FromJson(std::string_view text, Origin origin, Meter* meter) {
  ValueBuilder builder(origin, meter);
  const bool bom = text.starts_with("\xEF\xBB\xBF");  // Which the parser would skip.
  if (bom || !nlohmann::ordered_json::sax_parse(text.begin(), text.end(), &builder)) {
    return builder.status().ok() ? absl::InvalidArgumentError("is no JSON") : builder.status();
  }
  return std::move(builder.result());
}

}  // namespace alcca::jinja
