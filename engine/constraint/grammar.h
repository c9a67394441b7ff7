// The one form that every front end (JSON schema, regex, EBNF, choice, structural tag) is compiled
// to: a recursive transition network over bytes. A rule is a small nondeterministic automaton; an
// edge reads a byte of a range or calls a rule. Two things keep it small whatever a request counts:
// - a Loop repeats its body `min` to `max` times with a counter instead of copies;
// - Members are the members of a JSON object (or of an array of distinct values): each at most
//   once, the required ones all, between `min` and `max` of them. What was there is a set.
// A rule has at most one counter or set active at a time (the register); what would nest another
// gets a rule of its own.

#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace alcca {

using StateId = uint32_t;
using RuleId = uint32_t;
inline constexpr uint32_t kUnbounded = UINT32_MAX;

// What a compilation may cost. Exceeding one is INVALID_ARGUMENT that names the limit.
struct GrammarLimits {
  size_t states = 400'000;
  size_t edges = 2'000'000;
  size_t rules = 50'000;
};

struct Grammar {
  enum class Kind : uint8_t {
    kEdges,         // [a, a + b) of `edges`.
    kSplit,         // [a, a + b) of `targets`, without reading.
    kCall,          // Rule a, then state b.
    kAccept,        // The rule is complete.
    kEnd,           // The text is complete. A state of no rule: what the outermost rule returns to.
    kLoopEnter,     // Loop a begins.
    kLoopNext,      // One more body of loop a was read.
    kCount,         // One more character: go to a if b more fit below the maximum of `loop`.
    kMembersFirst,  // Members a begin: none was read.
    kMembersNext,   // One more was read: a separator or the end follows.
    kMembersPick,   // The separator was read: a member follows.
  };
  struct State {
    Kind kind = Kind::kSplit;
    bool tail = false;         // Leads to kAccept alone and reads nothing.
    bool nearly_free = false;  // Reads nearly what the inside of a JSON string reads.
    uint32_t a = 0;
    uint32_t b = 0;
    uint32_t loop = kUnbounded;  // The loop that has this state in its body.
  };
  struct Edge {
    uint8_t low = 0, high = 0;
    StateId target = 0;
  };
  struct Loop {
    uint32_t min = 0, max = 0;
    StateId body = 0, exit = 0;
    // How far below its maximum the counter says something already: the largest b of its kCount.
    uint32_t slack = 0;
    // A body that is one character of a JSON string: states [free_begin, free_begin + n) stand for
    // those of `free_character`.
    StateId free_begin = kUnbounded;
  };
  struct Members {
    struct Member {
      StateId start = 0;
      bool required = false;
      bool available = true;  // Some text satisfies it.
    };
    std::vector<Member> members{};  // Each at most once.
    std::vector<StateId> extras{};  // Any number of times.
    std::vector<bool> extra_available{};
    uint32_t last = 0;  // The last `last` members come after all others and all extras.
    uint32_t min = 0, max = kUnbounded;
    bool ordered = true;      // Members come in order, extras after them.
    StateId separator = 0;    // Reads the separator, ends in kMembersPick.
    StateId close = 0;        // After the last member.
    StateId close_empty = 0;  // Where there is none.
  };

  std::vector<State> states;
  std::vector<Edge> edges;
  std::vector<StateId> targets;
  std::vector<Loop> loops;
  std::vector<Members> members;
  std::vector<StateId> rules;       // Start state of each.
  std::vector<bool> nullable;       // [rules] Whether the rule is satisfied by nothing.
  std::vector<uint32_t> rank;       // [rules] A rule ranks below those it may begin with.
  std::vector<uint8_t> byte_class;  // [256] Bytes of a class are alike on every edge.
  uint32_t num_classes = 0;
  std::vector<uint8_t> class_byte;  // [num_classes] A byte of each.
  RuleId start = 0;
  // The inside of a JSON string and its closing quote: a rule that most wide states end in, whose
  // masks a vocabulary has ready. kUnbounded if the grammar has none.
  StateId free_string = kUnbounded;     // Start of the rule.
  StateId free_character = kUnbounded;  // Its first state that reads a character.
  StateId free_quote = kUnbounded;      // Its state that reads the quote.
  uint32_t free_character_states = 0;   // Of a character, from free_character on.
  size_t bytes() const;
};

inline constexpr StateId kAcceptState = 0;
inline constexpr StateId kEndState = 1;

// Builds from the end: each call takes the state that follows and returns the state that begins.
class GrammarBuilder {
 public:
  explicit GrammarBuilder(GrammarLimits limits = {});

  RuleId NewRule();  // Its start is set later: rules may be recursive.
  void SetRule(RuleId rule, StateId start);
  StateId RuleStart(RuleId rule) const { return grammar_.rules[rule]; }

  StateId Edges(std::span<const Grammar::Edge> edges, bool nearly_free = false);
  StateId Byte(uint8_t low, uint8_t high, StateId next);
  StateId Literal(std::string_view bytes, StateId next);
  StateId Split(std::span<const StateId> targets);
  StateId NewSplit();  // Of targets that are set later.
  void SetSplit(StateId split, std::span<const StateId> targets);
  StateId Call(RuleId rule, StateId next);
  StateId Nothing();  // No text passes.
  // A UTF-8 character of [low, high]; surrogates are left out.
  void CharacterEdges(uint32_t low, uint32_t high, StateId next, std::vector<Grammar::Edge>* edges);

  // A counted repeat: next = BeginLoop(); body = ... next ...; start = EndLoop(body). Everything
  // that is built in between belongs to the body. Bodies have no loop and no members of their own.
  StateId BeginLoop(uint32_t min, uint32_t max, StateId exit);
  StateId EndLoop(StateId body, bool free_character = false);

  // A counter of characters: BeginCount(max), then states of which Count() adds one, EndCount().
  // Count() goes to `target`, from where at least `rest` more characters follow.
  void BeginCount(uint32_t max);
  StateId Count(StateId target, uint32_t rest);
  void EndCount();

  // Members: first = NewMembers(); members lead to MembersNext(first); EndMembers(...).
  StateId NewMembers();
  StateId MembersNext(StateId first);
  StateId MembersPick(StateId first);
  void EndMembers(StateId first, Grammar::Members members);

  // The rule that reads the inside of a JSON string and the closing quote; made when first asked.
  RuleId FreeString();
  StateId FreeCharacter(StateId next);  // One character or escape of it.

  // What is built so far, before the passes of Build.
  const Grammar& grammar() const { return grammar_; }
  bool full() const { return full_; }  // A limit is exceeded; what is built is void.

  // The grammar that begins with `start`: left recursion turned into loops, what no text satisfies
  // removed. INVALID_ARGUMENT if a limit is exceeded or if no text satisfies it.
  absl::StatusOr<Grammar> Build(RuleId start) &&;

 private:
  StateId Add(Grammar::State state);
  StateId Continuation(uint32_t bytes, StateId next);
  void Utf8Edges(uint32_t low, uint32_t high, uint32_t length, StateId next,
                 std::vector<Grammar::Edge>* edges);

  Grammar grammar_;
  GrammarLimits limits_;
  bool full_ = false;
  uint32_t open_loop_ = kUnbounded;
  StateId open_loop_begin_ = 0;
  RuleId free_string_rule_ = kUnbounded;
  std::unordered_map<uint64_t, StateId> continuation_;  // (bytes left, next) of any character.
};

// Passes of Build, in order; each keeps the language.
absl::Status RemoveLeftRecursion(const GrammarLimits& limits, Grammar* grammar);
absl::Status RemoveUnproductive(Grammar* grammar);

// [rules] Whether the rule is satisfied by nothing.
std::vector<bool> NullableRules(const Grammar& grammar);
// Calls visit(state) for every state that is reached from `start` without reading, start included.
void VisitLeftmost(const Grammar& grammar, const std::vector<bool>& nullable, StateId start,
                   std::vector<StateId>* reached);

}  // namespace alcca
