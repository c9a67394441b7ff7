// str() and repr() of values.

#include <cmath>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/status_macros.h"
#include "engine/text/jinja/operations.h"
#include "engine/text/jinja/unicode.h"
#include "engine/text/python_json.h"

namespace alcca::jinja {
namespace {

std::string FloatRepr(double value) {
  return std::isnan(value) ? "nan" : PythonFloat(value);
}

void AppendEscaped(char32_t code, char quote, std::string* out) {
  if (code == static_cast<char32_t>(quote) || code == '\\') {
    *out += '\\';
    *out += static_cast<char>(code);
  } else if (code == '\n' || code == '\r' || code == '\t') {
    *out += code == '\n' ? "\\n" : code == '\r' ? "\\r" : "\\t";
  } else if (IsPrintable(code)) {
    AppendUtf8(code, out);
  } else {
    const auto number = static_cast<uint32_t>(code);
    *out += number < 0x100     ? absl::StrFormat("\\x%02x", number)
            : number < 0x10000 ? absl::StrFormat("\\u%04x", number)
                               : absl::StrFormat("\\U%08x", number);
  }
}

absl::Status AppendStringRepr(const Text& text, Meter* meter, Text* out) {
  RETURN_IF_ERROR(meter->Take(text.cost() * 2));
  const std::string& bytes = text.bytes();
  const bool doubled =
      bytes.find('\'') != std::string::npos && bytes.find('"') == std::string::npos;
  const std::string quote(1, doubled ? '"' : '\'');
  out->Append(quote, Origin::kMessage);
  size_t begin = 0;
  for (const Text::Run& run : text.runs()) {
    std::string part;
    for (size_t at = begin; at < run.end;) {
      AppendEscaped(NextCodePoint(bytes, &at), quote[0], &part);
    }
    out->Append(part, run.origin);
    begin = run.end;
  }
  out->Append(quote, Origin::kMessage);
  return absl::OkStatus();
}

absl::Status AppendListRepr(const List& list, Meter* meter, Text* out) {
  out->Append(list.tuple ? "(" : "[", Origin::kMessage);
  for (size_t i = 0; i < list.items.size(); ++i) {
    if (i > 0) {
      out->Append(", ", Origin::kMessage);
    }
    RETURN_IF_ERROR(AppendRepr(list.items[i], meter, out));
  }
  const bool single = list.tuple && list.items.size() == 1;
  out->Append(single ? ",)" : list.tuple ? ")" : "]", Origin::kMessage);
  return absl::OkStatus();
}

absl::Status AppendDictRepr(const Dict& dict, Meter* meter, Text* out) {
  out->Append("{", Origin::kMessage);
  for (size_t i = 0; i < dict.items.size(); ++i) {
    if (i > 0) {
      out->Append(", ", Origin::kMessage);
    }
    RETURN_IF_ERROR(AppendRepr(dict.items[i].first, meter, out));
    out->Append(": ", Origin::kMessage);
    RETURN_IF_ERROR(AppendRepr(dict.items[i].second, meter, out));
  }
  out->Append("}", Origin::kMessage);
  return absl::OkStatus();
}

}  // namespace

absl::Status AppendRepr(const Value& value, Meter* meter, Text* out) {
  RETURN_IF_ERROR(meter->Step());
  switch (value.kind()) {
    case Kind::kNone:
      out->Append("None", value.origin());
      return absl::OkStatus();
    case Kind::kBool:
      out->Append(value.boolean() ? "True" : "False", value.origin());
      return absl::OkStatus();
    case Kind::kInt:
      out->Append(absl::StrCat(value.integer()), value.origin());
      return absl::OkStatus();
    case Kind::kFloat:
      out->Append(FloatRepr(value.real()), value.origin());
      return absl::OkStatus();
    case Kind::kBigInt:
      RETURN_IF_ERROR(meter->Take(value.digits().cost()));
      out->Append(value.digits());
      return absl::OkStatus();
    case Kind::kUndefined:
      out->Append("Undefined", Origin::kTemplate);
      return absl::OkStatus();
    case Kind::kString:
      return AppendStringRepr(value.text(), meter, out);
    case Kind::kList:
      return AppendListRepr(value.list(), meter, out);
    case Kind::kDict:
      return AppendDictRepr(value.dict(), meter, out);
    default:
      return absl::InvalidArgumentError(
          absl::StrCat("a value of type ", std::string(value.TypeName()), " cannot be printed"));
  }
}

absl::Status AppendString(const Value& value, Meter* meter, Text* out) {
  if (value.Is(Kind::kString)) {
    RETURN_IF_ERROR(meter->Take(value.text().cost()));
    out->Append(value.text());
    return absl::OkStatus();
  }
  return value.Is(Kind::kUndefined) ? absl::OkStatus() : AppendRepr(value, meter, out);
}

absl::StatusOr<Value> ToStringValue(const Value& value, Meter* meter) {
  if (value.Is(Kind::kString)) {
    return value;
  }
  Text text;
  RETURN_IF_ERROR(AppendString(value, meter, &text));
  return MakeString(std::move(text), meter);
}

Text EscapeHtml(const Text& text) {
  constexpr std::string_view kCharacters = "&<>'\"";
  constexpr std::string_view kEntities[] = {"&amp;", "&lt;", "&gt;", "&#39;", "&#34;"};
  Text out;
  size_t begin = 0;
  for (const Text::Run& run : text.runs()) {
    for (size_t at = begin; at < run.end;) {
      const size_t found = std::min(text.bytes().find_first_of(kCharacters, at), run.end);
      out.AppendSlice(text, at, found);
      if (found < run.end) {
        out.Append(kEntities[kCharacters.find(text.bytes()[found])], run.origin);
      }
      at = found + 1;
    }
    begin = run.end;
  }
  return out;
}

}  // namespace alcca::jinja
