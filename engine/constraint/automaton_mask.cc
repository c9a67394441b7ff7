// Masks: the tokens that a configuration allows, by a walk of the trie of tokens.
//
// Where few tokens are allowed the walk is short. Where many are (inside of strings) the items of
// one stack are looked at alone: what they allow before their rule is left depends on nothing else
// and is stored, and only the tokens that leave the rule are walked with the whole stack. Items
// that read nearly what any JSON string reads are compared with that, whose mask the vocabulary
// has: only where the two differ is anything walked.

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "engine/constraint/automaton.h"

namespace alcca {
namespace {

using Kind = Grammar::Kind;

// A walk that visits more nodes is wide.
constexpr size_t kNarrow = 3000;

void SetBit(int32_t token, std::span<uint32_t> words) {
  words[token / 32] |= uint32_t{1} << (token % 32);
}

void ClearBit(int32_t token, std::span<uint32_t> words) {
  words[token / 32] &= ~(uint32_t{1} << (token % 32));
}

}  // namespace

// Tokens below `node`, all of whose bytes `config` reads. False if more than max_nodes were
// visited.
bool Automaton::Walk(ConfigId config, uint32_t node, size_t max_nodes,
                     std::vector<int32_t>* tokens) {
  const auto nodes = trie_.nodes();
  const uint32_t end = nodes[node].subtree_end;
  std::vector<ConfigId>& path = path_;
  path[nodes[node].depth] = config;
  size_t visited = 0;
  for (uint32_t i = node + 1; i < end;) {
    const TokenTrie::Node& at = nodes[i];
    const ConfigId next = Step(path[at.depth - 1], at.byte);
    if (++visited > max_nodes) {
      return false;
    }
    if (next == kDead) {
      if (exhausted_) {
        return true;
      }
      i = at.subtree_end;
      continue;
    }
    path[at.depth] = next;
    const auto here = trie_.tokens(i);
    tokens->insert(tokens->end(), here.begin(), here.end());
    ++i;
  }
  return true;
}

void Automaton::WalkLocal(ConfigId local, LocalMask* mask) {
  const auto nodes = trie_.nodes();
  std::vector<ConfigId> path(trie_.longest_token() + 1, kDead);
  path[0] = local;
  for (uint32_t i = 1; i < trie_.size();) {
    const TokenTrie::Node& at = nodes[i];
    const ConfigId next = Step(path[at.depth - 1], at.byte);
    if (next == kDead) {
      if (exhausted_) {
        return;
      }
      i = at.subtree_end;
      continue;
    }
    path[at.depth] = next;
    for (const int32_t token : trie_.tokens(i)) {
      SetBit(token, mask->words);
    }
    if (CanEnd(next) && at.subtree_end > i + 1) {
      mask->pops.push_back(i);
    }
    ++i;
  }
}

// As WalkLocal, but from the mask of a free string: subtrees at whose root the two have become the
// same are as they are there.
void Automaton::WalkDifference(ConfigId local, LocalMask* mask) {
  const auto nodes = trie_.nodes();
  mask->words = free_string_->words;
  struct Pair {
    ConfigId local, free;
  };
  std::vector<Pair> path(trie_.longest_token() + 1);
  path[0] = {local, free_config_};
  std::vector<uint32_t> differ;  // Nodes at which the two may end differently, in order.
  std::vector<uint32_t> pops;
  for (uint32_t i = 1; i < trie_.size();) {
    const TokenTrie::Node& at = nodes[i];
    const Pair from = path[at.depth - 1];
    const ConfigId next = from.local == kDead ? kDead : Canonical(Step(from.local, at.byte));
    const ConfigId free = from.free == kDead ? kDead : Step(from.free, at.byte);
    if (exhausted_) {
      return;
    }
    if (next == free) {
      i = at.subtree_end;
      continue;
    }
    path[at.depth] = {next, free};
    for (const int32_t token : trie_.tokens(i)) {
      if (next != kDead) {
        SetBit(token, mask->words);
      } else {
        ClearBit(token, mask->words);
      }
    }
    if (CanEnd(free)) {
      differ.push_back(i);
    }
    if (CanEnd(next) && at.subtree_end > i + 1) {
      pops.push_back(i);
    }
    ++i;
  }
  std::set_difference(free_string_->pops.begin(), free_string_->pops.end(), differ.begin(),
                      differ.end(), std::back_inserter(mask->pops));
  const auto middle = static_cast<std::ptrdiff_t>(mask->pops.size());
  mask->pops.insert(mask->pops.end(), pops.begin(), pops.end());
  std::inplace_merge(mask->pops.begin(), mask->pops.begin() + middle, mask->pops.end());
}

// The items of one stack, without it: what they read before their rule is left.
ConfigId Automaton::Localize(std::span<const Item> items) {
  std::vector<Item> local(items.begin(), items.end());
  for (Item& item : local) {
    item.node = kRoot;
  }
  return Canonical(InternConfig(&local));
}

// The configuration that all those stand for that read the same tokens as this one: counters that
// no token can bring to a limit are as good as any other such.
ConfigId Automaton::Canonical(ConfigId local) {
  if (configs_[local].canonical != kUnknown) {
    return configs_[local].canonical;
  }
  const Config config = configs_[local];
  const uint64_t reach = trie_.longest_token() + 2;  // More than the bodies of any token.
  std::vector<Item> items(items_.begin() + config.begin,
                          items_.begin() + config.begin + config.count);
  for (Item& item : items) {
    if (is_free_quote_[item.state] && item.reg == 0) {
      item.state = grammar_.free_quote;
      continue;
    }
    const uint32_t loop_id = grammar_.states[item.state].loop;
    if (loop_id == kUnbounded) {
      continue;
    }
    const Grammar::Loop& loop = grammar_.loops[loop_id];
    const bool far_max = loop.max == kUnbounded || loop.max - item.reg > reach + loop.slack;
    if (item.reg >= loop.min && far_max) {
      item.reg = loop.min;
      if (loop.free_begin != kUnbounded) {
        item.state = grammar_.free_character + (item.state - loop.free_begin);
        item.reg = 0;
      }
    } else if (item.reg < loop.min && loop.min - item.reg > reach) {
      item.reg = 0;
    }
  }
  const ConfigId canonical = InternConfig(&items);
  configs_[local].canonical = canonical;
  configs_[canonical].canonical = canonical;
  return canonical;
}

const LocalMask& Automaton::Local(ConfigId local) {
  if (local == free_config_ && free_string_ != nullptr) {
    return *free_string_;
  }
  if (const auto it = local_masks_.find(local); it != local_masks_.end()) {
    return it->second;
  }
  LocalMask mask;
  mask.words.resize(trie_.mask_words(), 0);
  const Config& config = configs_[local];
  const bool nearly_free =
      std::any_of(items_.begin() + config.begin, items_.begin() + config.begin + config.count,
                  [this](const Item& item) { return grammar_.states[item.state].nearly_free; });
  if (nearly_free && free_string_ != nullptr && free_config_ != kDead) {
    WalkDifference(local, &mask);
  } else {
    WalkLocal(local, &mask);
  }
  mask_bytes_ += mask.words.size() * 4 + mask.pops.size() * 4 + 64;
  return local_masks_[local] = std::move(mask);
}

bool Automaton::IsWide(ConfigId id) const {
  const Config& config = configs_[id];
  return std::any_of(items_.begin() + config.begin, items_.begin() + config.begin + config.count,
                     [this](const Item& item) {
                       return grammar_.states[item.state].nearly_free ||
                              item.state == grammar_.free_character;
                     });
}

void Automaton::MaskByGroups(ConfigId id, std::span<uint32_t> words) {
  const Config config = configs_[id];
  const std::vector<Item> items(items_.begin() + config.begin,
                                items_.begin() + config.begin + config.count);
  std::vector<int32_t> tokens;
  for (size_t begin = 0; begin < items.size() && !exhausted_;) {
    size_t end = begin;
    while (end < items.size() && items[end].node == items[begin].node) {
      ++end;
    }
    const std::span<const Item> group = std::span(items).subspan(begin, end - begin);
    begin = end;
    std::vector<Item> alone(group.begin(), group.end());
    const ConfigId narrow = InternConfig(&alone);
    tokens.clear();
    if (!IsWide(narrow) && Walk(narrow, 0, kNarrow, &tokens)) {
      for (const int32_t token : tokens) {
        SetBit(token, words);
      }
      continue;
    }
    const LocalMask& local = Local(Localize(group));
    for (size_t w = 0; w < words.size(); ++w) {
      words[w] |= local.words[w];
    }
    const NodeId node = group[0].node;
    if (node != kRoot && !local.pops.empty()) {
      const ConfigId rest = Return(node);
      tokens.clear();
      for (const uint32_t pop : local.pops) {
        Walk(rest, pop, SIZE_MAX, &tokens);
      }
      for (const int32_t token : tokens) {
        SetBit(token, words);
      }
    }
  }
}

void Automaton::Mask(ConfigId config, std::span<uint32_t> words) {
  ALCCA_DCHECK(words.size() == trie_.mask_words());
  if (const auto it = masks_.find(config); it != masks_.end()) {
    if (!it->second.words.empty()) {
      std::copy(it->second.words.begin(), it->second.words.end(), words.begin());
      return;
    }
    std::fill(words.begin(), words.end(), 0);
    for (const int32_t token : it->second.tokens) {
      SetBit(token, words);
    }
    return;
  }
  std::fill(words.begin(), words.end(), 0);
  CachedMask cached;
  if (!IsWide(config) && Walk(config, 0, kNarrow, &cached.tokens)) {
    for (const int32_t token : cached.tokens) {
      SetBit(token, words);
    }
    if (cached.tokens.size() > words.size()) {
      cached.tokens.clear();
      cached.words.assign(words.begin(), words.end());
    }
  } else {
    cached.tokens.clear();
    MaskByGroups(config, words);
    cached.words.assign(words.begin(), words.end());
  }
  if (exhausted_) {
    return;
  }
  mask_bytes_ += 64 + (cached.tokens.size() + cached.words.size()) * 4;
  masks_[config] = std::move(cached);
}

LocalMask FreeStringMask(const TokenTrie& trie) {
  GrammarBuilder builder;
  const RuleId rule = builder.FreeString();
  const absl::StatusOr<Grammar> grammar = std::move(builder).Build(rule);
  ALCCA_CHECK(grammar.ok());
  Automaton automaton(*grammar, trie, nullptr, {});
  LocalMask mask;
  mask.words.resize(trie.mask_words(), 0);
  automaton.WalkLocal(automaton.start(), &mask);
  return mask;
}

}  // namespace alcca
