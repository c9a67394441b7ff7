#include "engine/constraint/vocabulary.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace alcca {

absl::StatusOr<std::shared_ptr<const TokenTrie>> TokenTrie::Build(VocabularyBytes vocabulary) {
  constexpr size_t kMaxTokenBytes = 65535;
  std::shared_ptr<TokenTrie> trie(new TokenTrie);
  trie->vocabulary_ = std::move(vocabulary);
  const std::vector<std::string>& bytes = trie->vocabulary_.bytes;
  const auto vocab_size = static_cast<int32_t>(bytes.size());
  std::vector<int32_t>& ends = trie->vocabulary_.end_tokens;
  std::sort(ends.begin(), ends.end());
  if (!ends.empty() && (ends.front() < 0 || ends.back() >= vocab_size)) {
    return absl::InvalidArgumentError(
        absl::StrCat("vocabulary: an end token is outside [0, ", vocab_size, ")"));
  }
  std::vector<int32_t>& spaced = trie->vocabulary_.loses_space;
  std::sort(spaced.begin(), spaced.end());
  for (const int32_t id : spaced) {
    if (id < 0 || id >= vocab_size || !bytes[id].starts_with(' ')) {
      return absl::InvalidArgumentError(
          absl::StrCat("vocabulary: token ", id, " has no space to lose"));
    }
  }
  std::vector<int32_t>& order = trie->tokens_;
  for (int32_t id = 0; id < vocab_size; ++id) {
    if (bytes[id].size() > kMaxTokenBytes) {
      return absl::InvalidArgumentError(absl::StrCat("vocabulary: token ", id, " has ",
                                                     bytes[id].size(), " bytes, at most ",
                                                     kMaxTokenBytes, " are supported"));
    }
    if (!bytes[id].empty() && !trie->IsEnd(id)) {
      order.push_back(id);
      trie->longest_token_ = std::max(trie->longest_token_, bytes[id].size());
    }
  }
  if (order.empty()) {
    return absl::InvalidArgumentError("vocabulary: no token has bytes");
  }
  std::stable_sort(order.begin(), order.end(),
                   [&bytes](int32_t a, int32_t b) { return bytes[a] < bytes[b]; });

  std::vector<Node>& nodes = trie->nodes_;
  std::vector<uint32_t> path = {0};  // Nodes from the root to the last token's.
  nodes.push_back({});
  std::string_view last;
  const auto close = [&nodes, &path](size_t depth) {
    for (; path.size() > depth + 1; path.pop_back()) {
      nodes[path.back()].subtree_end = static_cast<uint32_t>(nodes.size());
    }
  };
  for (uint32_t i = 0; i < order.size(); ++i) {
    const std::string_view token = bytes[order[i]];
    const size_t shared = static_cast<size_t>(
        std::mismatch(token.begin(), token.end(), last.begin(), last.end()).first - token.begin());
    close(shared);
    for (size_t depth = shared; depth < token.size(); ++depth) {
      path.push_back(static_cast<uint32_t>(nodes.size()));
      nodes.push_back({.subtree_end = 0,
                       .first_token = i,
                       .depth = static_cast<uint16_t>(depth + 1),
                       .byte = static_cast<uint8_t>(token[depth])});
    }
    last = token;
  }
  close(0);
  nodes[0].subtree_end = static_cast<uint32_t>(nodes.size());
  nodes.push_back({.first_token = static_cast<uint32_t>(order.size())});
  return trie;
}

bool TokenTrie::IsEnd(int32_t token) const {
  return std::binary_search(vocabulary_.end_tokens.begin(), vocabulary_.end_tokens.end(), token);
}

bool TokenTrie::LosesSpace(int32_t token) const {
  return std::binary_search(vocabulary_.loses_space.begin(), vocabulary_.loses_space.end(), token);
}

}  // namespace alcca
