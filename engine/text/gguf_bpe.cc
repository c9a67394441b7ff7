#include "engine/text/gguf_bpe.h"

#include <algorithm>
#include <optional>
#include <span>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "base/utf8.h"
#include "engine/text/bpe_tokenizer.h"
#include "engine/text/byte_letters.h"
#include "engine/text/tekken.h"

namespace alcca {
namespace {

constexpr size_t kMaxTokens = 1 << 20;

// How the tokenizer.json cuts of the models that a name stands for.
constexpr std::string_view kLlama3Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kQwen2Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

constexpr std::string_view kGpt2Steps[] = {kGpt2Pattern};
constexpr std::string_view kLlama3Steps[] = {kLlama3Pattern};
constexpr std::string_view kQwen2Steps[] = {kQwen2Pattern};
constexpr std::string_view kDigitSteps[] = {R"(\p{N})", kGpt2Pattern};
constexpr std::string_view kTekkenSteps[] = {kTekkenPattern};
constexpr std::string_view kDefaultSteps[] = {
    R"([\p{P}\$\+<=>\^~\|]+)",
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S))", R"(\p{N}+)",
    R"([0-9][0-9][0-9])"};

struct Cutting {
  std::string_view name;
  std::span<const std::string_view> patterns;
  bool whole_words_first = false;
  bool nfc = false;
  bool bos = false;
};
constexpr Cutting kCuttings[] = {
    {"command-r", kDigitSteps},
    {"dbrx", kLlama3Steps},
    {"deepseek-r1-qwen", kQwen2Steps, false, true},
    {"default", kDefaultSteps},
    {"gpt-2", kGpt2Steps},
    {"gpt2", kGpt2Steps},
    {"llama-bpe", kLlama3Steps, true, false, true},
    {"llama-v3", kLlama3Steps, true, false, true},
    {"llama3", kLlama3Steps, true, false, true},
    {"mpt", kGpt2Steps},
    {"olmo", kGpt2Steps},
    {"phi-2", kGpt2Steps},
    {"qwen2", kQwen2Steps, false, true},
    {"refact", kDigitSteps},
    {"smaug-bpe", kLlama3Steps},
    {"smollm", kDigitSteps},
    {"starcoder", kDigitSteps},
    {"tekken", kTekkenSteps, true, false, true},
};

absl::StatusOr<const Cutting*> FindCutting(std::string_view pre) {
  const std::string_view name = pre.empty() ? "default" : pre;
  std::string known;
  for (const Cutting& cutting : kCuttings) {
    if (cutting.name == name) {
      return &cutting;
    }
    absl::StrAppend(&known, known.empty() ? "" : ", ", std::string(cutting.name));
  }
  return absl::UnimplementedError(absl::StrCat("tokenizer.ggml.pre: '",
                                               std::string(name.substr(0, 60)),
                                               "' is not supported; known are ", known));
}

enum TokenType : int32_t { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5 };

// Reads tokens and merges into `parts`.
class Builder {
 public:
  Builder(GgufBpe* vocabulary, BpeParts* parts) : vocabulary_(*vocabulary), parts_(*parts) {}

  absl::Status AddTokens() {
    const auto& types = vocabulary_.token_types;
    if (vocabulary_.tokens.empty() || vocabulary_.tokens.size() > kMaxTokens) {
      return absl::InvalidArgumentError(absl::StrCat("tokenizer.ggml.tokens: has ",
                                                     vocabulary_.tokens.size(),
                                                     " tokens, expected 1 to ", kMaxTokens));
    }
    if (!types.empty() && types.size() != vocabulary_.tokens.size()) {
      return absl::InvalidArgumentError(absl::StrCat("tokenizer.ggml.token_type: has ",
                                                     types.size(), " entries for ",
                                                     vocabulary_.tokens.size(), " tokens"));
    }
    for (size_t id = 0; id < vocabulary_.tokens.size(); ++id) {
      RETURN_IF_ERROR(AddToken(static_cast<int32_t>(id), types.empty() ? kNormal : types[id]));
    }
    return absl::OkStatus();
  }

  absl::Status MakeModel(const BpeOptions& options) {
    std::vector<std::pair<int32_t, int32_t>> merges;
    for (size_t i = 0; i < vocabulary_.merges.size(); ++i) {
      const std::string& merge = vocabulary_.merges[i];
      const size_t space = merge.find(' ', 1);
      const auto left = ordinary_.find(merge.substr(0, space));
      const auto right =
          space == std::string::npos ? ordinary_.end() : ordinary_.find(merge.substr(space + 1));
      if (left == ordinary_.end() || right == ordinary_.end()) {
        return absl::InvalidArgumentError(absl::StrCat(
            "tokenizer.ggml.merges[", i, "]: expected two tokens and a space between"));
      }
      merges.emplace_back(left->second, right->second);
    }
    absl::StatusOr<BpeModel> model = BpeModel::Make(std::move(texts_), merges, options);
    if (!model.ok()) {
      return absl::Status(model.status().code(),
                          absl::StrCat("tokenizer.ggml.", model.status().message()));
    }
    parts_.model = *std::move(model);
    return absl::OkStatus();
  }

 private:
  absl::Status AddToken(int32_t id, int32_t type) {
    std::string& token = vocabulary_.tokens[static_cast<size_t>(id)];
    if (token.size() > kMaxBpeTokenBytes || !IsValidUtf8(token)) {
      return absl::InvalidArgumentError(absl::StrCat("tokenizer.ggml.tokens[", id,
                                                     "]: must be UTF-8 of at most ",
                                                     kMaxBpeTokenBytes, " bytes"));
    }
    BpePiece piece;
    piece.control = type == kControl || LooksLikeControl(token);
    const bool whole =
        (piece.control || type == kUnknown || type == kUserDefined) && !token.empty();
    const std::optional<std::string> bytes = whole ? std::nullopt : BytesOfLetters(token);
    piece.text = piece.control ? "" : bytes.value_or(token);
    piece.unknown = type == kUnknown;
    if (whole && token.size() <= kMaxAddedTokenBytes) {
      parts_.added.push_back(
          {.text = token, .id = id, .control = piece.control || type == kUnknown});
    } else if (bytes && type != kUnused && !token.empty()) {
      texts_.emplace_back(*bytes, id);
      ordinary_.emplace(token, id);
    }
    piece.spelling = std::move(token);
    parts_.pieces.push_back(std::move(piece));
    return absl::OkStatus();
  }

  GgufBpe& vocabulary_;
  BpeParts& parts_;
  std::vector<std::pair<std::string, int32_t>> texts_;
  absl::flat_hash_map<std::string, int32_t> ordinary_;  // by spelling
};

absl::StatusOr<std::unique_ptr<BpeTokenizer>> Make(GgufBpe vocabulary, std::string_view name) {
  ASSIGN_OR_RETURN(const Cutting* cutting, FindCutting(vocabulary.pre));
  BpeParts parts;
  parts.file_name = name.substr(name.rfind('/') + 1);
  Builder builder(&vocabulary, &parts);
  RETURN_IF_ERROR(builder.AddTokens());
  RETURN_IF_ERROR(builder.MakeModel({.whole_words_first = cutting->whole_words_first}));
  std::vector<PreTokenizerStep> steps;
  for (const std::string_view pattern : cutting->patterns) {
    ASSIGN_OR_RETURN(steps.emplace_back().pattern, SplitPattern::Compile(pattern));
  }
  parts.pre_tokenizer = PreTokenizer(std::move(steps));
  if (cutting->nfc) {
    parts.normalizer = Normalizer({NormalizerStep{}});
  }
  const auto size = static_cast<int32_t>(parts.pieces.size());
  if (vocabulary.bos_id >= size || vocabulary.eos_id >= size) {
    return absl::InvalidArgumentError(absl::StrCat(vocabulary.bos_id >= size
                                                       ? "tokenizer.ggml.bos_token_id: "
                                                       : "tokenizer.ggml.eos_token_id: ",
                                                   "is no token of the ", size));
  }
  parts.bos_id = vocabulary.add_bos.value_or(cutting->bos) ? vocabulary.bos_id : -1;
  parts.eos_id = vocabulary.eos_id;
  return BpeTokenizer::Make(std::move(parts));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> MakeGgufBpeTokenizer(GgufBpe vocabulary,
                                                                std::string_view name) {
  absl::StatusOr<std::unique_ptr<BpeTokenizer>> made = Make(std::move(vocabulary), name);
  if (!made.ok()) {
    return absl::Status(made.status().code(),
                        absl::StrCat(std::string(name), ": ", made.status().message()));
  }
  return std::unique_ptr<Tokenizer>(*std::move(made));
}

}  // namespace alcca
