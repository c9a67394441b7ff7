#pragma once

// Structured logs: text on a terminal, one JSON object a line elsewhere. To stderr; prompts and
// completions are never logged.

#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"

namespace alcca {

void SetUpLogging(const std::string& level, const std::string& format);  // as in the config table

enum class LogLevel { kDebug, kInfo, kWarn, kError };

// One field of a line; numbers stay numbers in JSON.
struct LogField {
  template <typename T>
  LogField(std::string_view key_in, const T& value_in)  // NOLINT(google-explicit-constructor)
      : key(key_in), value(absl::StrCat(value_in)), quoted(!std::is_arithmetic_v<T>) {}
  std::string_view key;
  std::string value;
  bool quoted;
};

// Log(LogLevel::kInfo, "call", {{"request_id", id}, {"tokens", 12}});
void Log(LogLevel level, std::string_view message, std::initializer_list<LogField> fields = {});

}  // namespace alcca
