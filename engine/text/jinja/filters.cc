// input | name(...), for strings and numbers.

#include "engine/text/jinja/filters.h"

#include <charconv>
#include <cmath>
#include <cstdlib>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/status_macros.h"
#include "engine/text/jinja/format.h"
#include "engine/text/jinja/json.h"
#include "engine/text/jinja/operations.h"
#include "engine/text/jinja/strings.h"
#include "engine/text/jinja/unicode.h"

namespace alcca::jinja {
namespace {

using FilterResult = absl::StatusOr<Value>;

template <Text (*convert)(const Text&)>
FilterResult ConvertFilter(const Value& input, const Arguments& arguments, Runtime* runtime) {
  RETURN_IF_ERROR(Bind(arguments, {}).status());
  ASSIGN_OR_RETURN(const Value text, ToStringValue(input, &runtime->meter));
  RETURN_IF_ERROR(runtime->meter.Take(3 * text.text().cost()));
  RETURN_IF_ERROR(runtime->meter.Step(text.text().size() / 4));
  return Value(convert(text.text()));
}

// Words begin after white space, '-' and opening brackets: jinja2's title, which is not Python's.
Text TitleWords(const Text& text) {
  constexpr std::u32string_view kBreaks = U"-({[<";
  Text out;
  const std::string& bytes = text.bytes();
  bool begins = true;
  size_t word = 0;  // Where the rest of the current word begins.
  for (size_t at = 0; at < bytes.size();) {
    const size_t here = at;
    const char32_t code = NextCodePoint(bytes, &at);
    const bool breaks = IsSpace(code) || kBreaks.find(code) != std::u32string_view::npos;
    if (breaks || begins) {
      out.Append(Lower(text.Slice(word, here)));
      out.Append(breaks ? text.Slice(here, at) : Upper(text.Slice(here, at)));
      word = at;
    }
    begins = breaks;
  }
  out.Append(Lower(text.Slice(word, bytes.size())));
  return out;
}

FilterResult Trim(const Value& input, const Arguments& arguments, Runtime* runtime) {
  ASSIGN_OR_RETURN(const auto bound, Bind(arguments, {"chars"}));
  ASSIGN_OR_RETURN(const Value text, ToStringValue(input, &runtime->meter));
  ASSIGN_OR_RETURN(const Text characters, AsText(bound[0], ""));
  const bool given = bound[0] != nullptr && !bound[0]->Is(Kind::kNone);
  return Strip(text.text(), given ? &characters : nullptr, Side::kBoth, &runtime->meter);
}

FilterResult ReplaceFilter(const Value& input, const Arguments& arguments, Runtime* runtime) {
  ASSIGN_OR_RETURN(const auto bound, Bind(arguments, {"old", "new", "count"}, 2));
  ASSIGN_OR_RETURN(const Value text, ToStringValue(input, &runtime->meter));
  ASSIGN_OR_RETURN(const Value old, ToStringValue(*bound[0], &runtime->meter));
  ASSIGN_OR_RETURN(const Value replacement, ToStringValue(*bound[1], &runtime->meter));
  ASSIGN_OR_RETURN(const int64_t count, AsInteger(bound[2], -1));
  return Replace(text.text(), old.text(), replacement.text(), count, &runtime->meter);
}

FilterResult Indent(const Value& input, const Arguments& arguments, Runtime* runtime) {
  ASSIGN_OR_RETURN(const auto bound, Bind(arguments, {"width", "first", "blank"}));
  ASSIGN_OR_RETURN(Text text, AsText(&input, ""));
  Value indent = Value(Text("    ", Origin::kTemplate));
  if (bound[0] != nullptr) {
    const Value space(Text(" ", Origin::kTemplate));
    ASSIGN_OR_RETURN(indent, bound[0]->Is(Kind::kString)
                                 ? FilterResult(*bound[0])
                                 : Arithmetic("*", space, *bound[0], &runtime->meter));
  }
  text.Append("\n", Origin::kTemplate);  // As jinja2: splitlines drops it again.
  ASSIGN_OR_RETURN(const std::vector<Text> lines, SplitLines(text, false, &runtime->meter));
  Text out;
  for (size_t i = 0; i < lines.size(); ++i) {
    RETURN_IF_ERROR(runtime->meter.Take(lines[i].cost() + indent.text().cost() + 32));
    if (i > 0) {
      out.Append("\n", Origin::kTemplate);
    }
    if (i == 0 ? AsBool(bound[1]) : AsBool(bound[2]) || !lines[i].empty()) {
      out.Append(indent.text());
    }
    out.Append(lines[i]);
  }
  return MakeString(std::move(out), &runtime->meter);
}

FilterResult Format(const Value& input, const Arguments& arguments, Runtime* runtime) {
  if (!arguments.named.empty()) {
    return absl::InvalidArgumentError("named arguments are not implemented");
  }
  ASSIGN_OR_RETURN(const Value text, ToStringValue(input, &runtime->meter));
  ASSIGN_OR_RETURN(const Value values,
                   MakeList(arguments.positional, &runtime->meter, /*tuple=*/true));
  return PercentFormat(text.text(), values, &runtime->meter);
}

FilterResult ToJsonFilter(const Value& input, const Arguments& arguments, Runtime* runtime) {
  ASSIGN_OR_RETURN(const auto bound,
                   Bind(arguments, {"ensure_ascii", "indent", "separators", "sort_keys"}));
  JsonStyle style;
  style.ensure_ascii = AsBool(bound[0]);
  style.sort_keys = AsBool(bound[3]);
  if (bound[1] != nullptr && !bound[1]->Is(Kind::kNone)) {
    style.indented = true;
    style.item_separator = ",";
    if (bound[1]->Is(Kind::kString)) {
      style.indent = bound[1]->text().bytes();
    } else {
      ASSIGN_OR_RETURN(const int64_t width, AsInteger(bound[1], 0));
      RETURN_IF_ERROR(runtime->meter.Take(static_cast<uint64_t>(std::max<int64_t>(width, 0))));
      style.indent = std::string(static_cast<size_t>(std::max<int64_t>(width, 0)), ' ');
    }
  }
  if (bound[2] != nullptr && !bound[2]->Is(Kind::kNone)) {
    if (!bound[2]->Is(Kind::kList) || bound[2]->list().items.size() != 2) {
      return absl::InvalidArgumentError("separators are two strings");
    }
    ASSIGN_OR_RETURN(const Text item, AsText(&bound[2]->list().items[0], ""));
    ASSIGN_OR_RETURN(const Text key, AsText(&bound[2]->list().items[1], ""));
    style.item_separator = item.bytes();
    style.key_separator = key.bytes();
  }
  return ToJson(input, style, &runtime->meter);
}

std::string WithoutSpaces(std::string_view text) {
  size_t begin = text.size(), end = 0;
  for (size_t at = 0; at < text.size();) {
    const size_t here = at;
    if (!IsSpace(NextCodePoint(text, &at))) {
      begin = std::min(begin, here);
      end = at;
    }
  }
  return begin < end ? std::string(text.substr(begin, end - begin)) : std::string();
}

// float(value), if Python has one.
std::optional<double> ParseFloat(const Value& value) {
  if (value.IsNumber()) {
    return value.AsDouble();
  }
  double number = 0;
  if (!value.Is(Kind::kString)) {
    return std::nullopt;
  }
  const std::string text = WithoutSpaces(value.text().bytes());
  if (text.size() > 64 || text.find_first_of("xXpP") != std::string::npos ||
      !absl::SimpleAtod(text, &number)) {
    return std::nullopt;
  }
  return number;
}

FilterResult IntFilter(const Value& input, const Arguments& arguments, Runtime*) {
  ASSIGN_OR_RETURN(const auto bound, Bind(arguments, {"default", "base"}));
  ASSIGN_OR_RETURN(const int64_t base, AsInteger(bound[1], 10));
  if (base != 10) {
    return absl::InvalidArgumentError("a base other than 10 is not implemented");
  }
  if (input.Is(Kind::kInt) || input.Is(Kind::kBool) || input.Is(Kind::kBigInt)) {
    return input.Is(Kind::kBigInt) ? input : Value::Int(input.AsInt(), input.origin());
  }
  if (input.Is(Kind::kString)) {
    std::string text = WithoutSpaces(input.text().bytes());
    text = text.starts_with('+') ? text.substr(1) : text;
    int64_t number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error == std::errc() && end == text.data() + text.size()) {
      return Value::Int(number, OriginOf(input));
    }
  }
  const std::optional<double> number = ParseFloat(input);
  if (number && std::abs(*number) < 9.2e18) {
    return Value::Int(static_cast<int64_t>(*number), OriginOf(input));
  }
  return bound[0] == nullptr ? Value::Int(0) : *bound[0];
}

FilterResult FloatFilter(const Value& input, const Arguments& arguments, Runtime*) {
  ASSIGN_OR_RETURN(const auto bound, Bind(arguments, {"default"}));
  if (const std::optional<double> number = ParseFloat(input)) {
    return Value::Float(*number, OriginOf(input));
  }
  return bound[0] == nullptr ? Value::Float(0) : *bound[0];
}

FilterResult Abs(const Value& input, const Arguments& arguments, Runtime*) {
  RETURN_IF_ERROR(Bind(arguments, {}).status());
  if (input.Is(Kind::kFloat)) {
    return Value::Float(std::abs(input.real()), input.origin());
  }
  ASSIGN_OR_RETURN(const int64_t integer, AsInteger(&input, 0));
  return integer < 0 ? Negate(input) : Value::Int(integer, input.origin());
}

FilterResult Round(const Value& input, const Arguments& arguments, Runtime*) {
  ASSIGN_OR_RETURN(const auto bound, Bind(arguments, {"precision", "method"}));
  ASSIGN_OR_RETURN(const int64_t precision, AsInteger(bound[0], 0));
  ASSIGN_OR_RETURN(const Text method, AsText(bound[1], "common"));
  if (!input.IsNumber() || precision < 0 || precision > 15) {
    return absl::InvalidArgumentError("round needs a number and a precision of 0 to 15");
  }
  if (method.bytes() == "common") {
    double rounded = 0;
    if (!input.Is(Kind::kFloat)) {
      return Value::Int(input.AsInt(), input.origin());
    }
    // Of all digits, half to even: what printf does, and Python.
    if (std::abs(input.real()) > 1e22 || !std::isfinite(input.real()) ||
        !absl::SimpleAtod(absl::StrFormat("%.*f", static_cast<int>(precision), input.real()),
                          &rounded)) {
      return input;
    }
    return Value::Float(rounded, input.origin());
  }
  if (method.bytes() != "ceil" && method.bytes() != "floor") {
    return absl::InvalidArgumentError("method must be common, ceil or floor");
  }
  const double scale = std::pow(10.0, static_cast<double>(precision));
  const double scaled = input.AsDouble() * scale;
  return Value::Float((method.bytes() == "ceil" ? std::ceil(scaled) : std::floor(scaled)) / scale,
                      input.origin());
}

FilterResult Default(const Value& input, const Arguments& arguments, Runtime*) {
  ASSIGN_OR_RETURN(const auto bound, Bind(arguments, {"default_value", "boolean"}));
  if (input.Is(Kind::kUndefined) || (AsBool(bound[1]) && !input.Truth())) {
    return bound[0] == nullptr ? Value(Text()) : *bound[0];
  }
  return input;
}

FilterResult Safe(const Value& input, const Arguments& arguments, Runtime* runtime) {
  RETURN_IF_ERROR(Bind(arguments, {}).status());
  ASSIGN_OR_RETURN(const Value text, ToStringValue(input, &runtime->meter));
  return Value(text.shared_text(), /*markup=*/true);
}

FilterResult Escape(const Value& input, const Arguments& arguments, Runtime* runtime) {
  RETURN_IF_ERROR(Bind(arguments, {}).status());
  ASSIGN_OR_RETURN(const Value text, ToStringValue(input, &runtime->meter));
  RETURN_IF_ERROR(runtime->meter.Take(5 * text.text().cost()));
  return input.markup() ? input
                        : Value(std::make_shared<const Text>(EscapeHtml(text.text())), true);
}

FilterResult LengthFilter(const Value& input, const Arguments& arguments, Runtime* runtime) {
  RETURN_IF_ERROR(Bind(arguments, {}).status());
  ASSIGN_OR_RETURN(const int64_t length, Length(input, &runtime->meter));
  return Value::Int(length);
}

const Filters& PlainFilters() {
  static const auto* const filters = new Filters{
      {"abs", Abs},
      {"capitalize", ConvertFilter<Capitalize>},
      {"count", LengthFilter},
      {"d", Default},
      {"default", Default},
      {"e", Escape},
      {"escape", Escape},
      {"float", FloatFilter},
      {"format", Format},
      {"indent", Indent},
      {"int", IntFilter},
      {"length", LengthFilter},
      {"lower", ConvertFilter<Lower>},
      {"replace", ReplaceFilter},
      {"round", Round},
      {"safe", Safe},
      {"string", [](const Value& input, const Arguments&,
                    Runtime* runtime) { return ToStringValue(input, &runtime->meter); }},
      {"title", ConvertFilter<TitleWords>},
      {"tojson", ToJsonFilter},
      {"trim", Trim},
      {"upper", ConvertFilter<Upper>},
  };
  return *filters;
}

}  // namespace

absl::StatusOr<Value> CallFilter(std::string_view name, const Value& input,
                                 const Arguments& arguments, Runtime* runtime) {
  for (const Filters* filters : {&PlainFilters(), &SequenceFilters()}) {
    if (const auto it = filters->find(name); it != filters->end()) {
      FilterResult result = it->second(input, arguments, runtime);
      if (absl::IsInvalidArgument(result.status())) {
        return absl::InvalidArgumentError(
            absl::StrCat("filter ", std::string(name), ": ", result.status().message()));
      }
      return result;
    }
  }
  return absl::InvalidArgumentError(
      absl::StrCat("the filter '", std::string(name.substr(0, 60)), "' is not implemented"));
}

}  // namespace alcca::jinja
