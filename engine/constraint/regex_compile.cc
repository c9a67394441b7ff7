// Expressions to automata over characters, and to states of a grammar over bytes.

#include <algorithm>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "engine/constraint/regex.h"

namespace alcca {
namespace {

using Kind = Regex::Kind;

constexpr size_t kMaxNfaStates = 60'000;

// Thompson's automaton over characters, with assertions.
class Nfa {
 public:
  enum class Op : uint8_t { kChars, kSplit, kBegin, kEnd, kAccept };
  struct State {
    Op op = Op::kSplit;
    const CharSet* chars = nullptr;
    std::vector<uint32_t> next{};
  };

  bool Build(const Regex& regex, bool search) {
    states_.push_back({.op = Op::kAccept});
    uint32_t start = Add(regex, 0);
    if (search) {
      const uint32_t loop = New({.op = Op::kSplit});
      const uint32_t any = New({.op = Op::kChars, .chars = &any_, .next = {loop}});
      states_[loop].next = {start, any};
      start = loop;
    }
    start_ = start;
    return states_.size() <= kMaxNfaStates;
  }

  absl::StatusOr<DfaPtr> Determinize(bool search, DfaBudget* budget);

 private:
  uint32_t New(State state) {
    if (states_.size() <= kMaxNfaStates) {
      states_.push_back(std::move(state));
    }
    return static_cast<uint32_t>(states_.size() - 1);
  }

  uint32_t Add(const Regex& regex, uint32_t next) {
    if (states_.size() > kMaxNfaStates) {
      return next;
    }
    switch (regex.kind) {
      case Kind::kChars:
        return New({.op = Op::kChars, .chars = &regex.chars, .next = {next}});
      case Kind::kBegin:
        return New({.op = Op::kBegin, .next = {next}});
      case Kind::kEnd:
        return New({.op = Op::kEnd, .next = {next}});
      case Kind::kSequence:
        for (auto it = regex.children.rbegin(); it != regex.children.rend(); ++it) {
          next = Add(*it, next);
        }
        return next;
      case Kind::kChoice: {
        State split;
        for (const Regex& child : regex.children) {
          split.next.push_back(Add(child, next));
        }
        return New(std::move(split));
      }
      case Kind::kRepeat:
        return AddRepeat(regex, next);
    }
    return next;
  }

  uint32_t AddRepeat(const Regex& regex, uint32_t next) {
    const Regex& body = regex.children[0];
    if (regex.max == kUnbounded) {
      const uint32_t loop = New({.op = Op::kSplit});
      const uint32_t once = Add(body, loop);
      states_[loop].next = {once, next};
      next = loop;
    } else {
      const uint32_t end = next;
      for (uint32_t i = regex.min; i < regex.max && states_.size() <= kMaxNfaStates; ++i) {
        next = New({.op = Op::kSplit, .next = {Add(body, next), end}});
      }
    }
    for (uint32_t i = 0; i < regex.min && states_.size() <= kMaxNfaStates; ++i) {
      next = Add(body, next);
    }
    return next;
  }

  // Adds what is reached from `from` without reading. `at_end` passes kEnd as well.
  void Close(uint32_t from, bool at_begin, bool at_end, std::vector<uint32_t>* set) {
    std::vector<uint32_t> work = {from};
    while (!work.empty()) {
      const uint32_t s = work.back();
      work.pop_back();
      if (mark_[s] == stamp_) {
        continue;
      }
      mark_[s] = stamp_;
      const State& state = states_[s];
      if (state.op == Op::kChars || state.op == Op::kAccept || state.op == Op::kEnd) {
        set->push_back(s);
      }
      if (state.op == Op::kSplit || (state.op == Op::kBegin && at_begin) ||
          (state.op == Op::kEnd && at_end)) {
        work.insert(work.end(), state.next.begin(), state.next.end());
      }
    }
  }

  bool AcceptsAtEnd(const std::vector<uint32_t>& set, bool at_begin) {
    ++stamp_;
    std::vector<uint32_t> reached;
    for (const uint32_t s : set) {
      Close(s, at_begin, /*at_end=*/true, &reached);
    }
    return std::find(reached.begin(), reached.end(), 0U) != reached.end();
  }

  std::vector<State> states_;  // 0 accepts.
  uint32_t start_ = 0;
  std::vector<uint32_t> mark_;
  uint32_t stamp_ = 0;
  const CharSet any_ = {{0, kMaxCharacter}};
};

absl::StatusOr<DfaPtr> Nfa::Determinize(bool search, DfaBudget* budget) {
  CharDfa::Table table;
  std::vector<uint32_t>& begins = table.class_begin;
  begins = {0, 0xD800, 0xE000};
  for (const State& state : states_) {
    if (state.op == Op::kChars) {
      for (const auto& [low, high] : *state.chars) {
        begins.push_back(low);
        begins.push_back(high + 1);
      }
    }
    if (begins.size() > 4096) {
      std::sort(begins.begin(), begins.end());
      begins.erase(std::unique(begins.begin(), begins.end()), begins.end());
    }
  }
  std::sort(begins.begin(), begins.end());
  begins.erase(std::unique(begins.begin(), begins.end()), begins.end());
  if (begins.back() > kMaxCharacter) {
    begins.pop_back();
  }
  const size_t classes = begins.size();
  mark_.assign(states_.size(), 0);
  std::map<std::vector<uint32_t>, uint32_t> ids;
  std::vector<std::vector<uint32_t>> sets = {{}};
  ids[{}] = 0;
  const auto id_of = [&](std::vector<uint32_t> set) {
    std::sort(set.begin(), set.end());
    if (search && !set.empty() && set[0] == 0) {
      set = {0};  // Found: whatever follows.
    }
    const auto [it, added] = ids.emplace(set, static_cast<uint32_t>(sets.size()));
    if (added) {
      sets.push_back(std::move(set));
    }
    return it->second;
  };
  std::vector<uint32_t> set;
  ++stamp_;
  Close(start_, /*at_begin=*/true, false, &set);
  std::sort(set.begin(), set.end());
  // The first state differs from an equal set later: assertions of the begin hold in it.
  sets.push_back(set);
  table.start = 1;
  table.next.assign(classes, 0);
  table.accept = {false};
  for (size_t d = 1; d < sets.size(); ++d) {
    const std::vector<uint32_t> from = sets[d];
    const size_t cost = classes + from.size() * 4;
    if (sets.size() > budget->max_states || budget->cells < cost) {
      return absl::InvalidArgumentError(absl::StrCat(
          "regular expression: needs an automaton of more than ", budget->max_states, " states"));
    }
    budget->cells -= cost;
    const bool found = search && !from.empty() && from[0] == 0;
    table.accept.push_back(found || AcceptsAtEnd(from, d == 1));
    for (size_t c = 0; c < classes; ++c) {
      if (begins[c] == 0xD800) {
        table.next.push_back(0);
        continue;
      }
      if (found) {
        table.next.push_back(id_of({0}));
        continue;
      }
      set.clear();
      ++stamp_;
      for (const uint32_t s : from) {
        const State& state = states_[s];
        if (state.op != Op::kChars) {
          continue;
        }
        const auto it =
            std::upper_bound(state.chars->begin(), state.chars->end(), begins[c],
                             [](uint32_t value, const auto& range) { return value < range.first; });
        if (it != state.chars->begin() && std::prev(it)->second >= begins[c]) {
          Close(state.next[0], false, false, &set);
        }
      }
      table.next.push_back(id_of(set));
    }
  }
  return CharDfa::Make(std::move(table));
}

absl::StatusOr<DfaPtr> ToDfa(const Regex& regex, bool search, DfaBudget* budget) {
  Nfa nfa;
  if (!nfa.Build(regex, search)) {
    return absl::InvalidArgumentError(
        absl::StrCat("regular expression: its repeats need more than ", kMaxNfaStates, " states"));
  }
  return nfa.Determinize(search, budget);
}

// Emits states; anchors that say nothing are dropped.
class Emitter {
 public:
  explicit Emitter(GrammarBuilder* builder) : builder_(*builder) {}

  absl::StatusOr<StateId> Emit(const Regex& regex, StateId next, bool at_begin, bool at_end) {
    if (builder_.full()) {
      return next;  // Build() says so.
    }
    switch (regex.kind) {
      case Kind::kBegin:
      case Kind::kEnd:
        if (!(regex.kind == Kind::kBegin ? at_begin : at_end)) {
          return absl::InvalidArgumentError(
              "regular expression: an anchor inside is not supported");
        }
        return next;
      case Kind::kChars: {
        std::vector<Grammar::Edge> edges;
        for (const auto& [low, high] : regex.chars) {
          builder_.CharacterEdges(low, high, next, &edges);
        }
        return builder_.Edges(edges);
      }
      case Kind::kSequence: {
        for (size_t i = regex.children.size(); i-- > 0;) {
          const auto is_anchor = [](const Regex& r) {
            return r.kind == Kind::kBegin || r.kind == Kind::kEnd;
          };
          const bool first =
              std::all_of(regex.children.begin(), regex.children.begin() + i, is_anchor);
          const bool last =
              std::all_of(regex.children.begin() + i + 1, regex.children.end(), is_anchor);
          ASSIGN_OR_RETURN(next, Emit(regex.children[i], next, at_begin && first, at_end && last));
        }
        return next;
      }
      case Kind::kChoice: {
        std::vector<StateId> starts;
        for (const Regex& child : regex.children) {
          ASSIGN_OR_RETURN(const StateId start, Emit(child, next, at_begin, at_end));
          starts.push_back(start);
        }
        return builder_.Split(starts);
      }
      case Kind::kRepeat:
        return EmitRepeat(regex, next);
    }
    return next;
  }

 private:
  static bool HasLoop(const Regex& regex) {
    return (regex.kind == Kind::kRepeat && IsCounted(regex)) ||
           std::any_of(regex.children.begin(), regex.children.end(), HasLoop);
  }
  static bool IsCounted(const Regex& regex) {
    return !(regex.max == kUnbounded ? regex.min <= 1 : regex.max <= 1);
  }

  absl::StatusOr<StateId> EmitRepeat(const Regex& regex, StateId next) {
    const Regex& body = regex.children[0];
    if (regex.max == 0) {
      return next;
    }
    if (!IsCounted(regex)) {
      if (regex.max == 1) {
        ASSIGN_OR_RETURN(const StateId once, Emit(body, next, false, false));
        const StateId both[] = {once, next};
        return regex.min == 1 ? once : builder_.Split(both);
      }
      const StateId loop = builder_.NewSplit();
      ASSIGN_OR_RETURN(const StateId once, Emit(body, loop, false, false));
      const StateId both[] = {once, next};
      builder_.SetSplit(loop, both);
      return regex.min == 1 ? once : loop;
    }
    // A repeat inside a repeat gets a rule, so that each has its counter.
    if (HasLoop(body)) {
      const RuleId rule = builder_.NewRule();
      ASSIGN_OR_RETURN(const StateId once, Emit(body, kAcceptState, false, false));
      builder_.SetRule(rule, once);
      const StateId again = builder_.BeginLoop(regex.min, regex.max, next);
      return builder_.EndLoop(builder_.Call(rule, again));
    }
    const StateId again = builder_.BeginLoop(regex.min, regex.max, next);
    ASSIGN_OR_RETURN(const StateId once, Emit(body, again, false, false));
    return builder_.EndLoop(once);
  }

  GrammarBuilder& builder_;
};

}  // namespace

absl::StatusOr<DfaPtr> RegexSearchDfa(const Regex& regex, DfaBudget* budget) {
  return ToDfa(regex, /*search=*/true, budget);
}

absl::StatusOr<DfaPtr> RegexMatchDfa(const Regex& regex, DfaBudget* budget) {
  return ToDfa(regex, /*search=*/false, budget);
}

absl::StatusOr<StateId> RegexStates(const Regex& regex, StateId next, GrammarBuilder* builder) {
  return Emitter(builder).Emit(regex, next, true, true);
}

absl::StatusOr<Grammar> CompileRegex(std::string_view pattern, const GrammarLimits& limits) {
  ASSIGN_OR_RETURN(const Regex regex, ParseRegex(pattern));
  GrammarBuilder builder(limits);
  const RuleId rule = builder.NewRule();
  ASSIGN_OR_RETURN(const StateId start, RegexStates(regex, kAcceptState, &builder));
  builder.SetRule(rule, start);
  return std::move(builder).Build(rule);
}

}  // namespace alcca
