#include "engine/text/bpe_model.h"

#include <algorithm>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/utf8.h"

namespace alcca {
namespace {

uint64_t PairKey(int32_t left, int32_t right) {
  return uint64_t{static_cast<uint32_t>(left)} << 32 | static_cast<uint32_t>(right);
}

// The heap's order: the lowest rank on top, the leftmost of two.
bool After(const BpeModel::Pair& a, const BpeModel::Pair& b) {
  return a.rank != b.rank ? a.rank > b.rank : a.left > b.left;
}

}  // namespace

absl::StatusOr<BpeModel> BpeModel::Make(std::vector<std::pair<std::string, int32_t>> tokens,
                                        const std::vector<std::pair<int32_t, int32_t>>& merges,
                                        const BpeOptions& options) {
  BpeModel model;
  model.options_ = options;
  std::vector<std::string_view> bytes_of;
  model.ids_.reserve(tokens.size());
  std::vector<std::pair<int32_t, std::string>> by_id;
  by_id.reserve(tokens.size());
  for (auto& [bytes, id] : tokens) {
    by_id.emplace_back(id, bytes);
    model.ids_.emplace(std::move(bytes), id);  // of two with the same bytes, the first
  }
  std::sort(by_id.begin(), by_id.end());
  const auto bytes = [&by_id](int32_t id) -> const std::string* {
    const auto it = std::lower_bound(by_id.begin(), by_id.end(), id,
                                     [](const auto& token, int32_t x) { return token.first < x; });
    return it != by_id.end() && it->first == id ? &it->second : nullptr;
  };
  model.merges_.reserve(merges.size());
  for (size_t i = 0; i < merges.size(); ++i) {
    const std::string* left = bytes(merges[i].first);
    const std::string* right = bytes(merges[i].second);
    const int32_t id = left == nullptr || right == nullptr ? -1 : model.Find(*left + *right);
    if (id < 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("merges[", i, "]: its union is no token of the vocabulary"));
    }
    model.merges_[PairKey(merges[i].first, merges[i].second)] = {static_cast<int32_t>(i), id};
  }
  return model;
}

bool BpeModel::FindMerge(std::string_view word, const Symbol& left, const Symbol& right,
                         Merge* merge) const {
  if (options_.merges_by_id) {
    const int32_t id = Find(word.substr(left.begin, right.end - left.begin));
    *merge = {id, id};
    return id >= 0;
  }
  const auto it = merges_.find(PairKey(left.id, right.id));
  if (it == merges_.end()) {
    return false;
  }
  *merge = it->second;
  return true;
}

void BpeModel::AddSymbols(std::string_view word, std::vector<Symbol>* symbols) const {
  const auto add = [symbols](int32_t id, size_t begin, size_t end) {
    const auto index = static_cast<int32_t>(symbols->size());
    symbols->push_back(
        {id, index - 1, index + 1, static_cast<uint32_t>(begin), static_cast<uint32_t>(end)});
  };
  size_t unknown = 0, unknown_begin = 0;  // bytes of the unknown symbol that waits, if any
  const auto add_unknown = [&] {
    if (unknown > 0) {
      add(options_.unknown_id, unknown_begin, unknown_begin + unknown);
    }
    unknown = 0;
  };
  for (size_t at = 0, size = 0; at < word.size(); at += size) {
    size = options_.symbols_are_bytes
               ? 1
               : static_cast<size_t>(std::max(1, Utf8CharLength(word.substr(at))));
    const std::string_view symbol = word.substr(at, size);
    if (const int32_t id = Find(symbol); id >= 0) {
      add_unknown();
      add(id, at, at + size);
      continue;
    }
    const auto id_of = [this](char c) { return options_.byte_ids[static_cast<uint8_t>(c)]; };
    if (options_.byte_fallback &&
        std::all_of(symbol.begin(), symbol.end(), [&](char c) { return id_of(c) >= 0; })) {
      add_unknown();
      for (size_t i = 0; i < size; ++i) {
        add(id_of(symbol[i]), at + i, at + i + 1);
      }
    } else if (options_.unknown_id >= 0) {
      if (!options_.fuse_unknown) {
        add_unknown();
      }
      unknown_begin = unknown == 0 ? at : unknown_begin;
      unknown += size;
    }
  }
  add_unknown();
  if (!symbols->empty()) {
    symbols->back().next = -1;
  }
}

void BpeModel::AddPair(std::string_view word, int32_t left, Memory* memory) const {
  if (left < 0 || memory->symbols[left].next < 0) {
    return;
  }
  const Symbol& a = memory->symbols[left];
  const Symbol& b = memory->symbols[a.next];
  Merge merge;
  if (FindMerge(word, a, b, &merge)) {
    memory->pairs.push_back({merge.rank, left, merge.id, b.end});
    std::push_heap(memory->pairs.begin(), memory->pairs.end(), After);
  }
}

void BpeModel::AppendIds(std::string_view word, Memory* memory, std::vector<int32_t>* ids) const {
  ALCCA_CHECK(word.size() <= INT32_MAX);
  if (options_.whole_words_first) {
    if (const int32_t id = Find(word); id >= 0) {
      ids->push_back(id);
      return;
    }
  }
  std::vector<Symbol>& symbols = memory->symbols;
  std::vector<Pair>& pairs = memory->pairs;
  symbols.clear();
  pairs.clear();
  AddSymbols(word, &symbols);
  for (size_t i = 0; i + 1 < symbols.size(); ++i) {
    AddPair(word, static_cast<int32_t>(i), memory);
  }
  while (!pairs.empty()) {
    std::pop_heap(pairs.begin(), pairs.end(), After);
    const Pair pair = pairs.back();
    pairs.pop_back();
    Symbol& left = symbols[pair.left];
    // Stale if an earlier merge took or grew one of the two.
    if (left.begin == left.end || left.next < 0 || symbols[left.next].end != pair.end) {
      continue;
    }
    Symbol& right = symbols[left.next];
    if (Merge merge; !FindMerge(word, left, right, &merge) || merge.id != pair.id) {
      continue;
    }
    left.id = pair.id;
    left.end = right.end;
    right.begin = right.end;
    left.next = right.next;
    if (left.next >= 0) {
      symbols[left.next].prev = pair.left;
    }
    AddPair(word, left.prev, memory);
    AddPair(word, pair.left, memory);
  }
  for (int32_t i = symbols.empty() ? -1 : 0; i >= 0; i = symbols[i].next) {
    ids->push_back(symbols[i].id);
  }
}

}  // namespace alcca
