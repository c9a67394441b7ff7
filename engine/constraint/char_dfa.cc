#include "engine/constraint/char_dfa.h"

#include <algorithm>
#include <map>

namespace alcca {
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
