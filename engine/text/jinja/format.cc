#include "engine/text/jinja/format.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <ctime>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "engine/text/jinja/operations.h"

namespace alcca::jinja {
namespace {

absl::Status AppendInteger(const Value& value, Meter* meter, Text* out) {
  if (value.Is(Kind::kFloat) && std::abs(value.real()) < 9e18) {
    return AppendString(Value::Int(static_cast<int64_t>(value.real()), value.origin()), meter, out);
  }
  if (value.Is(Kind::kInt) || value.Is(Kind::kBigInt)) {
    return AppendString(value, meter, out);
  }
  if (value.Is(Kind::kBool)) {
    return AppendString(Value::Int(value.AsInt(), value.origin()), meter, out);
  }
  return absl::InvalidArgumentError("%d needs a number");
}

// The value that {field} stands for; *next counts fields without a name.
absl::StatusOr<Value> Field(std::string_view field, const Arguments& arguments, size_t* next) {
  size_t index = 0;
  const char* end = field.data() + field.size();
  if (field.empty()) {
    index = (*next)++;
  } else if (const auto [stop, error] = std::from_chars(field.data(), end, index);
             error != std::errc() || stop != end) {
    const auto it = std::find_if(arguments.named.begin(), arguments.named.end(),
                                 [&](const auto& named) { return named.first == field; });
    if (it == arguments.named.end()) {
      return absl::InvalidArgumentError("format: a field has no argument");
    }
    return it->second;
  }
  if (index >= arguments.positional.size()) {
    return absl::InvalidArgumentError("format: a field has no argument");
  }
  return arguments.positional[index];
}

}  // namespace

absl::StatusOr<Value> PercentFormat(const Text& format, const Value& values, Meter* meter) {
  const bool tuple = values.Is(Kind::kList) && values.list().tuple;
  const std::vector<Value> items = tuple ? values.list().items : std::vector<Value>{values};
  const std::string& bytes = format.bytes();
  Text out;
  size_t used = 0;
  for (size_t at = 0; at < bytes.size();) {
    const size_t percent = std::min(bytes.find('%', at), bytes.size());
    RETURN_IF_ERROR(meter->Take(percent - at + sizeof(Text::Run)));
    out.AppendSlice(format, at, percent);
    if (percent == bytes.size()) {
      break;
    }
    const char kind = percent + 1 < bytes.size() ? bytes[percent + 1] : '\0';
    at = percent + 2;
    if (kind == '%') {
      out.AppendSlice(format, percent, percent + 1);
      continue;
    }
    if (kind != 's' && kind != 'd' && kind != 'i' && kind != 'r') {
      return absl::InvalidArgumentError("a string is formatted with more than %s, %d, %i, %r, %%");
    }
    if (used == items.size()) {
      return absl::InvalidArgumentError("not enough arguments for a format string");
    }
    const Value& item = items[used++];
    RETURN_IF_ERROR(kind == 's'   ? AppendString(item, meter, &out)
                    : kind == 'r' ? AppendRepr(item, meter, &out)
                                  : AppendInteger(item, meter, &out));
  }
  if (used < items.size() && (tuple || !values.Is(Kind::kDict))) {
    return absl::InvalidArgumentError("a format string does not use all of its arguments");
  }
  return MakeString(std::move(out), meter);
}

absl::StatusOr<Value> BraceFormat(const Text& format, const Arguments& arguments, Meter* meter) {
  const std::string& bytes = format.bytes();
  Text out;
  size_t next = 0;
  for (size_t at = 0; at < bytes.size();) {
    const size_t brace = std::min(bytes.find_first_of("{}", at), bytes.size());
    RETURN_IF_ERROR(meter->Take(brace - at + sizeof(Text::Run)));
    out.AppendSlice(format, at, brace);
    if (brace == bytes.size()) {
      break;
    }
    if (brace + 1 < bytes.size() && bytes[brace + 1] == bytes[brace]) {
      out.AppendSlice(format, brace, brace + 1);
      at = brace + 2;
      continue;
    }
    const size_t end = bytes.find('}', brace);
    if (bytes[brace] == '}' || end == std::string::npos) {
      return absl::InvalidArgumentError("format: a single brace");
    }
    const std::string_view field = std::string_view(bytes).substr(brace + 1, end - brace - 1);
    if (field.find_first_of(".[:!{") != std::string_view::npos) {
      return absl::InvalidArgumentError("format: only {}, {0} and {name} are implemented");
    }
    ASSIGN_OR_RETURN(const Value value, Field(field, arguments, &next));
    RETURN_IF_ERROR(AppendString(value, meter, &out));
    at = end + 1;
  }
  return MakeString(std::move(out), meter);
}

absl::StatusOr<Value> FormatTime(const Value& pattern, const struct tm& time, Meter* meter) {
  if (!pattern.Is(Kind::kString)) {
    return absl::InvalidArgumentError("strftime_now needs a string");
  }
  // A character in front tells an empty result from one that does not fit.
  const std::string format = absl::StrCat("x", pattern.text().bytes());
  char buffer[258];
  const size_t size = format.find('\0') == std::string::npos
                          ? std::strftime(buffer, sizeof(buffer), format.c_str(), &time)
                          : 0;
  if (size == 0) {
    return absl::InvalidArgumentError("strftime_now: a format with a NUL or a long result");
  }
  return MakeString(Text(std::string_view(buffer + 1, size - 1), OriginOf(pattern)), meter);
}

}  // namespace alcca::jinja
