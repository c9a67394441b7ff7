#include "engine/text/load_tokenizer.h"

#include <filesystem>
#include <fstream>
#include <system_error>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/files.h"
#include "base/status_macros.h"
#include "engine/text/sentencepiece_tokenizer.h"
#include "engine/text/tekken.h"
#include "engine/text/tokenizer_config.h"
#include "engine/text/tokenizer_json.h"

namespace alcca {
namespace {

constexpr char kTekken[] = "tekken.json";
constexpr char kSentencePiece[] = "tokenizer.model";
constexpr char kTokenizerJson[] = "tokenizer.json";

// tiktoken's vocabularies are lines of base64 and rank; the first token is "!".
bool IsTiktoken(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string begin(7, '\0');
  file.read(begin.data(), static_cast<std::streamsize>(begin.size()));
  return file && begin == "IQ== 0\n";
}

absl::StatusOr<std::unique_ptr<Tokenizer>> LoadSentencePiece(const std::string& path,
                                                             TokenizerConfig config,
                                                             int64_t max_vocab) {
  ASSIGN_OR_RETURN(const std::string bytes, ReadTextFile(path, kMaxTokenizerBytes));
  ASSIGN_OR_RETURN(SentencePieceModel model, SentencePieceModel::FromBytes(bytes, path));
  if (model.vocab_size() > max_vocab) {
    return absl::InvalidArgumentError(absl::StrCat(
        path, " has ", model.vocab_size(), " pieces, config.json 'vocab_size' is ", max_vocab));
  }
  if (absl::Status status = model.AddTokens(std::move(config.added), max_vocab); !status.ok()) {
    return absl::Status(status.code(), absl::StrCat(path, ": ", status.message()));
  }
  return std::make_unique<SentencePieceTokenizer>(std::move(model));
}

}  // namespace

std::vector<std::string> TokenizerFiles(const std::string& dir) {
  std::vector<std::string> files;
  for (const char* name : {kTekken, kSentencePiece, kTokenizerJson}) {
    const std::string path = absl::StrCat(dir, "/", name);
    std::error_code error;
    if (std::filesystem::exists(path, error) && !(name == kSentencePiece && IsTiktoken(path))) {
      files.emplace_back(name);
    }
  }
  return files;
}

absl::StatusOr<std::unique_ptr<Tokenizer>> LoadTokenizer(const std::string& dir,
                                                         int64_t max_vocab) {
  const std::vector<std::string> files = TokenizerFiles(dir);
  if (files.empty()) {
    return absl::NotFoundError(absl::StrCat(
        dir, ": no tokenizer: there is none of tekken.json, tokenizer.model and tokenizer.json"));
  }
  const std::string path = dir + "/" + files.front();
  if (files.front() == kTekken) {
    ASSIGN_OR_RETURN(const std::string text, ReadTextFile(path, kMaxTekkenBytes));
    return ParseTekken(text, path, max_vocab);
  }
  ASSIGN_OR_RETURN(TokenizerConfig config, LoadTokenizerConfig(dir));
  if (files.front() == kSentencePiece) {
    return LoadSentencePiece(path, std::move(config), max_vocab);
  }
  ASSIGN_OR_RETURN(const std::string text, ReadTextFile(path, kMaxTokenizerJsonBytes));
  return ParseTokenizerJson(text, path, config, max_vocab);
}

}  // namespace alcca
