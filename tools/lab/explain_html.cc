#include <string>
#include <string_view>

#include "base/check.h"
#include "tools/lab/explain.h"
#include "tools/lab/explain_page.h"

namespace alcca::lab {

std::string ExplanationHtml(std::string_view json) {
  constexpr std::string_view kMark = "{\"explanation\":\"goes here\"}";
  const size_t at = kExplainPage.find(kMark);
  ALCCA_CHECK(at != std::string_view::npos);
  std::string out(kExplainPage.substr(0, at));
  // In JSON these stand in strings only, where an escape means the same: no text can then end the
  // element that holds the data.
  for (const char c : json) {
    switch (c) {
      case '<':
        out += "\\u003c";
        break;
      case '>':
        out += "\\u003e";
        break;
      case '&':
        out += "\\u0026";
        break;
      default:
        out += c;
    }
  }
  out += kExplainPage.substr(at + kMark.size());
  return out;
}

}  // namespace alcca::lab
