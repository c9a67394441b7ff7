#include "server/logging.h"

#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <cstdio>

namespace alcca {
namespace {

bool json_lines = false;  // set once, before any thread logs

void AppendCode(unsigned value, std::string* out) {
  char code[8];
  std::snprintf(code, sizeof(code), "\\u%04x", value);
  *out += code;
}

std::string Escape(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      AppendCode(static_cast<unsigned char>(c), &out);
    } else {
      out += c;
    }
  }
  return out;
}

// For a terminal: what a client sent must neither drive it nor begin a line of its own. Control
// characters are those of ASCII and U+0080 to U+009F, which terminals obey too.
std::string EscapeControls(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    const auto next = static_cast<unsigned char>(i + 1 < text.size() ? text[i + 1] : 0);
    if (c < 0x20 || c == 0x7f) {
      AppendCode(c, &out);
    } else if (c == 0xc2 && next >= 0x80 && next < 0xa0) {
      AppendCode(next, &out);
      ++i;
    } else {
      out += text[i];
    }
  }
  return out;
}

spdlog::level::level_enum Level(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return spdlog::level::debug;
    case LogLevel::kInfo:
      return spdlog::level::info;
    case LogLevel::kWarn:
      return spdlog::level::warn;
    case LogLevel::kError:
      return spdlog::level::err;
  }
  return spdlog::level::info;
}

}  // namespace

void SetUpLogging(const std::string& level, const std::string& format) {
  json_lines = format == "json" || (format == "auto" && isatty(STDERR_FILENO) == 0);
  auto logger = spdlog::stderr_color_mt("alccad");
  logger->set_pattern(json_lines ? R"({"ts":"%Y-%m-%dT%H:%M:%S.%e%z","level":"%l",%v})"
                                 : "%H:%M:%S.%e %^%-5l%$ %v");
  logger->set_level(spdlog::level::from_str(level));
  spdlog::set_default_logger(std::move(logger));
}

void Log(LogLevel level, std::string_view message, std::initializer_list<LogField> fields) {
  const auto spd_level = Level(level);
  if (!spdlog::should_log(spd_level)) {
    return;
  }
  std::string line =
      json_lines ? absl::StrCat("\"msg\":\"", Escape(message), "\"") : std::string(message);
  for (const LogField& field : fields) {
    if (json_lines) {
      const char* quote = field.quoted ? "\"" : "";
      absl::StrAppend(&line, ",\"", std::string(field.key), "\":", quote, Escape(field.value),
                      quote);
    } else {
      absl::StrAppend(&line, " ", std::string(field.key), "=", EscapeControls(field.value));
    }
  }
  spdlog::log(spd_level, "{}", line);
}

}  // namespace alcca
