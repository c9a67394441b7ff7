// What Build does to a grammar before it is used: facts about every state, and passes that keep the
// language.

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "engine/constraint/grammar.h"

namespace alcca {
namespace {

using Kind = Grammar::Kind;

// Calls use(t) for every state t that a fact of state s may depend on.
template <typename Use>
void ForEachDependency(const Grammar& grammar, StateId s, Use use) {
  const Grammar::State& state = grammar.states[s];
  switch (state.kind) {
    case Kind::kEdges:
      for (uint32_t i = 0; i < state.b; ++i) {
        use(grammar.edges[state.a + i].target);
      }
      break;
    case Kind::kSplit:
      for (uint32_t i = 0; i < state.b; ++i) {
        use(grammar.targets[state.a + i]);
      }
      break;
    case Kind::kCall:
      use(grammar.rules[state.a]);
      use(state.b);
      break;
    case Kind::kCount:
      use(state.a);
      break;
    case Kind::kLoopEnter:
    case Kind::kLoopNext:
      use(grammar.loops[state.a].body);
      use(grammar.loops[state.a].exit);
      break;
    case Kind::kMembersFirst:
    case Kind::kMembersNext:
    case Kind::kMembersPick:
      for (const auto& member : grammar.members[state.a].members) {
        use(member.start);
      }
      for (const StateId extra : grammar.members[state.a].extras) {
        use(extra);
      }
      use(grammar.members[state.a].close);
      use(grammar.members[state.a].close_empty);
      break;
    default:
      break;
  }
}

// Least fixed point of `step` over all states: step(state, known) may use what is known of the
// states that it depends on. Linear in the edges, but for large sets of members.
template <typename Step>
std::vector<bool> LeastFixedPoint(const Grammar& grammar, Step step) {
  const auto count = static_cast<StateId>(grammar.states.size());
  std::vector<uint32_t> begin(count + 1, 0);  // Who depends on a state, by counting sort.
  for (StateId s = 0; s < count; ++s) {
    ForEachDependency(grammar, s, [&begin](StateId t) { ++begin[t + 1]; });
  }
  for (StateId s = 0; s < count; ++s) {
    begin[s + 1] += begin[s];
  }
  std::vector<StateId> users(begin[count]);
  std::vector<uint32_t> next(begin.begin(), begin.end() - 1);
  for (StateId s = 0; s < count; ++s) {
    ForEachDependency(grammar, s, [&](StateId t) { users[next[t]++] = s; });
  }
  std::vector<bool> known(count, false);
  std::vector<StateId> work;
  const auto look = [&](StateId s) {
    if (!known[s] && step(s, known)) {
      known[s] = true;
      work.push_back(s);
    }
  };
  for (StateId s = 0; s < count; ++s) {
    look(s);
  }
  while (!work.empty()) {
    const StateId t = work.back();
    work.pop_back();
    for (uint32_t i = begin[t]; i < begin[t + 1]; ++i) {
      look(users[i]);
    }
  }
  return known;
}

std::vector<bool> NullableStates(const Grammar& grammar) {
  return LeastFixedPoint(grammar, [&grammar](StateId s, const std::vector<bool>& known) {
    const Grammar::State& state = grammar.states[s];
    switch (state.kind) {
      case Kind::kAccept:
        return true;
      case Kind::kSplit:
        return std::any_of(grammar.targets.begin() + state.a,
                           grammar.targets.begin() + state.a + state.b,
                           [&known](StateId t) { return known[t]; });
      case Kind::kCall:
        return known[grammar.rules[state.a]] && known[state.b];
      case Kind::kLoopEnter: {  // A body that reads nothing counts as often as is needed.
        const Grammar::Loop& loop = grammar.loops[state.a];
        return known[loop.exit] && (loop.min == 0 || known[loop.body]);
      }
      case Kind::kLoopNext:
        return known[grammar.loops[state.a].exit];
      case Kind::kMembersFirst: {
        const Grammar::Members& set = grammar.members[state.a];
        return known[set.close_empty] && set.min == 0 &&
               std::none_of(set.members.begin(), set.members.end(),
                            [](const auto& member) { return member.required; });
      }
      default:
        return false;
    }
  });
}

// Whether the members that some text satisfies are enough.
bool Feasible(const Grammar::Members& set, const std::vector<bool>& productive) {
  uint32_t available = 0;
  uint32_t required = 0;
  for (const auto& member : set.members) {
    if (member.required && !productive[member.start]) {
      return false;
    }
    required += member.required;
    available += productive[member.start];
  }
  const bool endless = std::any_of(set.extras.begin(), set.extras.end(),
                                   [&productive](StateId s) { return productive[s]; });
  if (required > set.max || set.min > set.max || (!endless && available < set.min)) {
    return false;
  }
  const bool can_be_empty = set.min == 0 && required == 0 && productive[set.close_empty];
  return can_be_empty || (set.max > 0 && (available > 0 || endless) && productive[set.close]);
}

std::vector<bool> ProductiveStates(const Grammar& grammar) {
  return LeastFixedPoint(grammar, [&grammar](StateId s, const std::vector<bool>& known) {
    const Grammar::State& state = grammar.states[s];
    switch (state.kind) {
      case Kind::kAccept:
      case Kind::kEnd:
        return true;
      case Kind::kEdges:
        return std::any_of(grammar.edges.begin() + state.a,
                           grammar.edges.begin() + state.a + state.b,
                           [&known](const Grammar::Edge& edge) { return known[edge.target]; });
      case Kind::kSplit:
        return std::any_of(grammar.targets.begin() + state.a,
                           grammar.targets.begin() + state.a + state.b,
                           [&known](StateId t) { return known[t]; });
      case Kind::kCall:
        return known[grammar.rules[state.a]] && known[state.b];
      case Kind::kLoopEnter: {
        const Grammar::Loop& loop = grammar.loops[state.a];
        return known[loop.exit] && (loop.min == 0 || known[loop.body]);
      }
      case Kind::kLoopNext:  // The body was read once, so it can be read again.
        return known[grammar.loops[state.a].exit];
      case Kind::kCount:
        return known[state.a];
      case Kind::kMembersFirst:
        return Feasible(grammar.members[state.a], known);
      case Kind::kMembersNext:
        return known[grammar.members[state.a].close];
      case Kind::kMembersPick:
        return known[grammar.members[state.a].close];
    }
    return false;
  });
}

void MarkTails(Grammar* grammar) {
  // A loop's counter or a member's set must not be lost, so only plain states are tails.
  const std::vector<bool> reads =
      LeastFixedPoint(*grammar, [grammar](StateId s, const std::vector<bool>& known) {
        const Grammar::State& state = grammar->states[s];
        if (state.kind == Kind::kAccept) {
          return false;
        }
        return state.kind != Kind::kSplit || state.b == 0 ||
               std::any_of(grammar->targets.begin() + state.a,
                           grammar->targets.begin() + state.a + state.b,
                           [&known](StateId t) { return known[t]; });
      });
  const std::vector<bool> nullable = NullableStates(*grammar);
  for (StateId s = 0; s < grammar->states.size(); ++s) {
    grammar->states[s].tail = !reads[s] && nullable[s];
  }
}

void MakeByteClasses(Grammar* grammar) {
  std::vector<bool> begins(257, false);
  begins[0] = true;
  for (const Grammar::Edge& edge : grammar->edges) {
    begins[edge.low] = true;
    begins[edge.high + 1] = true;
  }
  grammar->byte_class.assign(256, 0);
  grammar->class_byte.clear();
  for (int byte = 0; byte < 256; ++byte) {
    if (begins[byte]) {
      grammar->class_byte.push_back(static_cast<uint8_t>(byte));
    }
    grammar->byte_class[byte] = static_cast<uint8_t>(grammar->class_byte.size() - 1);
  }
  grammar->num_classes = static_cast<uint32_t>(grammar->class_byte.size());
}

// Ranks rules so that each ranks below those that it may begin with. There is no left recursion.
void RankRules(Grammar* grammar) {
  const auto count = static_cast<uint32_t>(grammar->rules.size());
  std::vector<std::vector<RuleId>> begins_with(count);
  std::vector<uint32_t> callers(count, 0);
  std::vector<StateId> reached;
  for (RuleId rule = 0; rule < count; ++rule) {
    VisitLeftmost(*grammar, grammar->nullable, grammar->rules[rule], &reached);
    for (const StateId s : reached) {
      if (grammar->states[s].kind == Kind::kCall) {
        begins_with[rule].push_back(grammar->states[s].a);
        ++callers[grammar->states[s].a];
      }
    }
  }
  grammar->rank.assign(count, 0);
  std::vector<RuleId> ready;
  for (RuleId rule = 0; rule < count; ++rule) {
    if (callers[rule] == 0) {
      ready.push_back(rule);
    }
  }
  for (uint32_t rank = 0; !ready.empty(); ++rank) {
    const RuleId rule = ready.back();
    ready.pop_back();
    grammar->rank[rule] = rank;
    for (const RuleId next : begins_with[rule]) {
      if (--callers[next] == 0) {
        ready.push_back(next);
      }
    }
  }
}

}  // namespace

std::vector<bool> NullableRules(const Grammar& grammar) {
  const std::vector<bool> states = NullableStates(grammar);
  std::vector<bool> rules(grammar.rules.size());
  for (size_t rule = 0; rule < rules.size(); ++rule) {
    rules[rule] = states[grammar.rules[rule]];
  }
  return rules;
}

void VisitLeftmost(const Grammar& grammar, const std::vector<bool>& nullable, StateId start,
                   std::vector<StateId>* reached) {
  reached->clear();
  reached->push_back(start);
  const auto add = [reached](StateId s) {
    if (std::find(reached->begin(), reached->end(), s) == reached->end()) {
      reached->push_back(s);
    }
  };
  for (size_t i = 0; i < reached->size(); ++i) {
    const Grammar::State& state = grammar.states[(*reached)[i]];
    switch (state.kind) {
      case Kind::kSplit:
        for (uint32_t t = 0; t < state.b; ++t) {
          add(grammar.targets[state.a + t]);
        }
        break;
      case Kind::kCall:
        if (nullable[state.a]) {
          add(state.b);
        }
        break;
      case Kind::kCount:
        add(state.a);
        break;
      case Kind::kLoopEnter:
      case Kind::kLoopNext:
        add(grammar.loops[state.a].body);
        add(grammar.loops[state.a].exit);
        break;
      case Kind::kMembersFirst:
        add(grammar.members[state.a].close_empty);
        [[fallthrough]];
      case Kind::kMembersPick:
        for (const auto& member : grammar.members[state.a].members) {
          add(member.start);
        }
        for (const StateId extra : grammar.members[state.a].extras) {
          add(extra);
        }
        break;
      case Kind::kMembersNext:
        add(grammar.members[state.a].close);
        add(grammar.members[state.a].separator);
        break;
      default:
        break;
    }
  }
}

absl::Status RemoveUnproductive(Grammar* grammar) {
  const std::vector<bool> productive = ProductiveStates(*grammar);
  if (!productive[grammar->rules[grammar->start]]) {
    return absl::InvalidArgumentError("no text satisfies the constraint");
  }
  for (Grammar::State& state : grammar->states) {
    if (state.kind == Kind::kEdges) {
      const auto begin = grammar->edges.begin() + state.a;
      const auto end = std::remove_if(begin, begin + state.b,
                                      [&](const auto& edge) { return !productive[edge.target]; });
      state.b = static_cast<uint32_t>(end - begin);
    } else if (state.kind == Kind::kSplit) {
      const auto begin = grammar->targets.begin() + state.a;
      const auto end = std::remove_if(begin, begin + state.b,
                                      [&](StateId target) { return !productive[target]; });
      state.b = static_cast<uint32_t>(end - begin);
    } else if (state.kind == Kind::kCall &&
               !(productive[grammar->rules[state.a]] && productive[state.b])) {
      state = {.kind = Kind::kSplit};
    }
  }
  for (Grammar::Loop& loop : grammar->loops) {
    if (!productive[loop.body]) {
      loop.max = 0;
    }
  }
  for (Grammar::Members& set : grammar->members) {
    for (auto& member : set.members) {
      member.available = productive[member.start];
    }
    for (size_t i = 0; i < set.extras.size(); ++i) {
      set.extra_available[i] = productive[set.extras[i]];
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<Grammar> GrammarBuilder::Build(RuleId start) && {
  if (full_) {
    return absl::InvalidArgumentError(absl::StrCat("the constraint needs more than ",
                                                   limits_.states, " states, ", limits_.edges,
                                                   " edges or ", limits_.rules, " rules"));
  }
  grammar_.start = start;
  RETURN_IF_ERROR(RemoveLeftRecursion(limits_, &grammar_));
  RETURN_IF_ERROR(RemoveUnproductive(&grammar_));
  grammar_.nullable = NullableRules(grammar_);
  MarkTails(&grammar_);
  RankRules(&grammar_);
  MakeByteClasses(&grammar_);
  return std::move(grammar_);
}

}  // namespace alcca
