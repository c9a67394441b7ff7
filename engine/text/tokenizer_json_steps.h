#pragma once

// The steps of a tokenizer.json around its model. Errors are one line that begins with the key.

#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/text/normalizer.h"
#include "engine/text/pre_tokenizer.h"
#include "nlohmann/json_fwd.hpp"

namespace alcca {

absl::StatusOr<Normalizer> ReadNormalizer(const nlohmann::json& document);

struct PreTokenizerSteps {
  PreTokenizer pre_tokenizer;
  bool byte_level = false;  // the vocabulary spells bytes (byte_letters.h)
};
absl::StatusOr<PreTokenizerSteps> ReadPreTokenizer(const nlohmann::json& document);

// How tokens are read back.
struct DecoderSteps {
  bool byte_level = false;
  bool byte_fallback = false;  // "<0x0A>" is a byte
  bool drops_leading_space = false;
  std::vector<std::pair<std::string, std::string>> replacements;  // in each token, in this order
};
absl::StatusOr<DecoderSteps> ReadDecoder(const nlohmann::json& document);

// The tokens that a text begins and ends with; empty: none.
struct TextEnds {
  std::string first, last;
};
absl::StatusOr<TextEnds> ReadPostProcessor(const nlohmann::json& document);

}  // namespace alcca
