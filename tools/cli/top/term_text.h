#pragma once

// Text for a terminal of a given width: styles, numbers at a human size, bars and sparklines. Pure.

#include <string>
#include <string_view>
#include <vector>

namespace alcca::cli {

// How a frame may look.
struct TermLook {
  int width = 80;
  int height = 0;        // 0: no bound
  bool color = false;    // escape sequences for styles
  bool unicode = false;  // bars and sparklines of block characters; else ASCII
};

enum class Style { kPlain, kBold, kDim, kGood, kWarn, kBad, kInverse };

// Letters in one style. `text` has no control characters and is `columns` wide.
struct Span {
  std::string text;
  Style style = Style::kPlain;
  int columns() const;
};
using Cell = std::vector<Span>;  // spans that stay on one line

// Anything from outside: control characters, escape sequences and non-ASCII bytes become '?'.
std::string Printable(std::string_view text, size_t max_bytes = 200);

// Lines of at most `look.width` columns.
class TermPage {
 public:
  explicit TermPage(const TermLook& look) : look_(look) {}
  // The cells, two spaces apart, behind `label` padded to `indent`; what does not fit goes on the
  // next line, under the first cell.
  void Row(std::string_view label, int indent, const std::vector<Cell>& cells);
  // Words, wrapped, `indent` from the left.
  void Paragraph(std::string_view text, int indent, Style style);
  // One line: what does not fit is cut.
  void Line(const Cell& cell);
  const std::vector<std::string>& lines() const { return lines_; }
  int Room(int used) const { return look_.width - used; }

 private:
  const TermLook look_;
  std::vector<std::string> lines_;
};

// Padded with spaces on the left (right-aligned) or on the right.
std::string PadLeft(std::string text, int columns);
std::string PadRight(std::string text, int columns);

// `values`' last `columns`, between 0 and their maximum; a column each.
std::string Sparkline(const std::vector<double>& values, int columns, bool unicode);
// `share` of 1 as a bar `columns` wide, brackets included.
std::string Bar(double share, int columns, bool unicode);

std::string HumanSeconds(double seconds);  // "0.43 ms", "12 ms", "1.2 s", "340 s"
std::string HumanUptime(double seconds);   // "45s", "3m12s", "5h07m", "12d3h"
std::string HumanCount(double value);      // "0", "0.25", "4", "4.5", "812", "2,322", "1.2M"
std::string HumanBytes(double bytes);      // "26.3 KiB"

}  // namespace alcca::cli
