#include "engine/text/tekken.h"

#include <algorithm>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "base/strict_json.h"
#include "base/utf8.h"

namespace alcca {
namespace {

using nlohmann::json;

constexpr int64_t kMaxIds = 1'000'000;

// Of files that do not list them, by id; those after them are <SPECIAL_20> and so on.
constexpr const char* kSpecialTokens[] = {"<unk>",
                                          "<s>",
                                          "</s>",
                                          "[INST]",
                                          "[/INST]",
                                          "[AVAILABLE_TOOLS]",
                                          "[/AVAILABLE_TOOLS]",
                                          "[TOOL_RESULTS]",
                                          "[/TOOL_RESULTS]",
                                          "[TOOL_CALLS]",
                                          "[IMG]",
                                          "<pad>",
                                          "[IMG_BREAK]",
                                          "[IMG_END]",
                                          "[PREFIX]",
                                          "[MIDDLE]",
                                          "[SUFFIX]",
                                          "[SYSTEM_PROMPT]",
                                          "[/SYSTEM_PROMPT]",
                                          "[TOOL_CONTENT]"};

template <typename... Args>
absl::Status BadTekken(const Args&... text) {
  return absl::InvalidArgumentError(absl::StrCat(text...));
}

// A token of bytes as text: each byte that is not part of a character as "<0xE4>".
std::string Spelling(std::string_view bytes) {
  std::string out;
  while (!bytes.empty()) {
    const int size = Utf8CharLength(bytes);
    if (size > 0) {
      out += bytes.substr(0, size);
      bytes.remove_prefix(size);
    } else {
      const auto byte = static_cast<uint8_t>(bytes.front());
      absl::StrAppend(&out, "<0x", absl::Hex(byte, absl::kZeroPad2), ">");
      bytes.remove_prefix(1);
    }
  }
  return out;
}

absl::Status AddSpecial(int64_t id, std::string name, BpeParts* parts) {
  if (name.empty() || name.size() > kMaxAddedTokenBytes) {
    return BadTekken("special_tokens: a name must have 1 to ", kMaxAddedTokenBytes, " bytes");
  }
  if (name == "<s>") {
    parts->bos_id = static_cast<int32_t>(id);
  }
  if (name == "</s>") {
    parts->eos_id = static_cast<int32_t>(id);
  }
  parts->pieces[id] = {name, "", true, false};
  parts->added.push_back(
      {.text = std::move(name), .id = static_cast<int32_t>(id), .control = true});
  return absl::OkStatus();
}

absl::Status AddSpecials(const json& document, int64_t count, BpeParts* parts) {
  const auto list = document.find("special_tokens");
  if (list == document.end() || list->is_null()) {
    for (int64_t id = 0; id < std::min<int64_t>(count, std::size(kSpecialTokens)); ++id) {
      RETURN_IF_ERROR(AddSpecial(id, kSpecialTokens[id], parts));
    }
  } else if (!list->is_array()) {
    return BadTekken("special_tokens: expected a list");
  } else {
    for (size_t i = 0; i < list->size(); ++i) {
      const std::string path = absl::StrCat("special_tokens[", i, "]");
      if (!(*list)[i].is_object()) {
        return BadTekken(path, ": expected an object");
      }
      JsonReader reader((*list)[i], path);
      int64_t rank = 0;
      std::string name;
      reader.Int("rank", 0, count - 1, &rank);
      reader.String("token_str", &name);
      RETURN_IF_ERROR(reader.status());
      if (parts->pieces[rank].control) {
        return BadTekken(path, ": the rank ", rank, " is there twice");
      }
      RETURN_IF_ERROR(AddSpecial(rank, std::move(name), parts));
    }
  }
  for (int64_t id = 0; id < count; ++id) {
    if (!parts->pieces[id].control) {
      RETURN_IF_ERROR(AddSpecial(id, absl::StrCat("<SPECIAL_", id, ">"), parts));
    }
  }
  return absl::OkStatus();
}

absl::Status AddVocabulary(const json& document, int64_t specials, BpeParts* parts) {
  const json& vocab = document["vocab"];
  const int64_t count = static_cast<int64_t>(parts->pieces.size()) - specials;
  std::vector<std::pair<std::string, int32_t>> tokens;
  for (int64_t i = 0; i < count; ++i) {
    const json& token = vocab[i];
    std::string bytes;
    const bool valid =
        token.is_object() && token.contains("rank") && token["rank"] == i &&
        token.contains("token_bytes") && token["token_bytes"].is_string() &&
        absl::Base64Unescape(token["token_bytes"].get_ref<const std::string&>(), &bytes) &&
        !bytes.empty() && bytes.size() <= kMaxBpeTokenBytes;
    if (!valid || (i < 256 && bytes != std::string(1, static_cast<char>(i)))) {
      return BadTekken("vocab[", i, "]: expected the rank ", i, " and token_bytes, base64 of 1 to ",
                       kMaxBpeTokenBytes, " bytes; the first 256 are the bytes themselves");
    }
    const auto id = static_cast<int32_t>(i + specials);
    parts->pieces[id] = {Spelling(bytes), bytes, false, false};
    tokens.emplace_back(std::move(bytes), id);
  }
  const size_t all = tokens.size();
  ASSIGN_OR_RETURN(parts->model, BpeModel::Make(std::move(tokens), {},
                                                {.whole_words_first = true, .merges_by_id = true}));
  return parts->model.size() == all ? absl::OkStatus()
                                    : BadTekken("vocab: two tokens have the same bytes");
}

absl::StatusOr<BpeParts> Read(const json& document, int64_t max_vocab) {
  const auto config = document.find("config");
  if (config == document.end() || !config->is_object()) {
    return BadTekken("config: missing, expected an object");
  }
  JsonReader reader(*config, "config");
  int64_t size = 0, specials = 0;
  std::string pattern;
  reader.Int("default_vocab_size", 1, kMaxIds, &size);
  reader.Int("default_num_special_tokens", 1, kMaxIds, &specials);
  reader.String("pattern", &pattern);
  RETURN_IF_ERROR(reader.status());
  if (size < specials + 256) {
    return BadTekken("config.default_vocab_size: is ", size, ", expected room for ", specials,
                     " special tokens and 256 bytes");
  }
  if (size > max_vocab) {
    return BadTekken("config.default_vocab_size: is ", size, ", config.json 'vocab_size' is ",
                     max_vocab);
  }
  const auto vocab = document.find("vocab");
  if (vocab == document.end() || !vocab->is_array() ||
      static_cast<int64_t>(vocab->size()) < size - specials) {
    return BadTekken("vocab: expected a list of at least ", size - specials, " tokens");
  }
  BpeParts parts;
  parts.pieces.resize(static_cast<size_t>(size));
  RETURN_IF_ERROR(AddSpecials(document, specials, &parts));
  RETURN_IF_ERROR(AddVocabulary(document, specials, &parts));
  PreTokenizerStep step;
  absl::StatusOr<SplitPattern> compiled = SplitPattern::Compile(pattern);
  if (!compiled.ok()) {
    return absl::Status(compiled.status().code(),
                        absl::StrCat("config.pattern: ", compiled.status().message()));
  }
  step.pattern = *std::move(compiled);
  parts.pre_tokenizer = PreTokenizer({std::move(step)});
  return parts;
}

}  // namespace

absl::StatusOr<std::unique_ptr<BpeTokenizer>> ParseTekken(std::string_view text,
                                                          std::string_view name,
                                                          int64_t max_vocab) {
  ASSIGN_OR_RETURN(const json document,
                   ParseStrictJson(text, name, kMaxVocabularyValues, kMaxTekkenBytes));
  absl::StatusOr<BpeParts> parts = Read(document, max_vocab);
  if (!parts.ok()) {
    return absl::Status(parts.status().code(),
                        absl::StrCat(std::string(name), ": ", parts.status().message()));
  }
  parts->file_name = name.substr(name.rfind('/') + 1);
  return BpeTokenizer::Make(*std::move(parts));
}

}  // namespace alcca
