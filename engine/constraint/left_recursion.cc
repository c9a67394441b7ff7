// Left recursion becomes loops (Paull's algorithm on automata): a rule A = A x | b is b x*. A rule
// may begin in the middle of another, so nothing is copied but what is read first.

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/constraint/grammar.h"

namespace alcca {
namespace {

using Kind = Grammar::Kind;

class LeftRecursion {
 public:
  LeftRecursion(const GrammarLimits& limits, Grammar* grammar) : limits_(limits), g_(*grammar) {}

  absl::Status Remove() {
    nullable_ = NullableRules(g_);
    const std::vector<RuleId> cyclic = CyclicRules();
    if (cyclic.empty()) {
      return absl::OkStatus();
    }
    done_.assign(g_.rules.size(), false);
    for (const RuleId rule : cyclic) {
      if (!Rewrite(rule)) {
        return absl::InvalidArgumentError(
            "left recursion inside a counted repeat is not supported: write it as a rule");
      }
      if (g_.states.size() > limits_.states || g_.rules.size() > limits_.rules) {
        return absl::InvalidArgumentError(
            "left recursion needs too many states: write the rules as repeats instead");
      }
    }
    nullable_ = NullableRules(g_);
    if (!CyclicRules().empty()) {
      return absl::InvalidArgumentError(
          "left recursion behind something that may be empty is not supported: "
          "write the rule as a repeat instead");
    }
    return absl::OkStatus();
  }

 private:
  // Rules that stand on, or between, cycles of "may begin with".
  std::vector<RuleId> CyclicRules() const {
    const auto count = static_cast<RuleId>(g_.rules.size());
    std::vector<std::vector<RuleId>> callers(count);
    std::vector<StateId> reached;
    for (RuleId rule = 0; rule < count; ++rule) {
      VisitLeftmost(g_, nullable_, g_.rules[rule], &reached);
      for (const StateId s : reached) {
        if (g_.states[s].kind == Kind::kCall) {
          callers[g_.states[s].a].push_back(rule);
        }
      }
    }
    // What calls nothing that is left is on no cycle, nor is what nothing that is left calls.
    std::vector<std::vector<RuleId>> callees(count);
    for (RuleId rule = 0; rule < count; ++rule) {
      for (const RuleId caller : callers[rule]) {
        callees[caller].push_back(rule);
      }
    }
    std::vector<bool> on_cycle(count, true);
    const auto peel = [&](const std::vector<std::vector<RuleId>>& out,
                          const std::vector<std::vector<RuleId>>& in) {
      std::vector<uint32_t> left(count, 0);
      std::vector<RuleId> ready;
      for (RuleId rule = 0; rule < count; ++rule) {
        left[rule] = static_cast<uint32_t>(std::count_if(out[rule].begin(), out[rule].end(),
                                                         [&](RuleId r) { return on_cycle[r]; }));
        if (on_cycle[rule] && left[rule] == 0) {
          ready.push_back(rule);
        }
      }
      while (!ready.empty()) {
        const RuleId rule = ready.back();
        ready.pop_back();
        on_cycle[rule] = false;
        for (const RuleId other : in[rule]) {
          if (on_cycle[other] && --left[other] == 0) {
            ready.push_back(other);
          }
        }
      }
    };
    peel(callees, callers);
    peel(callers, callees);
    std::vector<RuleId> cyclic;
    for (RuleId rule = 0; rule < count; ++rule) {
      if (on_cycle[rule]) {
        cyclic.push_back(rule);
      }
    }
    return cyclic;
  }

  RuleId NewRule(StateId start) {
    g_.rules.push_back(start);
    nullable_.push_back(false);
    done_.push_back(false);
    return static_cast<RuleId>(g_.rules.size() - 1);
  }

  StateId Add(Grammar::State state) {
    g_.states.push_back(state);
    return static_cast<StateId>(g_.states.size() - 1);
  }

  StateId Call(RuleId rule, StateId next) {
    return Add({.kind = Kind::kCall, .a = rule, .b = next});
  }

  StateId Split(const std::vector<StateId>& targets) {
    const StateId split = Add({.kind = Kind::kSplit,
                               .a = static_cast<uint32_t>(g_.targets.size()),
                               .b = static_cast<uint32_t>(targets.size())});
    g_.targets.insert(g_.targets.end(), targets.begin(), targets.end());
    return split;
  }

  // What state s reads, then the rest of its rule, then `next`.
  StateId Then(StateId s, StateId next) {
    const Grammar::State state = g_.states[s];
    if (state.kind == Kind::kCall) {
      return Call(state.a, Call(NewRule(state.b), next));
    }
    std::vector<Grammar::Edge> edges(g_.edges.begin() + state.a,
                                     g_.edges.begin() + state.a + state.b);
    for (Grammar::Edge& edge : edges) {
      edge.target = edge.target == kAcceptState ? next : Call(NewRule(edge.target), next);
    }
    const auto begin = static_cast<uint32_t>(g_.edges.size());
    g_.edges.insert(g_.edges.end(), edges.begin(), edges.end());
    return Add({.kind = Kind::kEdges, .a = begin, .b = state.b});
  }

  // The reading states that `start` begins with, calls of rewritten rules replaced by what those
  // begin with. Calls of `rule` itself go to `recursive`: what follows them.
  // False if a counted repeat stands in the way.
  bool Expand(RuleId rule, StateId start, std::vector<StateId>* first,
              std::vector<StateId>* recursive) {
    std::vector<StateId> reached;
    std::vector<StateId> work = {start};
    for (size_t i = 0; i < work.size() && g_.states.size() <= limits_.states; ++i) {
      VisitLeftmost(g_, nullable_, work[i], &reached);
      for (const StateId s : reached) {
        const Grammar::State state = g_.states[s];
        if (state.kind == Kind::kLoopEnter || state.kind == Kind::kMembersFirst) {
          return false;
        }
        if (state.kind == Kind::kEdges) {
          first->push_back(s);
        } else if (state.kind != Kind::kCall) {
          continue;
        } else if (state.a == rule) {
          recursive->push_back(state.b);
        } else if (!done_[state.a]) {
          first->push_back(s);
        } else {
          std::vector<StateId> inner;
          VisitLeftmost(g_, nullable_, g_.rules[state.a], &inner);
          for (const StateId t : inner) {
            const Kind kind = g_.states[t].kind;
            if (kind == Kind::kLoopEnter || kind == Kind::kMembersFirst) {
              return false;
            }
            if (kind == Kind::kEdges || kind == Kind::kCall) {
              work.push_back(Then(t, state.b));
            }
          }
        }
      }
    }
    return true;
  }

  bool Rewrite(RuleId rule) {
    std::vector<StateId> first;
    std::vector<StateId> recursive;
    const bool empty = nullable_[rule];
    if (!Expand(rule, g_.rules[rule], &first, &recursive)) {
      return false;
    }
    std::sort(first.begin(), first.end());
    first.erase(std::unique(first.begin(), first.end()), first.end());
    const StateId base = Split(first);
    const StateId loop = Add({.kind = Kind::kSplit});
    std::vector<StateId> targets = {kAcceptState};
    for (const StateId next : recursive) {
      if (next != kAcceptState) {  // A = A | b says nothing.
        targets.push_back(Call(NewRule(next), loop));
      }
    }
    g_.states[loop].a = static_cast<uint32_t>(g_.targets.size());
    g_.states[loop].b = static_cast<uint32_t>(targets.size());
    g_.targets.insert(g_.targets.end(), targets.begin(), targets.end());
    const RuleId base_rule = NewRule(base);
    done_[base_rule] = true;
    std::vector<StateId> starts = {Call(base_rule, loop)};
    if (empty) {
      starts.push_back(loop);
    }
    g_.rules[rule] = Split(starts);
    done_[rule] = true;
    return true;
  }

  const GrammarLimits& limits_;
  Grammar& g_;
  std::vector<bool> nullable_;
  std::vector<bool> done_;  // [rules] Begins with no rule that is done, but for its own base.
};

}  // namespace

absl::Status RemoveLeftRecursion(const GrammarLimits& limits, Grammar* grammar) {
  return LeftRecursion(limits, grammar).Remove();
}

}  // namespace alcca
