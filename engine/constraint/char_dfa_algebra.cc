// How automata over characters are combined and made small.

#include <algorithm>
#include <map>
#include <unordered_map>

#include "absl/strings/str_cat.h"
#include "engine/constraint/char_dfa.h"

namespace alcca {
namespace {

absl::Status TooLarge(const DfaBudget& budget) {
  return absl::InvalidArgumentError(absl::StrCat("its patterns need automata of more than ",
                                                 budget.max_states,
                                                 " states each or too many in all"));
}

}  // namespace

absl::StatusOr<DfaPtr> CharDfa::Lengths(uint32_t min, uint32_t max, DfaBudget* budget) {
  const uint32_t count = (max == UINT32_MAX ? min : max) + 1;
  if (count >= budget->max_states || budget->cells < size_t{count} * 3) {
    return TooLarge(*budget);
  }
  budget->cells -= size_t{count} * 3;
  Table table;
  table.class_begin = {0, kSurrogates, kAfterSurrogates};
  table.accept = {false};
  table.next = {0, 0, 0};
  for (uint32_t i = 0; i < count; ++i) {  // State i + 1 has read i characters.
    const uint32_t next = i + 1 < count ? i + 2 : max == UINT32_MAX ? i + 1 : 0;
    table.next.insert(table.next.end(), {next, 0, next});
    table.accept.push_back(i >= min);
  }
  table.start = 1;
  return Make(std::move(table));
}

absl::StatusOr<DfaPtr> CharDfa::And(const DfaPtr& a, const DfaPtr& b, DfaBudget* budget) {
  if (a == b || a->empty() || b->all()) {
    return a;
  }
  if (b->empty() || a->all()) {
    return b;
  }
  return Product(*a, *b, Operation::kAnd, budget);
}

absl::StatusOr<DfaPtr> CharDfa::Or(const DfaPtr& a, const DfaPtr& b, DfaBudget* budget) {
  if (a == b || a->all() || b->empty()) {
    return a;
  }
  if (b->all() || a->empty()) {
    return b;
  }
  return Product(*a, *b, Operation::kOr, budget);
}

absl::StatusOr<DfaPtr> CharDfa::Minus(const DfaPtr& a, const DfaPtr& b, DfaBudget* budget) {
  if (a == b || b->all()) {
    return None();
  }
  if (a->empty() || b->empty()) {
    return a;
  }
  return Product(*a, *b, Operation::kMinus, budget);
}

absl::StatusOr<DfaPtr> CharDfa::Product(const CharDfa& a, const CharDfa& b, Operation operation,
                                        DfaBudget* budget) {
  Table table;
  std::set_union(a.table_.class_begin.begin(), a.table_.class_begin.end(),
                 b.table_.class_begin.begin(), b.table_.class_begin.end(),
                 std::back_inserter(table.class_begin));
  const size_t classes = table.class_begin.size();
  std::vector<std::pair<uint32_t, uint32_t>> class_pairs;
  for (const uint32_t begin : table.class_begin) {
    class_pairs.emplace_back(a.ClassOf(begin), b.ClassOf(begin));
  }
  std::unordered_map<uint64_t, uint32_t> ids;
  std::vector<std::pair<uint32_t, uint32_t>> states = {{0, 0}};
  ids[0] = 0;
  const auto id_of = [&](uint32_t p, uint32_t q) {
    if (operation != Operation::kOr && p == 0) {
      return uint32_t{0};
    }
    if (operation == Operation::kAnd && q == 0) {
      return uint32_t{0};
    }
    const auto [it, added] =
        ids.emplace(uint64_t{p} << 32 | q, static_cast<uint32_t>(states.size()));
    if (added) {
      states.emplace_back(p, q);
    }
    return it->second;
  };
  table.start = id_of(a.start(), b.start());
  table.next.assign(classes, 0);
  table.accept = {false};
  for (size_t s = 1; s < states.size(); ++s) {
    const auto [p, q] = states[s];
    if (states.size() > budget->max_states || budget->cells < classes) {
      return TooLarge(*budget);
    }
    budget->cells -= classes;
    for (const auto& [ca, cb] : class_pairs) {
      const uint32_t next = id_of(a.Next(p, ca), b.Next(q, cb));
      table.next.push_back(next);
    }
    const bool in_a = a.Accept(p);
    const bool in_b = b.Accept(q);
    table.accept.push_back(operation == Operation::kAnd  ? in_a && in_b
                           : operation == Operation::kOr ? in_a || in_b
                                                         : in_a && !in_b);
  }
  return Make(std::move(table));
}

// Drops states from which nothing is accepted, then merges states that are alike (Moore), unless
// that takes many rounds: it saves memory and changes nothing else.
void CharDfa::Minimize() {
  const size_t classes = num_classes();
  const uint32_t count = num_states();
  std::vector<std::vector<uint32_t>> from(count);
  for (uint32_t s = 1; s < count; ++s) {
    for (size_t c = 0; c < classes; ++c) {
      const uint32_t t = table_.next[s * classes + c];
      if (t != 0 && (from[t].empty() || from[t].back() != s)) {
        from[t].push_back(s);
      }
    }
  }
  std::vector<bool> alive(count, false);
  std::vector<uint32_t> work;
  for (uint32_t s = 1; s < count; ++s) {
    if (table_.accept[s]) {
      alive[s] = true;
      work.push_back(s);
    }
  }
  while (!work.empty()) {
    const uint32_t t = work.back();
    work.pop_back();
    for (const uint32_t s : from[t]) {
      if (!alive[s]) {
        alive[s] = true;
        work.push_back(s);
      }
    }
  }
  constexpr int kMaxRounds = 80;
  std::vector<uint32_t> block(count);
  size_t blocks = 0;
  for (uint32_t s = 0; s < count; ++s) {
    block[s] = !alive[s] ? 0 : table_.accept[s] ? 2 : 1;
  }
  bool stable = false;
  for (int round = 0; round < kMaxRounds && !stable; ++round) {
    std::map<std::vector<uint32_t>, uint32_t> ids;
    std::vector<uint32_t> refined(count, 0);
    std::vector<uint32_t> key(classes + 1);
    ids[std::vector<uint32_t>(classes + 1, 0)] = 0;
    for (uint32_t s = 1; s < count; ++s) {
      if (!alive[s]) {
        continue;
      }
      key[0] = block[s];
      for (size_t c = 0; c < classes; ++c) {
        key[c + 1] = block[table_.next[s * classes + c]];
      }
      refined[s] = ids.emplace(key, static_cast<uint32_t>(ids.size())).first->second;
    }
    stable = ids.size() == blocks;
    blocks = ids.size();
    block = std::move(refined);
  }
  if (!stable) {  // Only what is dead goes.
    blocks = 1;
    for (uint32_t s = 0; s < count; ++s) {
      block[s] = alive[s] ? static_cast<uint32_t>(blocks++) : 0;
    }
  }
  Table small;
  small.class_begin = std::move(table_.class_begin);
  small.next.assign(blocks * classes, 0);
  small.accept.assign(blocks, false);
  for (uint32_t s = 1; s < count; ++s) {
    if (block[s] == 0) {
      continue;
    }
    small.accept[block[s]] = table_.accept[s];
    for (size_t c = 0; c < classes; ++c) {
      small.next[block[s] * classes + c] = block[table_.next[s * classes + c]];
    }
  }
  small.start = block[table_.start];
  table_ = std::move(small);
}

void CharDfa::MergeClasses() {
  const uint32_t classes = num_classes();
  const uint32_t count = num_states();
  std::vector<uint32_t> kept = {0};
  for (uint32_t c = 1; c < classes; ++c) {
    bool same = true;
    for (uint32_t s = 1; s < count && same; ++s) {
      same = Next(s, c) == Next(s, c - 1);
    }
    if (!same) {
      kept.push_back(c);
    }
  }
  if (kept.size() == classes) {
    return;
  }
  Table small;
  small.accept = std::move(table_.accept);
  small.start = table_.start;
  for (const uint32_t c : kept) {
    small.class_begin.push_back(table_.class_begin[c]);
  }
  small.next.reserve(count * kept.size());
  for (uint32_t s = 0; s < count; ++s) {
    for (const uint32_t c : kept) {
      small.next.push_back(table_.next[size_t{s} * classes + c]);
    }
  }
  table_ = std::move(small);
}

}  // namespace alcca
