// Where one answer is in its constraint.

#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "engine/constraint/compiler.h"

namespace alcca {

// A copy is a second answer from the same place (n, speculation). Not thread-safe; two matchers of
// one constraint may be used by two threads.
//
// A step: Mask(), sample among the allowed, Accept() what was sampled. Speculation: Accept() the
// drafted tokens with a Mask() before each, then Rollback() those that were refused.
class Matcher {
 public:
  // `begins_text`: the first token is the first of a text, where the vocabulary's loses_space()
  // lose it.
  explicit Matcher(std::shared_ptr<const CompiledConstraint> constraint, bool begins_text = false);

  const TokenTrie& trie() const { return constraint_->vocabulary().trie(); }

  // Writes the tokens that may follow: bit t % 32 of words[t / 32] is token t; words.size() is
  // trie().mask_words(). End tokens are among them if and only if the text may end here. Always
  // some token may follow if the vocabulary has a token of each single byte.
  // RESOURCE_EXHAUSTED if a limit of the automaton is met: the request fails, nothing else.
  absl::Status Mask(std::span<uint32_t> words);

  // INVALID_ARGUMENT if the constraint does not allow the token here: the matcher stays where it
  // was. RESOURCE_EXHAUSTED as Mask().
  absl::Status Accept(int32_t token);
  // The same for text, whatever tokens it has; counts as one token for Rollback.
  absl::Status AcceptText(std::string_view bytes);

  // Whether the text so far satisfies the constraint.
  bool MayEnd() const;
  // Whether it does, and nothing may follow.
  bool MustEnd() const;
  // An end token was accepted: nothing may follow.
  bool ended() const { return history_.back().ended; }

  // Takes back the last `tokens` accepted ones, at most kMaxRollback. Our bug if there are fewer.
  void Rollback(size_t tokens);
  static constexpr size_t kMaxRollback = 256;

 private:
  struct Place {
    ConfigId config = kDead;
    bool ended = false;
    bool begins = false;  // Nothing was accepted, and a text begins here.
  };
  // Moves to the constraint's present automaton, a new one if that has learned too much. Called
  // under the constraint's lock.
  void Renew();
  absl::Status Advance(std::string_view bytes);
  // Of words, those that lose their space here. Under the constraint's lock.
  void MaskFirst(std::span<uint32_t> words);

  std::shared_ptr<const CompiledConstraint> constraint_;
  std::shared_ptr<Automaton> automaton_;
  std::vector<Place> history_;  // The last is now; one more than can be rolled back.
};

}  // namespace alcca
