#include "engine/text/tokenizer_json.h"

#include <algorithm>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "base/strict_json.h"
#include "engine/text/byte_letters.h"
#include "engine/text/tokenizer_json_steps.h"

namespace alcca {
namespace {

using nlohmann::json;

template <typename... Args>
absl::Status BadDocument(const Args&... text) {
  return absl::InvalidArgumentError(absl::StrCat(text...));
}

// The value of "<0x0A>" etc.; -1 if `piece` is not of this form.
int ByteOf(std::string_view piece) {
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  if (piece.size() != 6 || !piece.starts_with("<0x") || piece[5] != '>') {
    return -1;
  }
  const size_t high = kDigits.find(piece[3]), low = kDigits.find(piece[4]);
  return std::max(high, low) == std::string_view::npos ? -1 : static_cast<int>(16 * high + low);
}

void ReplaceAll(const std::string& from, const std::string& to, std::string* text) {
  for (size_t at = text->find(from); at != std::string::npos;
       at = text->find(from, at + to.size())) {
    text->replace(at, from.size(), to);
  }
}

// Puts the sections of one file together.
class Assembler {
 public:
  Assembler(const json& document, const TokenizerConfig& config, int64_t max_vocab)
      : document_(document), config_(config), max_vocab_(max_vocab) {}

  absl::StatusOr<BpeParts> Run() {
    ASSIGN_OR_RETURN(parts_.normalizer, ReadNormalizer(document_));
    ASSIGN_OR_RETURN(PreTokenizerSteps steps, ReadPreTokenizer(document_));
    ASSIGN_OR_RETURN(decoder_, ReadDecoder(document_));
    ASSIGN_OR_RETURN(const TextEnds ends, ReadPostProcessor(document_));
    parts_.pre_tokenizer = std::move(steps.pre_tokenizer);
    byte_level_ = steps.byte_level;
    if (byte_level_ != decoder_.byte_level) {
      return absl::UnimplementedError(
          "decoder: ByteLevel is expected with the pre_tokenizer ByteLevel, and only with it");
    }
    parts_.drops_leading_space = decoder_.drops_leading_space;
    parts_.bytes_stand_alone = decoder_.byte_fallback;
    const auto model = document_.find("model");
    if (model == document_.end() || !model->is_object()) {
      return BadDocument("model: missing, expected an object");
    }
    RETURN_IF_ERROR(ReadVocabulary(*model));
    RETURN_IF_ERROR(ReadAddedTokens());
    RETURN_IF_ERROR(MakePieces());
    RETURN_IF_ERROR(MakeModel(*model));
    RETURN_IF_ERROR(SetEnds(ends));
    return std::move(parts_);
  }

 private:
  absl::Status ReadVocabulary(const json& model) {
    const auto type = model.find("type");
    if (type != model.end() && (!type->is_string() || *type != "BPE")) {
      return absl::UnimplementedError("model.type: only BPE is supported");
    }
    const auto vocab = model.find("vocab");
    if (vocab == model.end() || !vocab->is_object() || vocab->empty()) {
      return BadDocument("model.vocab: expected an object of tokens");
    }
    for (const auto& [piece, id] : vocab->items()) {
      if (!id.is_number_integer() || id.get<int64_t>() < 0 || id.get<int64_t>() >= kMaxTokenId ||
          piece.empty() || piece.size() > kMaxBpeTokenBytes) {
        return BadDocument("model.vocab: a token must have 1 to ", kMaxBpeTokenBytes,
                           " bytes and an id below ", kMaxTokenId);
      }
      if (id.get<int64_t>() >= max_vocab_) {
        return BadDocument("model.vocab: has the id ", id.get<int64_t>(),
                           ", config.json 'vocab_size' is ", max_vocab_);
      }
      if (!id_of_.emplace(piece, id.get<int32_t>()).second) {
        return BadDocument("model.vocab: a token stands there twice");
      }
    }
    return absl::OkStatus();
  }

  bool IsControlName(const std::string& content) const {
    const auto& names = config_.control_tokens;
    return LooksLikeControl(content) || content == config_.bos_token ||
           content == config_.eos_token || content == config_.unk_token ||
           content == config_.pad_token ||
           std::find(names.begin(), names.end(), content) != names.end();
  }

  absl::Status ReadAddedTokens() {
    const auto list = document_.find("added_tokens");
    if (list == document_.end() || list->is_null()) {
      return absl::OkStatus();
    }
    if (!list->is_array()) {
      return BadDocument("added_tokens: expected a list");
    }
    for (size_t i = 0; i < list->size(); ++i) {
      const std::string path = absl::StrCat("added_tokens[", i, "]");
      if (!(*list)[i].is_object()) {
        return BadDocument(path, ": expected an object");
      }
      JsonReader reader((*list)[i], path);
      int64_t id = -1;
      AddedToken token;
      reader.Int("id", 0, kMaxTokenId - 1, &id);
      reader.String("content", &token.text);
      reader.Bool("special", &token.control);
      reader.Bool("single_word", &token.single_word);
      reader.Bool("lstrip", &token.strips_left);
      reader.Bool("rstrip", &token.strips_right);
      reader.Bool("normalized", &token.normalized);
      RETURN_IF_ERROR(reader.status());
      if (token.text.empty() || token.text.size() > kMaxAddedTokenBytes) {
        return BadDocument(path, ": its content must have 1 to ", kMaxAddedTokenBytes, " bytes");
      }
      if (const auto it = id_of_.find(token.text); it != id_of_.end() && it->second != id) {
        return BadDocument(path, ": has the id ", id, ", and ", it->second, " in model.vocab");
      }
      token.id = static_cast<int32_t>(id);
      token.control = token.control || IsControlName(token.text);
      if (id < max_vocab_) {
        parts_.added.push_back(std::move(token));
      }
    }
    return absl::OkStatus();
  }

  std::string TextOf(const std::string& piece) const {
    if (byte_level_) {
      return BytesOfLetters(piece).value_or(piece);
    }
    if (const int byte = decoder_.byte_fallback ? ByteOf(piece) : -1; byte >= 0) {
      return std::string(1, static_cast<char>(byte));
    }
    std::string text = piece;
    for (const auto& [from, to] : decoder_.replacements) {
      ReplaceAll(from, to, &text);
    }
    return text;
  }

  // The pieces by id: those of the vocabulary, and added ones over them.
  absl::Status MakePieces() {
    int32_t last = 0;
    for (const auto& [piece, id] : id_of_) {
      last = std::max(last, id);
    }
    for (const AddedToken& token : parts_.added) {
      last = std::max(last, token.id);
    }
    const size_t known = id_of_.size() + parts_.added.size();
    constexpr size_t kMaxHoles = 65'536;
    if (static_cast<size_t>(last) >= known + kMaxHoles) {
      return BadDocument("model.vocab: the highest id is ", last, " of ", known, " tokens");
    }
    parts_.pieces.resize(static_cast<size_t>(last) + 1);
    MatchMemory memory;
    for (const auto& [piece, id] : id_of_) {
      if (!parts_.pieces[id].spelling.empty()) {
        return BadDocument("model.vocab: two tokens have the id ", id);
      }
      parts_.pieces[id] = {piece, TextOf(piece), false, false};
    }
    for (const AddedToken& token : parts_.added) {
      BpePiece& piece = parts_.pieces[token.id];
      if (!piece.spelling.empty() && piece.spelling != token.text) {
        return BadDocument("added_tokens: two tokens have the id ", token.id);
      }
      piece.spelling = token.text;
      piece.control = token.control;
      std::string text = token.control ? "" : token.text;
      if (token.normalized) {  // The library reads it back as it looks for it.
        ASSIGN_OR_RETURN(text, parts_.normalizer.Apply(std::move(text), &memory));
      }
      piece.text = byte_level_ ? text : TextOf(text);
    }
    return absl::OkStatus();
  }

  absl::StatusOr<BpeOptions> ReadOptions(const json& model) {
    JsonReader reader(model, "model");
    std::string unknown, prefix, suffix;
    double dropout = 0;
    BpeOptions options;
    reader.String("unk_token", &unknown);
    reader.String("continuing_subword_prefix", &prefix);
    reader.String("end_of_word_suffix", &suffix);
    reader.Bool("fuse_unk", &options.fuse_unknown);
    reader.Bool("byte_fallback", &options.byte_fallback);
    reader.Bool("ignore_merges", &options.whole_words_first);
    if (reader.Has("dropout")) {
      reader.Number("dropout", 0, 0, &dropout);
    }
    RETURN_IF_ERROR(reader.status());
    if (!prefix.empty() || !suffix.empty()) {
      return absl::UnimplementedError(absl::StrCat(
          "model.", prefix.empty() ? "end_of_word_suffix" : "continuing_subword_prefix",
          ": is not supported"));
    }
    options.symbols_are_bytes = byte_level_;
    std::fill(std::begin(options.byte_ids), std::end(options.byte_ids), -1);
    for (const auto& [piece, id] : id_of_) {
      if (const int byte = ByteOf(piece); byte >= 0) {
        options.byte_ids[byte] = id;
      }
    }
    if (!unknown.empty()) {
      const auto it = id_of_.find(unknown);
      if (it == id_of_.end()) {
        return BadDocument("model.unk_token: is no token of model.vocab");
      }
      // It stands for text that has no token, so it is not a control token.
      options.unknown_id = unknown_id_ = it->second;
      BpePiece& piece = parts_.pieces[it->second];
      piece.control = false;
      piece.text = piece.spelling;
      piece.unknown = true;
    }
    return options;
  }

  // Whether text may merge into the token: it is no control token, and a byte-level one spells
  // bytes.
  bool Usable(const std::string& piece, int32_t id) const {
    return !parts_.pieces[id].control && id != unknown_id_ &&
           (!byte_level_ || BytesOfLetters(piece));
  }

  absl::Status MakeModel(const json& model) {
    ASSIGN_OR_RETURN(const BpeOptions options, ReadOptions(model));
    std::vector<std::pair<int32_t, int32_t>> merges;
    const auto list = model.find("merges");
    if (list == model.end() || !list->is_array()) {
      return BadDocument("model.merges: expected a list");
    }
    for (size_t i = 0; i < list->size(); ++i) {
      std::string left, right;
      if (!SplitMerge((*list)[i], &left, &right)) {
        return BadDocument("model.merges[", i, "]: expected two tokens");
      }
      const auto a = id_of_.find(left), b = id_of_.find(right), both = id_of_.find(left + right);
      if (a == id_of_.end() || b == id_of_.end() || both == id_of_.end()) {
        return BadDocument("model.merges[", i, "]: ",
                           both == id_of_.end() && a != id_of_.end() && b != id_of_.end()
                               ? "its union is"
                               : "one of the two is",
                           " no token of model.vocab");
      }
      if (Usable(left, a->second) && Usable(right, b->second) &&
          Usable(left + right, both->second)) {
        merges.emplace_back(a->second, b->second);
      }
    }
    std::vector<std::pair<std::string, int32_t>> tokens;
    for (const auto& [piece, id] : id_of_) {
      if (Usable(piece, id)) {
        tokens.emplace_back(byte_level_ ? *BytesOfLetters(piece) : piece, id);
      }
    }
    ASSIGN_OR_RETURN(parts_.model, BpeModel::Make(std::move(tokens), merges, options));
    return absl::OkStatus();
  }

  // "left right", or ["left", "right"].
  static bool SplitMerge(const json& merge, std::string* left, std::string* right) {
    if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
      *left = merge[0].get<std::string>();
      *right = merge[1].get<std::string>();
    } else if (merge.is_string()) {
      const auto& text = merge.get_ref<const std::string&>();
      const size_t space = text.find(' ');
      if (space == std::string::npos || text.find(' ', space + 1) != std::string::npos) {
        return false;
      }
      *left = text.substr(0, space);
      *right = text.substr(space + 1);
    }
    return !left->empty() && !right->empty();
  }

  absl::StatusOr<int32_t> IdOf(const std::string& token, const char* key) const {
    for (size_t id = 0; !token.empty() && id < parts_.pieces.size(); ++id) {
      if (parts_.pieces[id].spelling == token) {
        return static_cast<int32_t>(id);
      }
    }
    if (token.empty()) {
      return -1;
    }
    return BadDocument(key, ": '", token.substr(0, 60), "' is no token of the vocabulary");
  }

  // tokenizer_config.json says whether a text begins with a token, and else the post_processor
  // does.
  absl::Status SetEnds(const TextEnds& ends) {
    const bool bos = config_.add_bos.value_or(!ends.first.empty());
    const std::string& first =
        config_.add_bos && !config_.bos_token.empty() ? config_.bos_token : ends.first;
    ASSIGN_OR_RETURN(parts_.bos_id, IdOf(bos ? first : "", "post_processor"));
    const std::string& last = config_.eos_token.empty() ? ends.last : config_.eos_token;
    ASSIGN_OR_RETURN(parts_.eos_id, IdOf(last, "tokenizer_config.json 'eos_token'"));
    return absl::OkStatus();
  }

  const json& document_;
  const TokenizerConfig& config_;
  const int64_t max_vocab_;
  BpeParts parts_;
  DecoderSteps decoder_;
  bool byte_level_ = false;
  int32_t unknown_id_ = -1;
  absl::flat_hash_map<std::string, int32_t> id_of_;  // of the model, by spelling
};

}  // namespace

absl::StatusOr<std::unique_ptr<BpeTokenizer>> ParseTokenizerJson(std::string_view text,
                                                                 std::string_view name,
                                                                 const TokenizerConfig& config,
                                                                 int64_t max_vocab) {
  ASSIGN_OR_RETURN(const json document,
                   ParseStrictJson(text, name, kMaxVocabularyValues, kMaxTokenizerJsonBytes));
  absl::StatusOr<BpeParts> parts = Assembler(document, config, max_vocab).Run();
  if (!parts.ok()) {
    return absl::Status(parts.status().code(),
                        absl::StrCat(std::string(name), ": ", parts.status().message()));
  }
  parts->file_name = name.substr(name.rfind('/') + 1);
  return BpeTokenizer::Make(*std::move(parts));
}

}  // namespace alcca
