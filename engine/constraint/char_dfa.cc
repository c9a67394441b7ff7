#include "engine/constraint/char_dfa.h"

#include <algorithm>
#include <map>
#include <unordered_map>

#include "absl/strings/str_cat.h"
#include "base/check.h"

namespace alcca {
namespace {

constexpr uint32_t kSurrogates = 0xD800;
constexpr uint32_t kAfterSurrogates = 0xE000;

absl::Status TooLarge(const DfaBudget& budget) {
  return absl::InvalidArgumentError(absl::StrCat("its patterns need automata of more than ",
                                                 budget.max_states,
                                                 " states each or too many in all"));
}

}  // namespace

bool DecodeUtf8(std::string_view utf8, std::vector<uint32_t>* characters) {
  characters->clear();
  for (size_t i = 0; i < utf8.size();) {
    const auto lead = static_cast<uint8_t>(utf8[i]);
    const uint32_t size = lead < 0x80   ? 1
                          : lead < 0xC2 ? 0
                          : lead < 0xE0 ? 2
                          : lead < 0xF0 ? 3
                          : lead < 0xF5 ? 4
                                        : 0;
    if (size == 0 || i + size > utf8.size()) {
      return false;
    }
    uint32_t c = size == 1 ? lead : lead & (0x7F >> size);
    for (uint32_t k = 1; k < size; ++k) {
      const auto byte = static_cast<uint8_t>(utf8[i + k]);
      if ((byte & 0xC0) != 0x80) {
        return false;
      }
      c = c << 6 | (byte & 0x3F);
    }
    constexpr uint32_t kLeast[] = {0, 0, 0x80, 0x800, 0x10000};
    if (c < kLeast[size] || c > kMaxCharacter || (c >= kSurrogates && c < kAfterSurrogates)) {
      return false;
    }
    characters->push_back(c);
    i += size;
  }
  return true;
}

void AppendUtf8(uint32_t c, std::string* out) {
  const auto put = [out](uint32_t byte) { out->push_back(static_cast<char>(byte)); };
  if (c < 0x80) {
    put(c);
  } else if (c < 0x800) {
    put(0xC0 | c >> 6);
    put(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    put(0xE0 | c >> 12);
    put(0x80 | (c >> 6 & 0x3F));
    put(0x80 | (c & 0x3F));
  } else {
    put(0xF0 | c >> 18);
    put(0x80 | (c >> 12 & 0x3F));
    put(0x80 | (c >> 6 & 0x3F));
    put(0x80 | (c & 0x3F));
  }
}

DfaPtr CharDfa::Make(Table table) {
  auto dfa = std::make_shared<CharDfa>();
  dfa->table_ = std::move(table);
  dfa->Minimize();
  dfa->MergeClasses();
  const uint32_t classes = dfa->num_classes();
  for (uint32_t s = 1; s < dfa->num_states() && dfa->universal_ == 0; ++s) {
    bool universal = dfa->Accept(s);
    for (uint32_t c = 0; c < classes && universal; ++c) {
      universal = dfa->Next(s, c) == s || dfa->ClassBegin(c) == kSurrogates;
    }
    dfa->universal_ = universal ? s : 0;
  }
  return dfa;
}

DfaPtr CharDfa::All() {
  static const DfaPtr& kAll = *new DfaPtr(Make({.class_begin = {0, kSurrogates, kAfterSurrogates},
                                                .next = {0, 0, 0, 1, 0, 1},
                                                .accept = {false, true},
                                                .start = 1}));
  return kAll;
}

DfaPtr CharDfa::None() {
  static const DfaPtr& kNone =
      *new DfaPtr(Make({.class_begin = {0}, .next = {0}, .accept = {false}, .start = 0}));
  return kNone;
}

DfaPtr CharDfa::Words(std::span<const std::string> words) {
  struct TrieNode {
    std::map<uint32_t, uint32_t> next;
    bool accept = false;
  };
  std::vector<TrieNode> trie(2);  // 0 is dead, 1 the root.
  std::map<uint32_t, uint32_t> class_of = {{0, 0}};
  std::vector<uint32_t> characters;
  for (const std::string& word : words) {
    if (!DecodeUtf8(word, &characters)) {
      continue;
    }
    uint32_t at = 1;
    for (const uint32_t c : characters) {
      class_of.emplace(c, 0);
      class_of.emplace(c + 1, 0);
      const auto [it, added] = trie[at].next.emplace(c, static_cast<uint32_t>(trie.size()));
      at = it->second;
      if (added) {
        trie.emplace_back();
      }
    }
    trie[at].accept = true;
  }
  Table table;
  for (auto& [begin, index] : class_of) {
    index = static_cast<uint32_t>(table.class_begin.size());
    table.class_begin.push_back(begin);
  }
  const size_t classes = table.class_begin.size();
  table.next.assign(trie.size() * classes, 0);
  for (size_t s = 0; s < trie.size(); ++s) {
    table.accept.push_back(trie[s].accept);
    for (const auto& [c, to] : trie[s].next) {
      table.next[s * classes + class_of.at(c)] = to;
    }
  }
  table.start = 1;
  return Make(std::move(table));
}

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

uint32_t CharDfa::ClassOf(uint32_t character) const {
  const auto it = std::upper_bound(table_.class_begin.begin(), table_.class_begin.end(), character);
  return static_cast<uint32_t>(it - table_.class_begin.begin()) - 1;
}

bool CharDfa::Accepts(std::string_view utf8) const {
  std::vector<uint32_t> characters;
  if (!DecodeUtf8(utf8, &characters)) {
    return false;
  }
  uint32_t state = start();
  for (const uint32_t c : characters) {
    state = Next(state, ClassOf(c));
  }
  return Accept(state);
}

bool CharDfa::Finite() const {
  // Every state can reach acceptance, so a cycle that the start reaches means endless strings.
  std::vector<uint8_t> mark(num_states(), 0);  // 1 on the path, 2 done.
  std::vector<std::pair<uint32_t, uint32_t>> path = {{start(), 0}};
  mark[start()] = 1;
  if (empty()) {
    return true;
  }
  while (!path.empty()) {
    auto& [state, c] = path.back();
    if (c == num_classes()) {
      mark[state] = 2;
      path.pop_back();
      continue;
    }
    const uint32_t next = Next(state, c++);
    if (next != 0 && mark[next] == 1) {
      return false;
    }
    if (next != 0 && mark[next] == 0) {
      mark[next] = 1;
      path.emplace_back(next, 0);
    }
  }
  return true;
}

std::vector<uint32_t> CharDfa::ShortestRests() const {
  std::vector<uint32_t> rest(num_states(), UINT32_MAX);
  for (uint32_t s = 1; s < num_states(); ++s) {
    rest[s] = Accept(s) ? 0 : UINT32_MAX;
  }
  for (bool changed = true; changed;) {
    changed = false;
    for (uint32_t s = num_states() - 1; s > 0; --s) {
      for (uint32_t c = 0; c < num_classes(); ++c) {
        const uint32_t next = rest[Next(s, c)];
        if (next != UINT32_MAX && next + 1 < rest[s]) {
          rest[s] = next + 1;
          changed = true;
        }
      }
    }
  }
  return rest;
}

std::vector<std::string> CharDfa::Strings(size_t limit) const {
  std::vector<std::string> found;
  if (!Finite()) {
    return {};
  }
  std::vector<std::pair<uint32_t, std::string>> work = {{start(), ""}};
  for (size_t i = 0; i < work.size(); ++i) {
    const auto [state, prefix] = work[i];
    if (Accept(state)) {
      found.push_back(prefix);
    }
    for (uint32_t c = 0; c < num_classes(); ++c) {
      if (const uint32_t next = Next(state, c); next != 0) {
        if (ClassEnd(c) - ClassBegin(c) > limit || work.size() > 64 * limit) {
          return {};
        }
        for (uint32_t character = ClassBegin(c); character <= ClassEnd(c); ++character) {
          work.emplace_back(next, prefix);
          AppendUtf8(character, &work.back().second);
        }
      }
    }
    if (found.size() > limit) {
      return {};
    }
  }
  return found;
}

}  // namespace alcca
