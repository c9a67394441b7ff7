#include "tests/engine/constraint/reference.h"

#include <algorithm>
#include <set>
#include <tuple>
#include <vector>

namespace alcca {
namespace {

using Kind = Grammar::Kind;

// A rule that began at byte `origin` is at `state`; its counter, the members it has read, and how
// many of them had no name.
struct Item {
  RuleId rule = 0;
  size_t origin = 0;
  StateId state = 0;
  uint32_t counter = 0;
  std::vector<uint32_t> read = {};
  uint32_t extras = 0;
  size_t body_begin = SIZE_MAX;  // Byte at which the present body of a loop began.
  auto operator<=>(const Item&) const = default;
};

class Earley {
 public:
  Earley(const Grammar& grammar, std::string_view text) : g_(grammar), text_(text) {}

  Verdict Run() {
    sets_.resize(text_.size() + 1);
    Add(0, {.rule = g_.start, .origin = 0, .state = g_.rules[g_.start]});
    for (size_t i = 0; i <= text_.size(); ++i) {
      Complete(i);
      if (i < text_.size()) {
        Scan(i);
        if (sets_[i + 1].empty()) {
          return {};
        }
      }
    }
    Verdict verdict;
    for (const Item& item : sets_[text_.size()]) {
      verdict.complete = verdict.complete ||
                         (item.rule == g_.start && item.origin == 0 && item.state == kAcceptState);
      const Grammar::State& state = g_.states[item.state];
      verdict.prefix = verdict.prefix || (state.kind == Kind::kEdges && state.b > 0);
    }
    verdict.prefix = verdict.prefix || verdict.complete;
    return verdict;
  }

 private:
  void Add(size_t at, Item item) {
    changed_ = sets_[at].insert(std::move(item)).second || changed_;
  }

  // Applies every rule to every item until nothing is new.
  void Complete(size_t at) {
    for (changed_ = true; changed_;) {
      changed_ = false;
      const std::vector<Item> items(sets_[at].begin(), sets_[at].end());
      for (const Item& item : items) {
        Expand(at, item);
      }
    }
  }

  void Expand(size_t at, const Item& item) {
    const Grammar::State& state = g_.states[item.state];
    const auto go = [&](StateId to) {
      Item next = item;
      next.state = to;
      Add(at, std::move(next));
    };
    switch (state.kind) {
      case Kind::kSplit:
        for (uint32_t i = 0; i < state.b; ++i) {
          go(g_.targets[state.a + i]);
        }
        break;
      case Kind::kCall:
        Add(at, {.rule = state.a, .origin = at, .state = g_.rules[state.a]});
        break;
      case Kind::kAccept:
        Return(at, item);
        break;
      case Kind::kLoopEnter:
        AtLoop(at, item, state.a, 0);
        break;
      case Kind::kLoopNext:
        if (item.body_begin < at) {
          AtLoop(at, item, state.a, item.counter + 1);
        } else {  // A body that reads nothing may be read as often as is needed.
          AtExit(at, item, state.a);
        }
        break;
      case Kind::kCount:
        if (uint64_t{item.counter} + 1 + state.b <= g_.loops[state.loop].max) {
          Item next = item;
          next.state = state.a;
          ++next.counter;
          Add(at, std::move(next));
        }
        break;
      case Kind::kMembersFirst:
      case Kind::kMembersNext:
      case Kind::kMembersPick:
        ExpandMembers(at, item, state);
        break;
      default:
        break;
    }
  }

  void Return(size_t at, const Item& done) {
    const std::vector<Item> callers(sets_[done.origin].begin(), sets_[done.origin].end());
    for (const Item& caller : callers) {
      const Grammar::State& state = g_.states[caller.state];
      if (state.kind == Kind::kCall && state.a == done.rule) {
        Item next = caller;
        next.state = state.b;
        Add(at, std::move(next));
      }
    }
  }

  void AtExit(size_t at, const Item& item, uint32_t loop) {
    Item next = item;
    next.state = g_.loops[loop].exit;
    next.counter = 0;
    next.body_begin = SIZE_MAX;
    Add(at, std::move(next));
  }

  void AtLoop(size_t at, const Item& item, uint32_t id, uint32_t count) {
    const Grammar::Loop& loop = g_.loops[id];
    if (loop.max == kUnbounded || count < loop.max) {
      Item next = item;
      next.state = loop.body;
      next.counter = count;
      next.body_begin = at;
      Add(at, std::move(next));
    }
    if (count >= loop.min) {
      AtExit(at, item, id);
    }
  }

  // Any order that the definition allows; whether it can still be completed is found by trying.
  void ExpandMembers(size_t at, const Item& item, const Grammar::State& state) {
    const Grammar::Members& set = g_.members[state.a];
    const bool first = state.kind == Kind::kMembersFirst;
    Item from = item;
    if (first) {
      from.read.clear();
      from.extras = 0;
    }
    if (state.kind != Kind::kMembersPick && Enough(set, from)) {
      Item next = from;
      next.state = first ? set.close_empty : set.close;
      next.read.clear();
      next.extras = 0;
      Add(at, std::move(next));
    }
    std::vector<Item> picked;
    if (from.read.size() + from.extras < set.max) {
      Pick(set, from, &picked);
    }
    std::erase_if(picked, [&](const Item& next) { return !Possible(set, next); });
    if (state.kind == Kind::kMembersNext) {
      if (!picked.empty()) {
        Item next = from;
        next.state = set.separator;
        Add(at, std::move(next));
      }
      return;
    }
    for (Item& next : picked) {
      Add(at, std::move(next));
    }
  }

  static bool Enough(const Grammar::Members& set, const Item& item) {
    if (item.read.size() + item.extras < set.min || item.read.size() + item.extras > set.max) {
      return false;
    }
    for (uint32_t i = 0; i < set.members.size(); ++i) {
      if (set.members[i].required &&
          std::find(item.read.begin(), item.read.end(), i) == item.read.end()) {
        return false;
      }
    }
    return true;
  }

  // Depth-first search over everything that may be read next.
  bool Possible(const Grammar::Members& set, const Item& item) {
    if (Enough(set, item)) {
      return true;
    }
    if (item.read.size() + item.extras >= set.max || item.extras > set.min + set.members.size()) {
      return false;
    }
    std::vector<Item> next;
    Pick(set, item, &next);
    return std::any_of(next.begin(), next.end(), [&](const Item& n) { return Possible(set, n); });
  }

  static void Pick(const Grammar::Members& set, const Item& from, std::vector<Item>* out) {
    const auto size = static_cast<uint32_t>(set.members.size());
    const uint32_t last = size - set.last;
    const uint32_t highest = from.read.empty() ? 0 : from.read.back() + 1;
    const bool any_last = highest > last;
    for (uint32_t i = 0; i < size; ++i) {
      const bool was = std::find(from.read.begin(), from.read.end(), i) != from.read.end();
      const bool in_order = i < last
                                ? !any_last && (!set.ordered || (i >= highest && from.extras == 0))
                                : i >= highest;
      if (!was && in_order && set.members[i].available) {
        Item next = from;
        next.read.insert(std::upper_bound(next.read.begin(), next.read.end(), i), i);
        next.state = set.members[i].start;
        out->push_back(std::move(next));
      }
    }
    for (size_t e = 0; e < set.extras.size(); ++e) {
      if (!any_last && set.extra_available[e]) {
        Item next = from;
        ++next.extras;
        next.state = set.extras[e];
        out->push_back(std::move(next));
      }
    }
  }

  void Scan(size_t at) {
    const auto byte = static_cast<uint8_t>(text_[at]);
    for (const Item& item : sets_[at]) {
      const Grammar::State& state = g_.states[item.state];
      if (state.kind != Kind::kEdges) {
        continue;
      }
      for (uint32_t i = 0; i < state.b; ++i) {
        const Grammar::Edge& edge = g_.edges[state.a + i];
        if (edge.low <= byte && byte <= edge.high) {
          Item next = item;
          next.state = edge.target;
          sets_[at + 1].insert(std::move(next));
        }
      }
    }
  }

  const Grammar& g_;
  const std::string_view text_;
  std::vector<std::set<Item>> sets_;
  bool changed_ = false;
};

}  // namespace

Verdict ReferenceVerdict(const Grammar& grammar, std::string_view text) {
  return Earley(grammar, text).Run();
}

}  // namespace alcca
