// The tokens of a model as bytes, in a trie that masks are computed with.

#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace alcca {

// What a token adds to the text. `bytes[id]` is empty for a token that adds no text or that a text
// must never contain (control, unknown and unused tokens): no constraint allows it. `end_tokens`
// end an answer; a constraint allows them when the text may end, whatever their bytes are.
struct VocabularyBytes {
  std::vector<std::string> bytes;   // [vocab_size]
  std::vector<int32_t> end_tokens;  // Ids in [0, vocab_size).
  // Tokens whose bytes begin with a space that is not written where a text begins (SentencePiece's
  // dummy prefix): there, and there alone, they add one byte less.
  std::vector<int32_t> loses_space;
};

// Built once per model, immutable, shared by every constraint.
//
// Nodes are in preorder: node 0 is the empty prefix, the subtree of node i is [i, subtree_end(i)).
class TokenTrie {
 public:
  struct Node {
    uint32_t subtree_end = 0;
    uint32_t first_token = 0;  // Into tokens(); those of the next node begin at its first_token.
    uint16_t depth = 0;        // Bytes from the root.
    uint8_t byte = 0;          // The last of them.
  };

  // Errors: no token has bytes, a token is longer than 65,535 bytes, an end token is out of range.
  static absl::StatusOr<std::shared_ptr<const TokenTrie>> Build(VocabularyBytes vocabulary);

  size_t vocab_size() const { return vocabulary_.bytes.size(); }
  size_t mask_words() const { return (vocab_size() + 31) / 32; }
  size_t longest_token() const { return longest_token_; }  // bytes
  const std::string& bytes(int32_t token) const { return vocabulary_.bytes[token]; }
  std::span<const int32_t> end_tokens() const { return vocabulary_.end_tokens; }
  bool IsEnd(int32_t token) const;
  std::span<const int32_t> loses_space() const { return vocabulary_.loses_space; }  // Sorted.
  bool LosesSpace(int32_t token) const;

  // One more node than there are: the last has the end of tokens().
  std::span<const Node> nodes() const { return nodes_; }
  uint32_t size() const { return static_cast<uint32_t>(nodes_.size() - 1); }
  // Tokens whose bytes are the path of the node; several tokens may have the same bytes.
  std::span<const int32_t> tokens(uint32_t node) const {
    return std::span(tokens_).subspan(nodes_[node].first_token,
                                      nodes_[node + 1].first_token - nodes_[node].first_token);
  }

 private:
  TokenTrie() = default;

  VocabularyBytes vocabulary_;
  std::vector<Node> nodes_;
  std::vector<int32_t> tokens_;
  size_t longest_token_ = 0;
};

}  // namespace alcca
