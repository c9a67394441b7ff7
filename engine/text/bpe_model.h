#pragma once

// Byte-pair encoding of one word: symbols become tokens by merging neighbours in the order of a
// table (Sennrich, Haddow, Birch: Neural Machine Translation of Rare Words with Subword Units).

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"

namespace alcca {

struct BpeOptions {
  // A word's first symbols are its bytes, else its characters.
  bool symbols_are_bytes = true;
  // A word that is a token is that token, whatever the merges say.
  bool whole_words_first = false;
  // tiktoken's kind: two neighbours merge if their union is a token, the one of the lowest id
  // first. There is no table of merges then.
  bool merges_by_id = false;
  // A character that is no token becomes the tokens of its bytes, if there is one for each.
  bool byte_fallback = false;
  int32_t byte_ids[256] = {};  // of byte_fallback; -1: none
  // A character that is no token otherwise: this one, or nothing if it is -1.
  int32_t unknown_id = -1;
  bool fuse_unknown = false;  // a run of such characters is one token
};

// Immutable, so safe for any number of threads.
class BpeModel {
 public:
  // `tokens`: the bytes of each token that text may become, with its id. `merges`: pairs of ids
  // whose union is a token, the first merged first.
  static absl::StatusOr<BpeModel> Make(std::vector<std::pair<std::string, int32_t>> tokens,
                                       const std::vector<std::pair<int32_t, int32_t>>& merges,
                                       const BpeOptions& options);

  size_t size() const { return ids_.size(); }  // different tokens
  // Of the token that is exactly these bytes, or -1.
  int32_t Find(std::string_view bytes) const {
    const auto it = ids_.find(absl::string_view(bytes.data(), bytes.size()));
    return it == ids_.end() ? -1 : it->second;
  }

  // The memory of one encoding, which its words share.
  struct Symbol {
    int32_t id;
    int32_t prev, next;   // the living neighbours; -1 at the ends
    uint32_t begin, end;  // in the word; an empty one has been merged into another
  };
  struct Pair {
    int32_t rank, left, id;
    uint32_t end;  // of the union, in the word
  };
  struct Memory {
    std::vector<Symbol> symbols;
    std::vector<Pair> pairs;
  };

  // Appends the ids of `word`, not empty and below 2 GiB, in O(n log n).
  void AppendIds(std::string_view word, Memory* memory, std::vector<int32_t>* ids) const;

 private:
  struct Merge {
    int32_t rank, id;
  };

  void AddSymbols(std::string_view word, std::vector<Symbol>* symbols) const;
  void AddPair(std::string_view word, int32_t left, Memory* memory) const;
  // False if the two do not merge.
  bool FindMerge(std::string_view word, const Symbol& left, const Symbol& right,
                 Merge* merge) const;

  BpeOptions options_;
  absl::flat_hash_map<std::string, int32_t> ids_;
  absl::flat_hash_map<uint64_t, Merge> merges_;  // by both ids
};

}  // namespace alcca
