#include "engine/constraint/grammar.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status_macros.h"

namespace alcca {

using Kind = Grammar::Kind;

size_t Grammar::bytes() const {
  size_t total = sizeof(*this) + states.size() * sizeof(State) + edges.size() * sizeof(Edge) +
                 targets.size() * sizeof(StateId) + loops.size() * sizeof(Loop) +
                 rules.size() * (sizeof(StateId) + sizeof(uint32_t) + 1);
  for (const Members& set : members) {
    total += sizeof(set) + set.members.size() * sizeof(Members::Member) +
             set.extras.size() * sizeof(StateId);
  }
  return total;
}

GrammarBuilder::GrammarBuilder(GrammarLimits limits) : limits_(limits) {
  Add({.kind = Kind::kAccept});
  Add({.kind = Kind::kEnd});
}

StateId GrammarBuilder::Add(Grammar::State state) {
  if (grammar_.states.size() >= limits_.states || grammar_.edges.size() >= limits_.edges) {
    full_ = true;
    return kAcceptState;
  }
  grammar_.states.push_back(state);
  return static_cast<StateId>(grammar_.states.size() - 1);
}

RuleId GrammarBuilder::NewRule() {
  if (grammar_.rules.size() >= limits_.rules) {
    full_ = true;
    return 0;
  }
  grammar_.rules.push_back(kAcceptState);
  return static_cast<RuleId>(grammar_.rules.size() - 1);
}

void GrammarBuilder::SetRule(RuleId rule, StateId start) {
  grammar_.rules[rule] = start;
}

StateId GrammarBuilder::Edges(std::span<const Grammar::Edge> edges, bool nearly_free) {
  const auto begin = static_cast<uint32_t>(grammar_.edges.size());
  const StateId state = Add({.kind = Kind::kEdges,
                             .nearly_free = nearly_free,
                             .a = begin,
                             .b = static_cast<uint32_t>(edges.size())});
  if (!full_) {
    grammar_.edges.insert(grammar_.edges.end(), edges.begin(), edges.end());
  }
  return state;
}

StateId GrammarBuilder::Byte(uint8_t low, uint8_t high, StateId next) {
  const Grammar::Edge edge = {low, high, next};
  return Edges({&edge, 1});
}

StateId GrammarBuilder::Literal(std::string_view bytes, StateId next) {
  for (auto it = bytes.rbegin(); it != bytes.rend() && !full_; ++it) {
    next = Byte(static_cast<uint8_t>(*it), static_cast<uint8_t>(*it), next);
  }
  return next;
}

StateId GrammarBuilder::Split(std::span<const StateId> targets) {
  if (targets.size() == 1) {
    return targets[0];
  }
  const StateId split = NewSplit();
  SetSplit(split, targets);
  return split;
}

StateId GrammarBuilder::NewSplit() {
  return Add({.kind = Kind::kSplit});
}

void GrammarBuilder::SetSplit(StateId split, std::span<const StateId> targets) {
  if (full_) {
    return;
  }
  grammar_.states[split].a = static_cast<uint32_t>(grammar_.targets.size());
  grammar_.states[split].b = static_cast<uint32_t>(targets.size());
  grammar_.targets.insert(grammar_.targets.end(), targets.begin(), targets.end());
}

StateId GrammarBuilder::Call(RuleId rule, StateId next) {
  return Add({.kind = Kind::kCall, .a = rule, .b = next});
}

StateId GrammarBuilder::Nothing() {
  return NewSplit();
}

StateId GrammarBuilder::Continuation(uint32_t bytes, StateId next) {
  if (bytes == 0) {
    return next;
  }
  const uint64_t key = uint64_t{bytes} << 32 | next;
  if (const auto it = continuation_.find(key); it != continuation_.end()) {
    return it->second;
  }
  const StateId state = Byte(0x80, 0xBF, Continuation(bytes - 1, next));
  continuation_[key] = state;
  return state;
}

// [low, high] have `length` bytes each, of which the first is not a continuation byte unless this
// is a call for the rest of a character.
void GrammarBuilder::Utf8Edges(uint32_t low, uint32_t high, uint32_t length, StateId next,
                               std::vector<Grammar::Edge>* edges) {
  constexpr uint8_t kLead[] = {0, 0x00, 0xC0, 0xE0, 0xF0};
  const auto rest = [this](auto& self, uint32_t from, uint32_t to, uint32_t bytes,
                           StateId then) -> StateId {
    // The last 6 * bytes bits, from..to.
    const uint32_t all = (uint32_t{1} << (6 * bytes)) - 1;
    if (from == 0 && to == all) {
      return Continuation(bytes, then);
    }
    const uint32_t shift = 6 * (bytes - 1);
    const uint32_t mask = (uint32_t{1} << shift) - 1;
    std::vector<Grammar::Edge> out;
    for (uint32_t lead = from >> shift; lead <= to >> shift;) {
      const uint32_t first = lead == from >> shift ? from & mask : 0;
      uint32_t last_lead = lead;
      uint32_t last = lead == to >> shift ? to & mask : mask;
      if (first == 0 && last == mask) {  // Widen over leads whose rest is everything.
        while (last_lead < to >> shift && (last_lead + 1 < to >> shift || (to & mask) == mask)) {
          ++last_lead;
        }
      }
      out.push_back({static_cast<uint8_t>(0x80 | lead), static_cast<uint8_t>(0x80 | last_lead),
                     bytes == 1 ? then : self(self, first, last, bytes - 1, then)});
      lead = last_lead + 1;
    }
    return Edges(out);
  };
  if (length == 1) {
    edges->push_back({static_cast<uint8_t>(low), static_cast<uint8_t>(high), next});
    return;
  }
  const uint32_t shift = 6 * (length - 1);
  const uint32_t mask = (uint32_t{1} << shift) - 1;
  for (uint32_t lead = low >> shift; lead <= high >> shift;) {
    const uint32_t first = lead == low >> shift ? low & mask : 0;
    const uint32_t last = lead == high >> shift ? high & mask : mask;
    uint32_t last_lead = lead;
    if (first == 0 && last == mask) {
      while (last_lead < high >> shift &&
             (last_lead + 1 < high >> shift || (high & mask) == mask)) {
        ++last_lead;
      }
    }
    edges->push_back({static_cast<uint8_t>(kLead[length] | lead),
                      static_cast<uint8_t>(kLead[length] | last_lead),
                      rest(rest, first, last, length - 1, next)});
    lead = last_lead + 1;
  }
}

void GrammarBuilder::CharacterEdges(uint32_t low, uint32_t high, StateId next,
                                    std::vector<Grammar::Edge>* edges) {
  constexpr struct {
    uint32_t low, high, length;
  } kRanges[] = {{0, 0x7F, 1},
                 {0x80, 0x7FF, 2},
                 {0x800, 0xD7FF, 3},
                 {0xE000, 0xFFFF, 3},
                 {0x10000, 0x10FFFF, 4}};
  for (const auto& range : kRanges) {
    const uint32_t from = std::max(low, range.low);
    const uint32_t to = std::min(high, range.high);
    if (from <= to && !full_) {
      Utf8Edges(from, to, range.length, next, edges);
    }
  }
}

StateId GrammarBuilder::BeginLoop(uint32_t min, uint32_t max, StateId exit) {
  ALCCA_CHECK(open_loop_ == kUnbounded && min <= max && max > 0);
  open_loop_ = static_cast<uint32_t>(grammar_.loops.size());
  grammar_.loops.push_back({.min = min, .max = max, .exit = exit});
  open_loop_begin_ = static_cast<StateId>(grammar_.states.size());
  continuation_.clear();  // States of a body stand in it and nowhere else.
  return Add({.kind = Kind::kLoopNext, .a = open_loop_});
}

StateId GrammarBuilder::EndLoop(StateId body, bool free_character) {
  Grammar::Loop& loop = grammar_.loops[open_loop_];
  loop.body = body;
  for (StateId s = open_loop_begin_; s < grammar_.states.size(); ++s) {
    grammar_.states[s].loop = open_loop_;
  }
  if (free_character) {
    loop.free_begin = open_loop_begin_ + 1;  // After kLoopNext.
  }
  continuation_.clear();
  return Add({.kind = Kind::kLoopEnter, .a = std::exchange(open_loop_, kUnbounded)});
}

void GrammarBuilder::BeginCount(uint32_t max) {
  BeginLoop(0, std::max(max, 1U), kAcceptState);
  grammar_.loops[open_loop_].max = max;
}

StateId GrammarBuilder::Count(StateId target, uint32_t rest) {
  Grammar::Loop& loop = grammar_.loops[open_loop_];
  loop.slack = std::max(loop.slack, rest);
  return Add({.kind = Kind::kCount, .a = target, .b = rest});
}

void GrammarBuilder::EndCount() {
  EndLoop(kAcceptState);
}

StateId GrammarBuilder::NewMembers() {
  grammar_.members.emplace_back();
  return Add(
      {.kind = Kind::kMembersFirst, .a = static_cast<uint32_t>(grammar_.members.size() - 1)});
}

StateId GrammarBuilder::MembersNext(StateId first) {
  return Add({.kind = Kind::kMembersNext, .a = grammar_.states[first].a});
}

StateId GrammarBuilder::MembersPick(StateId first) {
  return Add({.kind = Kind::kMembersPick, .a = grammar_.states[first].a});
}

void GrammarBuilder::EndMembers(StateId first, Grammar::Members members) {
  members.extra_available.assign(members.extras.size(), true);
  if (!full_) {
    grammar_.members[grammar_.states[first].a] = std::move(members);
  }
}

// The states are made in one order whatever `next` is, so that those of two characters correspond.
StateId GrammarBuilder::FreeCharacter(StateId next) {
  const auto first = static_cast<StateId>(grammar_.states.size());
  // The first state refers to those behind it.
  const StateId c1 = first + 1, c2 = first + 2, c3 = first + 3, e0 = first + 4, ed = first + 5,
                f0 = first + 6, f4 = first + 7, escape = first + 8, h1 = first + 9, h2 = first + 10,
                h3 = first + 11, u = first + 12, ud = first + 13, s1 = first + 14, s2 = first + 15,
                low_slash = first + 16, low_u = first + 17, low_d = first + 18, low_2 = first + 19;
  using E = Grammar::Edge;
  const auto hex = [](StateId to) {
    return std::vector<E>{{'0', '9', to}, {'A', 'F', to}, {'a', 'f', to}};
  };
  Edges(std::vector<E>{{0x20, 0x21, next},
                       {0x23, 0x5B, next},
                       {0x5D, 0x7F, next},
                       {'\\', '\\', escape},
                       {0xC2, 0xDF, c1},
                       {0xE0, 0xE0, e0},
                       {0xE1, 0xEC, c2},
                       {0xED, 0xED, ed},
                       {0xEE, 0xEF, c2},
                       {0xF0, 0xF0, f0},
                       {0xF1, 0xF3, c3},
                       {0xF4, 0xF4, f4}},
        /*nearly_free=*/true);
  Byte(0x80, 0xBF, next);
  Byte(0x80, 0xBF, c1);
  Byte(0x80, 0xBF, c2);
  Byte(0xA0, 0xBF, c1);
  Byte(0x80, 0x9F, c1);
  Byte(0x90, 0xBF, c2);
  Byte(0x80, 0x8F, c2);
  Edges(std::vector<E>{{'"', '"', next},
                       {'/', '/', next},
                       {'\\', '\\', next},
                       {'b', 'b', next},
                       {'f', 'f', next},
                       {'n', 'n', next},
                       {'r', 'r', next},
                       {'t', 't', next},
                       {'u', 'u', u}});
  Edges(hex(next));
  Edges(hex(h1));
  Edges(hex(h2));
  Edges(std::vector<E>{{'0', '9', h3},
                       {'A', 'C', h3},
                       {'a', 'c', h3},
                       {'E', 'F', h3},
                       {'e', 'f', h3},
                       {'D', 'D', ud},
                       {'d', 'd', ud}});
  Edges(std::vector<E>{{'0', '7', h2}, {'8', '9', s1}, {'A', 'B', s1}, {'a', 'b', s1}});
  Edges(hex(s2));
  Edges(hex(low_slash));
  Byte('\\', '\\', low_u);
  Byte('u', 'u', low_d);
  Edges(std::vector<E>{{'D', 'D', low_2}, {'d', 'd', low_2}});
  Edges(std::vector<E>{{'C', 'F', h2}, {'c', 'f', h2}});
  grammar_.free_character_states = static_cast<uint32_t>(grammar_.states.size()) - first;
  return full_ ? kAcceptState : first;
}

RuleId GrammarBuilder::FreeString() {
  if (free_string_rule_ == kUnbounded) {
    free_string_rule_ = NewRule();
    const StateId split = NewSplit();
    grammar_.free_string = split;
    grammar_.free_character = FreeCharacter(split);
    grammar_.free_quote = Byte('"', '"', kAcceptState);
    const StateId both[] = {grammar_.free_character, grammar_.free_quote};
    SetSplit(split, both);
    SetRule(free_string_rule_, split);
  }
  return free_string_rule_;
}

}  // namespace alcca
