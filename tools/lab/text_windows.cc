#include "tools/lab/text_windows.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/status_macros.h"
#include "base/utf8.h"

namespace alcca::lab {

absl::StatusOr<TextWindows> CutText(const Tokenizer& tokenizer, const std::string& text,
                                    const std::string& separator, int32_t length, int32_t windows) {
  if (!IsValidUtf8(text)) {
    return absl::InvalidArgumentError("the text is not valid UTF-8");
  }
  std::vector<int32_t> ids;
  for (const auto& part : absl::StrSplit(text, separator)) {
    const std::string document(absl::StripAsciiWhitespace(part));
    if (!document.empty()) {
      ASSIGN_OR_RETURN(const auto more, tokenizer.Encode(document, {.bos = true, .eos = true}));
      ids.insert(ids.end(), more.begin(), more.end());
    }
  }
  const int64_t size = int64_t{length} + 1, fit = static_cast<int64_t>(ids.size()) / size;
  if (fit == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("the text has ", ids.size(), " tokens; one window needs ", size));
  }
  TextWindows out;
  const int64_t count = std::min<int64_t>(windows, fit);
  for (int64_t w = 0; w < count; ++w) {
    const auto begin = ids.begin() + fit * w / count * size;
    out.windows.emplace_back(begin, begin + size);
    int64_t& bytes = out.bytes.emplace_back(0);
    std::for_each(begin + 1, begin + size, [&](int32_t id) { bytes += tokenizer.TextBytes(id); });
  }
  return out;
}

}  // namespace alcca::lab
