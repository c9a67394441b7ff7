#include "engine/model/gguf_tokenizer.h"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "engine/checkpoint/safetensors.h"
#include "engine/text/gguf_bpe.h"
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

// -1: there is none.
absl::StatusOr<int32_t> IdOf(const GgufHeader& header, const char* key) {
  ASSIGN_OR_RETURN(const std::optional<int64_t> id, header.Integer(key));
  return static_cast<int32_t>(
      std::clamp<int64_t>(id.value_or(-1), -1, std::numeric_limits<int32_t>::max()));
}

// The token of an id key; nullopt if there is none. ReadGgufConfig has checked its range.
absl::StatusOr<std::optional<std::string_view>> TokenOf(const GgufHeader& header, const char* key,
                                                        const Tokens& tokens) {
  ASSIGN_OR_RETURN(const int32_t id, IdOf(header, key));
  const bool known = id >= 0 && id < std::ssize(tokens);
  return known ? std::optional(tokens[static_cast<size_t>(id)]) : std::nullopt;
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

absl::StatusOr<std::unique_ptr<Tokenizer>> LoadBpe(const GgufHeader& header,
                                                   std::string_view name) {
  GgufBpe v;
  Tokens tokens, merges;
  std::vector<int64_t> types;
  RETURN_IF_ERROR(ReadTokens(header, name, &tokens));
  RETURN_IF_ERROR(Take(header.Integers("tokenizer.ggml.token_type"), &types));
  RETURN_IF_ERROR(Take(header.Strings("tokenizer.ggml.merges"), &merges));
  v.tokens.assign(tokens.begin(), tokens.end());
  v.merges.assign(merges.begin(), merges.end());
  for (const int64_t type : types) {
    v.token_types.push_back(static_cast<int32_t>(std::clamp<int64_t>(type, 0, 7)));
  }
  ASSIGN_OR_RETURN(const auto pre, header.String("tokenizer.ggml.pre"));
  v.pre = std::string(pre.value_or(""));
  ASSIGN_OR_RETURN(v.bos_id, IdOf(header, "tokenizer.ggml.bos_token_id"));
  ASSIGN_OR_RETURN(v.eos_id, IdOf(header, "tokenizer.ggml.eos_token_id"));
  ASSIGN_OR_RETURN(v.add_bos, header.Bool("tokenizer.ggml.add_bos_token"));
  return MakeGgufBpeTokenizer(std::move(v), name);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> LoadGgufTokenizer(const GgufHeader& header,
                                                             std::string_view name) {
  ASSIGN_OR_RETURN(const auto kind, header.String("tokenizer.ggml.model"));
  if (kind == "llama") {
    return LoadSentencePiece(header, name);
  }
  if (kind == "gpt2") {
    return LoadBpe(header, name);
  }
  return absl::UnimplementedError(absl::StrCat(
      std::string(name), ": key 'tokenizer.ggml.model': expected llama or gpt2, found ",
      kind ? QuoteName(*kind) : "nothing"));
}

absl::StatusOr<ChatTemplateSource> ReadGgufChatTemplates(const GgufHeader& header,
                                                         std::string_view name,
                                                         const Tokenizer& tokenizer) {
  ChatTemplateSource source;
  const auto add = [&](const std::string& called, const std::string& key) -> absl::Status {
    ASSIGN_OR_RETURN(const auto text, header.String(key));
    if (text) {
      source.file = std::string(name);
      source.named.emplace_back(called, *text);
    }
    return absl::OkStatus();
  };
  RETURN_IF_ERROR(add("default", "tokenizer.chat_template"));
  Tokens names;
  RETURN_IF_ERROR(Take(header.Strings("tokenizer.chat_templates"), &names));
  for (const std::string_view called : names) {
    RETURN_IF_ERROR(
        add(std::string(called), absl::StrCat("tokenizer.chat_template.", std::string(called))));
  }
  const auto token = [&](const char* key, std::string* out) -> absl::Status {
    ASSIGN_OR_RETURN(const int32_t id, IdOf(header, key));
    *out = std::string(tokenizer.IdToPiece(id));
    return absl::OkStatus();
  };
  RETURN_IF_ERROR(token("tokenizer.ggml.bos_token_id", &source.bos_token));
  RETURN_IF_ERROR(token("tokenizer.ggml.eos_token_id", &source.eos_token));
  RETURN_IF_ERROR(token("tokenizer.ggml.unknown_token_id", &source.unk_token));
  RETURN_IF_ERROR(token("tokenizer.ggml.padding_token_id", &source.pad_token));
  return source;
}

}  // namespace alcca
