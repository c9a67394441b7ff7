#pragma once

// What the libraries of byte-pair vocabularies answered (tools/golden/make_bpe_golden.py), and what
// we do.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/text/tokenizer.h"

namespace alcca::testing {

struct TokenizerCase {
  std::optional<std::string> text;  // nothing: only decoding is compared
  std::vector<int32_t> ids;
  std::string decoded;
};

// Of a folder with cases.jsonl and a vocabulary: gguf.json, or what LoadTokenizer reads.
std::vector<TokenizerCase> ReadTokenizerCases(const std::string& folder);
absl::StatusOr<std::unique_ptr<Tokenizer>> ReadGoldenTokenizer(const std::string& folder);

// Empty, or how our answer differs: encoding, decoding, or decoding id by id.
std::string Difference(const Tokenizer& tokenizer, const TokenizerCase& test);

}  // namespace alcca::testing
