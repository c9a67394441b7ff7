// Deterministic automata over Unicode characters: the sets of strings (and of spellings of numbers)
// that schemas speak of, closed under and, or, not.

#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace alcca {

inline constexpr uint32_t kMaxCharacter = 0x10FFFF;
inline constexpr uint32_t kSurrogates = 0xD800;  // To kAfterSurrogates: no characters.
inline constexpr uint32_t kAfterSurrogates = 0xE000;

// What the automata of one compilation may cost together: cells of their tables.
struct DfaBudget {
  size_t cells = 3'000'000;
  size_t max_states = 30'000;  // Of one automaton.
};

class CharDfa;
using DfaPtr = std::shared_ptr<const CharDfa>;

// Immutable. State 0 is dead. Surrogates (U+D800..U+DFFF) lead to it everywhere.
class CharDfa {
 public:
  struct Table {
    std::vector<uint32_t>
        class_begin;             // Sorted, the first is 0. A class ends where the next begins.
    std::vector<uint32_t> next;  // [states][classes]
    std::vector<bool> accept;    // [states]
    uint32_t start = 0;
  };

  // Minimises. A table without the dead state 0 or with surrogates that lead elsewhere is our bug.
  static DfaPtr Make(Table table);
  static DfaPtr All();
  static DfaPtr None();
  // Exactly these; UTF-8 (what is not is left out).
  static DfaPtr Words(std::span<const std::string> words);
  // Strings of min..max characters; max may be UINT32_MAX.
  static absl::StatusOr<DfaPtr> Lengths(uint32_t min, uint32_t max, DfaBudget* budget);

  static absl::StatusOr<DfaPtr> And(const DfaPtr& a, const DfaPtr& b, DfaBudget* budget);
  static absl::StatusOr<DfaPtr> Or(const DfaPtr& a, const DfaPtr& b, DfaBudget* budget);
  // What is in a and not in b.
  static absl::StatusOr<DfaPtr> Minus(const DfaPtr& a, const DfaPtr& b, DfaBudget* budget);

  bool empty() const { return table_.start == 0; }
  bool all() const { return Universal(table_.start); }
  bool Accepts(std::string_view utf8) const;
  bool Finite() const;
  // [states] Characters of the shortest string that is accepted from each; of the dead state none.
  std::vector<uint32_t> ShortestRests() const;
  // All strings if there are at most `limit`; else nothing.
  std::vector<std::string> Strings(size_t limit) const;

  uint32_t start() const { return table_.start; }
  uint32_t num_states() const { return static_cast<uint32_t>(table_.accept.size()); }
  uint32_t num_classes() const { return static_cast<uint32_t>(table_.class_begin.size()); }
  bool Accept(uint32_t state) const { return table_.accept[state]; }
  // Whether every string from here is accepted.
  bool Universal(uint32_t state) const { return state != 0 && state == universal_; }
  uint32_t Next(uint32_t state, uint32_t character_class) const {
    return table_.next[size_t{state} * num_classes() + character_class];
  }
  uint32_t ClassBegin(uint32_t c) const { return table_.class_begin[c]; }
  uint32_t ClassEnd(uint32_t c) const {  // The last character of it.
    return c + 1 < num_classes() ? table_.class_begin[c + 1] - 1 : kMaxCharacter;
  }
  uint32_t ClassOf(uint32_t character) const;

 private:
  enum class Operation { kAnd, kOr, kMinus };
  static absl::StatusOr<DfaPtr> Product(const CharDfa& a, const CharDfa& b, Operation operation,
                                        DfaBudget* budget);
  void Minimize();
  void MergeClasses();

  Table table_;
  uint32_t universal_ = 0;
};

// Decodes; false if not well-formed UTF-8.
bool DecodeUtf8(std::string_view utf8, std::vector<uint32_t>* characters);
void AppendUtf8(uint32_t character, std::string* out);

}  // namespace alcca
