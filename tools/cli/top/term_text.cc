#include "tools/cli/top/term_text.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "tools/cli/report.h"

namespace alcca::cli {
namespace {

constexpr std::array kBlocks = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
constexpr std::array kMarks = {"_", ".", "-", "=", "+", "*", "#", "@"};

bool Continues(char c) {
  return (static_cast<unsigned char>(c) & 0xC0) == 0x80;
}

// The first `columns` characters.
std::string Cut(const std::string& text, int columns) {
  size_t at = 0;
  for (int used = 0; at < text.size(); ++at) {
    if (!Continues(text[at]) && used++ == columns) {
      break;
    }
  }
  return text.substr(0, at);
}

std::string Paint(const Span& span, bool color) {
  const char* code = "";
  switch (span.style) {
    case Style::kPlain:
      return span.text;
    case Style::kBold:
      code = "1";
      break;
    case Style::kDim:
      code = "2";
      break;
    case Style::kGood:
      code = "32";
      break;
    case Style::kWarn:
      code = "33";
      break;
    case Style::kBad:
      code = "31;1";
      break;
    case Style::kInverse:
      code = "7";
      break;
  }
  return color && !span.text.empty() ? absl::StrCat("\x1b[", code, "m", span.text, "\x1b[0m")
                                     : span.text;
}

int Columns(const Cell& cell) {
  int columns = 0;
  for (const Span& span : cell) {
    columns += span.columns();
  }
  return columns;
}

}  // namespace

int Span::columns() const {
  return static_cast<int>(
      std::count_if(text.begin(), text.end(), [](char c) { return !Continues(c); }));
}

std::string Printable(std::string_view text, size_t max_bytes) {
  std::string out(text.substr(0, max_bytes));
  for (char& c : out) {
    if (c < 0x20 || c > 0x7e) {  // plain char may be signed or not: both are caught
      c = '?';
    }
  }
  return out;
}

void TermPage::Line(const Cell& cell) {
  std::string line;
  int left = look_.width;
  for (const Span& span : cell) {
    const Span cut = {Cut(span.text, left), span.style};
    left -= cut.columns();
    line += Paint(cut, look_.color);
  }
  lines_.push_back(line);
}

void TermPage::Row(std::string_view label, int indent, const std::vector<Cell>& cells) {
  constexpr int kGap = 2;
  Cell line = {{PadRight(std::string(label), indent), Style::kDim}};
  int used = std::max(indent, line[0].columns());
  bool first = true;
  for (const Cell& cell : cells) {
    if (!first && used + kGap + Columns(cell) > look_.width) {
      Line(line);
      line = {{std::string(static_cast<size_t>(indent), ' ')}};
      used = indent;
      first = true;
    }
    if (!first) {
      line.push_back({std::string(kGap, ' ')});
      used += kGap;
    }
    line.insert(line.end(), cell.begin(), cell.end());
    used += Columns(cell);
    first = false;
  }
  Line(line);
}

void TermPage::Paragraph(std::string_view text, int indent, Style style) {
  const size_t room = static_cast<size_t>(std::max(1, look_.width - indent));
  while (!text.empty()) {
    size_t size = text.size();
    if (size > room) {
      const size_t blank = text.rfind(' ', room);
      size = blank == std::string_view::npos || blank == 0 ? room : blank;
    }
    Line({{std::string(static_cast<size_t>(indent), ' ')},
          {std::string(text.substr(0, size)), style}});
    text.remove_prefix(std::min(text.size(), size));
    text.remove_prefix(std::min(text.size(), text.find_first_not_of(' ')));
  }
}

std::string PadLeft(std::string text, int columns) {
  const int missing = columns - Span{text}.columns();
  return std::string(static_cast<size_t>(std::max(0, missing)), ' ') + text;
}

std::string PadRight(std::string text, int columns) {
  const int missing = columns - Span{text}.columns();
  return text + std::string(static_cast<size_t>(std::max(0, missing)), ' ');
}

std::string Sparkline(const std::vector<double>& values, int columns, bool unicode) {
  const size_t wanted = static_cast<size_t>(std::max(0, columns));
  const size_t first = values.size() > wanted ? values.size() - wanted : 0;
  double top = 0;
  for (size_t i = first; i < values.size(); ++i) {
    top = std::max(top, values[i]);
  }
  std::string out;
  for (size_t i = first; i < values.size(); ++i) {
    const double share = top > 0 ? std::clamp(values[i] / top, 0., 1.) : 0;
    const auto level = static_cast<size_t>(std::lround(share * (kBlocks.size() - 1)));
    out += unicode ? kBlocks[level] : kMarks[level];
  }
  return out;
}

std::string Bar(double share, int columns, bool unicode) {
  const int inside = std::max(0, columns - 2);
  int full = static_cast<int>(std::lround(std::clamp(share, 0., 1.) * inside));
  full = share < 1 ? std::min(full, std::max(0, inside - 1)) : full;  // full is full
  std::string out = "[";
  for (int i = 0; i < inside; ++i) {
    out += i < full ? (unicode ? "█" : "#") : (unicode ? "░" : ".");
  }
  return out + "]";
}

std::string HumanSeconds(double seconds) {
  const bool small = seconds < .9995;
  const double value = small ? seconds * 1e3 : seconds;
  return absl::StrFormat("%.*f %s",
                         value < .995   ? 2
                         : value < 9.95 ? 1
                                        : 0,
                         value, small ? "ms" : "s");
}

std::string HumanUptime(double seconds) {
  const auto s = static_cast<int64_t>(std::clamp(seconds, 0., 1e12));
  if (s < 60) {
    return absl::StrFormat("%ds", s);
  }
  if (s < 3600) {
    return absl::StrFormat("%dm%02ds", s / 60, s % 60);
  }
  if (s < 86400) {
    return absl::StrFormat("%dh%02dm", s / 3600, s / 60 % 60);
  }
  return absl::StrFormat("%dd%dh", s / 86400, s / 3600 % 24);
}

std::string HumanCount(double value) {
  if (!(std::abs(value) > 0)) {
    return "0";
  }
  if (value < 9.95) {
    const int decimals = value == std::floor(value) ? 0 : value < .995 ? 2 : 1;
    return absl::StrFormat("%.*f", decimals, value);
  }
  if (value < 999'999.5) {
    return Grouped(std::llround(value));
  }
  const bool giga = value >= 999.95e6;
  return absl::StrFormat("%.1f%s", value / (giga ? 1e9 : 1e6), giga ? "G" : "M");
}

std::string HumanBytes(double bytes) {
  constexpr std::array kUnits = {"B", "KiB", "MiB", "GiB", "TiB"};
  size_t unit = 0;
  for (; bytes >= 1024 && unit + 1 < kUnits.size(); ++unit) {
    bytes /= 1024;
  }
  return absl::StrFormat("%.*f %s", unit == 0 ? 0 : 1, bytes, kUnits[unit]);
}

}  // namespace alcca::cli
