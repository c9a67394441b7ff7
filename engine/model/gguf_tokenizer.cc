#include "engine/model/gguf_tokenizer.h"

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "engine/checkpoint/safetensors.h"
#include "engine/text/gguf_sentencepiece.h"

namespace alcca {
namespace {

using Tokens = std::vector<std::string_view>;

// A list of the file; an absent one leaves *out empty.
template <typename T>
absl::Status Take(absl::StatusOr<std::optional<std::vector<T>>> list, std::vector<T>* out) {
  if (list.ok() && list->has_value()) {
    *out = std::move(**list);
  }
  return list.status();
}

absl::Status ReadTokens(const GgufHeader& header, std::string_view name, Tokens* tokens) {
  constexpr char kKey[] = "tokenizer.ggml.tokens";
  RETURN_IF_ERROR(Take(header.Strings(kKey), tokens));
  return tokens->empty() ? absl::InvalidArgumentError(absl::StrCat(std::string(name), ": key '",
                                                                   kKey, "': missing, or empty"))
                         : absl::OkStatus();
}

// The token of an id key; nullopt if there is none. ReadGgufConfig has checked its range.
absl::StatusOr<std::optional<std::string_view>> TokenOf(const GgufHeader& header, const char* key,
                                                        const Tokens& tokens) {
  ASSIGN_OR_RETURN(const std::optional<int64_t> id, header.Integer(key));
  const bool known = id && *id >= 0 && *id < static_cast<int64_t>(tokens.size());
  return known ? std::optional(tokens[static_cast<size_t>(*id)]) : std::nullopt;
}

absl::StatusOr<std::unique_ptr<Tokenizer>> LoadSentencePiece(const GgufHeader& header,
                                                             std::string_view name) {
  GgufSentencePiece v;
  RETURN_IF_ERROR(ReadTokens(header, name, &v.tokens));
  RETURN_IF_ERROR(Take(header.Floats("tokenizer.ggml.scores"), &v.scores));
  RETURN_IF_ERROR(Take(header.Integers("tokenizer.ggml.token_type"), &v.token_types));
  ASSIGN_OR_RETURN(const auto space, header.Bool("tokenizer.ggml.add_space_prefix"));
  v.add_space_prefix = space.value_or(true);
  ASSIGN_OR_RETURN(v.bos, TokenOf(header, "tokenizer.ggml.bos_token_id", v.tokens));
  ASSIGN_OR_RETURN(v.eos, TokenOf(header, "tokenizer.ggml.eos_token_id", v.tokens));
  return MakeGgufSentencePieceTokenizer(v, name);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> LoadGgufTokenizer(const GgufHeader& header,
                                                             std::string_view name) {
  ASSIGN_OR_RETURN(const auto kind, header.String("tokenizer.ggml.model"));
  if (kind == "llama") {
    return LoadSentencePiece(header, name);
  }
  return absl::UnimplementedError(
      absl::StrCat(std::string(name), ": key 'tokenizer.ggml.model': expected llama, found ",
                   kind ? QuoteName(*kind) : "nothing"));
}

}  // namespace alcca
