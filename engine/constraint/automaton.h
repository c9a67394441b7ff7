// A grammar walked byte by byte. What may follow a text is a configuration: a set of items, each a
// state of a rule, its register and the stack that the rule returns to. Stacks are shared graphs of
// nodes, configurations and nodes are stored once each, so equal futures have equal ids, and a
// step is a look-up once it was taken: the pushdown automaton becomes deterministic as it is used.
//
// Every configuration that is not dead can be completed (RemoveUnproductive), so no text that is
// accepted byte by byte leads into a dead end.

#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "engine/constraint/grammar.h"
#include "engine/constraint/vocabulary.h"

namespace alcca {

using ConfigId = uint32_t;
inline constexpr ConfigId kDead = 0;

struct AutomatonLimits {
  size_t bytes = 32 << 20;     // Of what was learned; then it is forgotten and begun again.
  size_t items = 20'000;       // Of one configuration.
  uint32_t depth = 4'000;      // Of nested rules; deeper nesting is not accepted.
  uint64_t work = 20'000'000;  // Items looked at for one mask or one token.
};

// Tokens that a set of items allows while its rule is not left, and the trie nodes at which the
// rule may be complete and whose subtrees go on behind it.
struct LocalMask {
  std::vector<uint32_t> words;  // Bit t % 32 of words[t / 32] is token t.
  std::vector<uint32_t> pops;
};

// The mask of the inside of a JSON string, which every JSON constraint needs.
LocalMask FreeStringMask(const TokenTrie& trie);

// Used under a lock by one thread at a time. Deterministic: what it answers does not depend on what
// it was asked before.
class Automaton {
 public:
  Automaton(const Grammar& grammar, const TokenTrie& trie, const LocalMask* free_string,
            const AutomatonLimits& limits);

  ConfigId start() const { return start_; }
  ConfigId Step(ConfigId config, uint8_t byte) {
    const size_t slot = size_t{config} * classes_ + grammar_.byte_class[byte];
    return steps_[slot] != kUnknown ? steps_[slot] : ComputeStep(config, byte);
  }
  bool CanEnd(ConfigId config) const { return configs_[config].can_end; }
  // The text can end and nothing else.
  bool MustEnd(ConfigId config) const { return CanEnd(config) && configs_[config].count == 1; }

  // Writes the tokens that may follow, mask_words() of them; end tokens are the caller's.
  void Mask(ConfigId config, std::span<uint32_t> words);

  // The configuration of another automaton of the same grammar.
  ConfigId Import(const Automaton& other, ConfigId config);

  // A limit was met since the last ResetWork; answers since then are void.
  bool exhausted() const { return exhausted_; }
  void ResetWork() {
    work_ = 0;
    exhausted_ = false;
  }
  size_t bytes() const;
  size_t num_configs() const { return configs_.size(); }

 private:
  friend LocalMask FreeStringMask(const TokenTrie& trie);
  static constexpr uint32_t kUnknown = UINT32_MAX;
  using NodeId = uint32_t;
  static constexpr NodeId kRoot = 0;  // What follows is the end of the text.

  struct Item {
    NodeId node = 0;
    StateId state = 0;
    uint32_t reg = 0;
    bool operator==(const Item&) const = default;
    auto operator<=>(const Item&) const = default;
  };
  struct Node {  // Entries [begin, begin + count): where the rule returns to.
    uint32_t begin = 0, count = 0, depth = 0;
    ConfigId returned = kUnknown;
  };
  struct Config {  // Items [begin, begin + count), sorted.
    uint32_t begin = 0, count = 0;
    bool can_end = false;
    ConfigId canonical = kUnknown;
  };
  struct Set {  // Which members of an object were read.
    std::vector<uint64_t> bits;
    uint32_t extras = 0;
  };
  struct CachedMask {  // Either of the two.
    std::vector<int32_t> tokens;
    std::vector<uint32_t> words;
  };
  // How an item was reached within one closure, besides where it is.
  enum Fresh : uint8_t { kOld = 0, kFreshBody = 1, kFreshRule = 2 };
  struct Pending {
    Item item;
    uint8_t fresh = 0;
    bool operator==(const Pending&) const = default;
  };

  ConfigId ComputeStep(ConfigId config, uint8_t byte);
  ConfigId Closure();  // Of what was pushed.
  void Push(const Item& item, uint8_t fresh);
  void Expand(const Pending& pending);
  void ExpandCall(const Grammar::State& state, const Pending& pending);
  void AtLoop(uint32_t loop, uint32_t count, NodeId node, uint8_t fresh);
  void StartCalledRules();
  ConfigId InternConfig(std::vector<Item>* items);
  NodeId InternNode(std::vector<Item>* entries);
  ConfigId Return(NodeId node);
  uint32_t ImportRegister(const Automaton& other, const Item& item);
  NodeId ImportNode(const Automaton& other, NodeId node, std::unordered_map<NodeId, NodeId>* known);

  // Members (automaton_members.cc).
  void ExpandMembers(const Grammar::State& state, const Pending& pending);
  uint32_t InternSet(Set set);
  bool CanClose(const Grammar::Members& set, const Set& read) const;
  void Candidates(const Grammar::Members& set, uint32_t read, std::vector<Item>* found);
  bool Completable(const Grammar::Members& set, const Set& read) const;

  // Masks (automaton_mask.cc).
  ConfigId Localize(std::span<const Item> items);
  ConfigId Canonical(ConfigId local);
  const LocalMask& Local(ConfigId local);
  bool IsWide(ConfigId config) const;
  bool Walk(ConfigId config, uint32_t node, size_t max_nodes, std::vector<int32_t>* tokens);
  void WalkLocal(ConfigId local, LocalMask* mask);
  void WalkDifference(ConfigId local, LocalMask* mask);
  void MaskByGroups(ConfigId config, std::span<uint32_t> words);

  const Grammar& grammar_;
  const TokenTrie& trie_;
  const LocalMask* free_string_;
  const AutomatonLimits limits_;
  const uint32_t classes_;

  std::vector<Item> items_;
  std::vector<Config> configs_;
  std::vector<ConfigId> steps_;  // [configs][classes]
  std::unordered_multimap<uint64_t, ConfigId> config_ids_;
  std::vector<Item> entries_;  // An entry is the item that follows the return.
  std::vector<Node> nodes_;
  std::unordered_multimap<uint64_t, NodeId> node_ids_;
  std::vector<Set> sets_;
  std::unordered_map<std::string, uint32_t> set_ids_;
  std::unordered_map<ConfigId, LocalMask> local_masks_;
  std::unordered_map<ConfigId, CachedMask> masks_;
  size_t mask_bytes_ = 0;
  std::vector<bool> is_free_quote_;  // [states] Reads the quote after a counted string.
  ConfigId start_ = kDead;
  ConfigId free_config_ = kDead;  // Inside a JSON string, nothing else known.

  std::vector<ConfigId> path_;  // Of Walk: by depth in the trie.

  // Of the closure that is being computed.
  std::vector<Pending> work_list_;
  std::vector<Pending> seen_;  // Open addressing.
  std::vector<uint32_t> seen_stamp_;
  uint32_t stamp_ = 0;
  size_t num_seen_ = 0;
  std::vector<Item> reading_;
  std::vector<RuleId> called_;              // A heap: the lowest rank first.
  std::vector<std::vector<Item>> returns_;  // [rules] Entries of those called.
  uint64_t work_ = 0;
  bool exhausted_ = false;
};

}  // namespace alcca
