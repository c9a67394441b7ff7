#include "engine/constraint/automaton.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace alcca {
namespace {

using Kind = Grammar::Kind;

uint64_t Mix(uint64_t hash, uint64_t value) {
  hash = (hash ^ value) * 0x9E3779B97F4A7C15;
  return hash ^ hash >> 29;
}

template <typename Items>
uint64_t HashItems(const Items& items) {
  uint64_t hash = items.size();
  for (const auto& item : items) {
    hash = Mix(Mix(hash, uint64_t{item.node} << 32 | item.state), item.reg);
  }
  return hash;
}

}  // namespace

Automaton::Automaton(const Grammar& grammar, const TokenTrie& trie, const LocalMask* free_string,
                     const AutomatonLimits& limits)
    : grammar_(grammar),
      trie_(trie),
      free_string_(free_string),
      limits_(limits),
      classes_(grammar.num_classes),
      is_free_quote_(grammar.states.size(), false),
      path_(trie.longest_token() + 1, kDead),
      seen_(256),
      seen_stamp_(256, 0),
      returns_(grammar.rules.size()) {
  sets_.emplace_back();
  set_ids_[std::string()] = 0;
  std::vector<Item> none;
  ALCCA_CHECK(InternConfig(&none) == kDead);
  for (uint32_t c = 0; c < classes_; ++c) {
    steps_[c] = kDead;
  }
  std::vector<Item> end = {{kRoot, kEndState, 0}};
  nodes_.push_back({.begin = 0, .count = 1});
  entries_ = end;
  node_ids_.emplace(HashItems(end), kRoot);
  for (const Grammar::Loop& loop : grammar.loops) {
    if (loop.free_begin != kUnbounded) {
      is_free_quote_[loop.exit] = true;
    }
  }
  if (grammar.free_string != kUnbounded) {
    ++stamp_;
    Push({kRoot, grammar.free_string, 0}, kOld);
    free_config_ = Closure();
  }
  ++stamp_;
  Push({kRoot, grammar.rules[grammar.start], 0}, kFreshRule);
  if (grammar.nullable[grammar.start]) {
    Push({kRoot, kEndState, 0}, kOld);
  }
  start_ = Closure();
}

ConfigId Automaton::ComputeStep(ConfigId config, uint8_t byte) {
  ++stamp_;
  const Config from = configs_[config];
  for (uint32_t i = from.begin; i < from.begin + from.count; ++i) {
    const Item item = items_[i];
    const Grammar::State& state = grammar_.states[item.state];
    if (state.kind != Kind::kEdges) {
      continue;  // The end of the text.
    }
    const Grammar::Edge* edge = grammar_.edges.data() + state.a;
    for (const Grammar::Edge* end = edge + state.b; edge != end; ++edge) {
      if (edge->low <= byte && byte <= edge->high) {
        Push({item.node, edge->target, item.reg}, kOld);
      }
    }
  }
  const ConfigId to = Closure();
  if (!exhausted_) {
    steps_[size_t{config} * classes_ + grammar_.byte_class[byte]] = to;
  }
  return to;
}

void Automaton::Push(const Item& item, uint8_t fresh) {
  if (num_seen_ * 2 >= seen_.size()) {
    std::vector<Pending> old = std::move(seen_);
    std::vector<uint32_t> old_stamp = std::move(seen_stamp_);
    seen_.assign(old.size() * 2, {});
    seen_stamp_.assign(old.size() * 2, 0);
    for (size_t i = 0; i < old.size(); ++i) {
      if (old_stamp[i] == stamp_) {
        size_t slot = Mix(HashItems(std::span(&old[i].item, 1)), old[i].fresh) & (seen_.size() - 1);
        while (seen_stamp_[slot] == stamp_) {
          slot = (slot + 1) & (seen_.size() - 1);
        }
        seen_[slot] = old[i];
        seen_stamp_[slot] = stamp_;
      }
    }
  }
  const Pending pending = {item, fresh};
  size_t slot = Mix(HashItems(std::span(&item, 1)), fresh) & (seen_.size() - 1);
  for (; seen_stamp_[slot] == stamp_; slot = (slot + 1) & (seen_.size() - 1)) {
    if (seen_[slot] == pending) {
      return;
    }
  }
  seen_[slot] = pending;
  seen_stamp_[slot] = stamp_;
  ++num_seen_;
  work_list_.push_back(pending);
}

ConfigId Automaton::Closure() {
  reading_.clear();
  for (;;) {
    while (!work_list_.empty()) {
      const Pending pending = work_list_.back();
      work_list_.pop_back();
      if (++work_ > limits_.work || num_seen_ > limits_.items) {
        exhausted_ = true;
        work_list_.clear();
        break;
      }
      Expand(pending);
    }
    if (called_.empty()) {
      break;
    }
    StartCalledRules();
  }
  num_seen_ = 0;
  if (exhausted_) {
    return kDead;
  }
  return InternConfig(&reading_);
}

void Automaton::Expand(const Pending& pending) {
  const Item& item = pending.item;
  const Grammar::State& state = grammar_.states[item.state];
  switch (state.kind) {
    case Kind::kEdges:
      if (state.b > 0) {
        reading_.push_back(item);
      }
      break;
    case Kind::kEnd:
      reading_.push_back(item);
      break;
    case Kind::kSplit:
      for (uint32_t i = 0; i < state.b; ++i) {
        Push({item.node, grammar_.targets[state.a + i], item.reg}, pending.fresh);
      }
      break;
    case Kind::kCall:
      ExpandCall(state, pending);
      break;
    case Kind::kAccept:
      if (!(pending.fresh & kFreshRule)) {  // Else its caller has gone on without it.
        const Node node = nodes_[item.node];
        for (uint32_t i = node.begin; i < node.begin + node.count; ++i) {
          Push(entries_[i], kOld);
        }
      }
      break;
    case Kind::kLoopEnter:
      AtLoop(state.a, 0, item.node, pending.fresh);
      break;
    case Kind::kLoopNext:
      if (!(pending.fresh & kFreshBody)) {  // Else the body has read nothing.
        const Grammar::Loop& loop = grammar_.loops[state.a];
        const uint32_t count =
            loop.max == kUnbounded ? std::min(item.reg + 1, loop.min) : item.reg + 1;
        AtLoop(state.a, count, item.node, pending.fresh);
      } else {
        Push({item.node, grammar_.loops[state.a].exit, 0}, pending.fresh & kFreshRule);
      }
      break;
    case Kind::kCount:
      if (uint64_t{item.reg} + 1 + state.b <= grammar_.loops[state.loop].max) {
        Push({item.node, state.a, item.reg + 1}, pending.fresh);
      }
      break;
    case Kind::kMembersFirst:
    case Kind::kMembersNext:
    case Kind::kMembersPick:
      ExpandMembers(state, pending);
      break;
  }
}

void Automaton::ExpandCall(const Grammar::State& state, const Pending& pending) {
  const Item& item = pending.item;
  const RuleId rule = state.a;
  if (grammar_.nullable[rule]) {
    Push({item.node, state.b, item.reg}, pending.fresh);
  }
  if (nodes_[item.node].depth >= limits_.depth) {
    return;
  }
  std::vector<Item>& returns = returns_[rule];
  if (returns.empty()) {
    called_.push_back(rule);
    std::push_heap(called_.begin(), called_.end(),
                   [this](RuleId a, RuleId b) { return grammar_.rank[a] > grammar_.rank[b]; });
  }
  if (grammar_.states[state.b].tail) {  // What follows is what follows this rule.
    const Node& node = nodes_[item.node];
    returns.insert(returns.end(), entries_.begin() + node.begin,
                   entries_.begin() + node.begin + node.count);
  } else {
    returns.push_back({item.node, state.b, item.reg});
  }
  work_ += returns.size() > 64 ? 1 : 0;
}

// Starts the called rule of the lowest rank: all its callers are known by now.
void Automaton::StartCalledRules() {
  std::pop_heap(called_.begin(), called_.end(),
                [this](RuleId a, RuleId b) { return grammar_.rank[a] > grammar_.rank[b]; });
  const RuleId rule = called_.back();
  called_.pop_back();
  std::vector<Item>& returns = returns_[rule];
  if (!exhausted_) {
    const NodeId node = InternNode(&returns);
    Push({node, grammar_.rules[rule], 0}, kFreshRule);
  }
  returns.clear();
}

void Automaton::AtLoop(uint32_t loop_id, uint32_t count, NodeId node, uint8_t fresh) {
  const Grammar::Loop& loop = grammar_.loops[loop_id];
  if (loop.max == kUnbounded || count < loop.max) {
    Push({node, loop.body, count}, kFreshBody | (fresh & kFreshRule));
  }
  if (count >= loop.min) {
    Push({node, loop.exit, 0}, fresh & kFreshRule);
  }
}

ConfigId Automaton::InternConfig(std::vector<Item>* items) {
  std::sort(items->begin(), items->end());
  items->erase(std::unique(items->begin(), items->end()), items->end());
  const uint64_t hash = HashItems(*items);
  const auto [first, last] = config_ids_.equal_range(hash);
  for (auto it = first; it != last; ++it) {
    const Config& config = configs_[it->second];
    if (std::equal(items->begin(), items->end(), items_.begin() + config.begin,
                   items_.begin() + config.begin + config.count)) {
      return it->second;
    }
  }
  const auto id = static_cast<ConfigId>(configs_.size());
  const bool can_end = std::any_of(items->begin(), items->end(),
                                   [](const Item& item) { return item.state == kEndState; });
  configs_.push_back({.begin = static_cast<uint32_t>(items_.size()),
                      .count = static_cast<uint32_t>(items->size()),
                      .can_end = can_end});
  items_.insert(items_.end(), items->begin(), items->end());
  steps_.resize(steps_.size() + classes_, kUnknown);
  config_ids_.emplace(hash, id);
  return id;
}

Automaton::NodeId Automaton::InternNode(std::vector<Item>* entries) {
  std::sort(entries->begin(), entries->end());
  entries->erase(std::unique(entries->begin(), entries->end()), entries->end());
  const uint64_t hash = HashItems(*entries);
  const auto [first, last] = node_ids_.equal_range(hash);
  for (auto it = first; it != last; ++it) {
    const Node& node = nodes_[it->second];
    if (std::equal(entries->begin(), entries->end(), entries_.begin() + node.begin,
                   entries_.begin() + node.begin + node.count)) {
      return it->second;
    }
  }
  uint32_t depth = 0;
  for (const Item& entry : *entries) {
    depth = std::max(depth, nodes_[entry.node].depth + 1);
  }
  const auto id = static_cast<NodeId>(nodes_.size());
  nodes_.push_back({.begin = static_cast<uint32_t>(entries_.size()),
                    .count = static_cast<uint32_t>(entries->size()),
                    .depth = depth});
  entries_.insert(entries_.end(), entries->begin(), entries->end());
  node_ids_.emplace(hash, id);
  return id;
}

ConfigId Automaton::Return(NodeId id) {
  if (nodes_[id].returned == kUnknown) {
    ++stamp_;
    const Node node = nodes_[id];
    for (uint32_t i = node.begin; i < node.begin + node.count; ++i) {
      Push(entries_[i], kOld);
    }
    const ConfigId config = Closure();
    if (exhausted_) {
      return kDead;
    }
    nodes_[id].returned = config;
  }
  return nodes_[id].returned;
}

Automaton::NodeId Automaton::ImportNode(const Automaton& other, NodeId id,
                                        std::unordered_map<NodeId, NodeId>* known) {
  // Parents have lower ids, so a stack of those that wait needs no recursion.
  std::vector<NodeId> wait = {id};
  while (!wait.empty()) {
    const NodeId top = wait.back();
    if (known->contains(top)) {
      wait.pop_back();
      continue;
    }
    const Node& node = other.nodes_[top];
    std::vector<Item> entries(other.entries_.begin() + node.begin,
                              other.entries_.begin() + node.begin + node.count);
    bool ready = true;
    for (Item& entry : entries) {
      if (const auto it = known->find(entry.node); it != known->end()) {
        entry.node = it->second;
      } else {
        wait.push_back(entry.node);
        ready = false;
      }
    }
    if (ready) {
      for (Item& entry : entries) {
        entry.reg = ImportRegister(other, entry);
      }
      (*known)[top] = InternNode(&entries);
    }
  }
  return known->at(id);
}

uint32_t Automaton::ImportRegister(const Automaton& other, const Item& item) {
  const bool is_set = grammar_.states[item.state].loop == kUnbounded && item.reg != 0;
  return is_set ? InternSet(other.sets_[item.reg]) : item.reg;
}

ConfigId Automaton::Import(const Automaton& other, ConfigId id) {
  std::unordered_map<NodeId, NodeId> known = {{kRoot, kRoot}};
  const Config& config = other.configs_[id];
  std::vector<Item> items(other.items_.begin() + config.begin,
                          other.items_.begin() + config.begin + config.count);
  for (Item& item : items) {
    item.node = ImportNode(other, item.node, &known);
    item.reg = ImportRegister(other, item);
  }
  return InternConfig(&items);
}

size_t Automaton::bytes() const {
  return sizeof(*this) + items_.size() * sizeof(Item) + configs_.size() * (sizeof(Config) + 40) +
         steps_.size() * sizeof(ConfigId) + entries_.size() * sizeof(Item) +
         nodes_.size() * (sizeof(Node) + 40) + sets_.size() * 128 + mask_bytes_;
}

}  // namespace alcca
