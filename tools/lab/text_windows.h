#pragma once

// A text as windows of tokens to predict.

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/text/tokenizer.h"

namespace alcca::lab {

struct TextWindows {
  std::vector<std::vector<int32_t>> windows;  // token ids, length + 1 each
  std::vector<int64_t> bytes;                 // [windows], of the text that is predicted
};

// Up to `windows` windows of `length` predictions, spread evenly. `separator` parts documents, each
// of which is read from begin to end token. INVALID_ARGUMENT if the text is no UTF-8 or does not
// fill one window.
absl::StatusOr<TextWindows> CutText(const Tokenizer& tokenizer, const std::string& text,
                                    const std::string& separator, int32_t length, int32_t windows);

}  // namespace alcca::lab
