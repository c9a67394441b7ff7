#include "engine/text/load_tokenizer.h"

#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "engine/text/sentencepiece_tokenizer.h"

namespace alcca {

absl::StatusOr<std::unique_ptr<Tokenizer>> LoadTokenizer(const std::string& dir) {
  const std::string path = dir + "/tokenizer.model";
  std::error_code error;
  if (!std::filesystem::exists(path, error)) {
    return absl::NotFoundError(absl::StrCat(path, ": no such file"));
  }
  ASSIGN_OR_RETURN(SentencePieceTokenizer tokenizer, SentencePieceTokenizer::Load(path));
  return std::make_unique<SentencePieceTokenizer>(std::move(tokenizer));
}

}  // namespace alcca
