#include "engine/constraint/matcher.h"

#include <algorithm>
#include <mutex>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status_macros.h"

namespace alcca {
namespace {

absl::Status Exhausted() {
  return absl::ResourceExhaustedError(
      "the constraint is too ambiguous or nested too deep here: its next step needs more work "
      "than one step may");
}

}  // namespace

Matcher::Matcher(std::shared_ptr<const CompiledConstraint> constraint, bool begins_text)
    : constraint_(std::move(constraint)) {
  const std::lock_guard lock(constraint_->mutex_);
  automaton_ = constraint_->automaton_;
  history_.push_back({automaton_->start(), false, begins_text});
}

void Matcher::Renew() {
  std::shared_ptr<Automaton>& present = constraint_->automaton_;
  if (present->bytes() > constraint_->limits_.bytes) {
    present =
        std::make_shared<Automaton>(constraint_->grammar_, constraint_->vocabulary_->trie(),
                                    &constraint_->vocabulary_->free_string(), constraint_->limits_);
  }
  if (automaton_ != present) {
    for (Place& place : history_) {
      place.config = present->Import(*automaton_, place.config);
    }
    automaton_ = present;
  }
  automaton_->ResetWork();
}

absl::Status Matcher::Mask(std::span<uint32_t> words) {
  const TokenTrie& trie = this->trie();
  ALCCA_CHECK(words.size() == trie.mask_words());
  if (ended()) {
    std::fill(words.begin(), words.end(), 0);
    return absl::OkStatus();
  }
  const std::lock_guard lock(constraint_->mutex_);
  Renew();
  const ConfigId config = history_.back().config;
  automaton_->Mask(config, words);
  if (history_.back().begins) {
    MaskFirst(words);
  }
  if (automaton_->exhausted()) {
    return Exhausted();
  }
  if (automaton_->CanEnd(config)) {
    for (const int32_t token : trie.end_tokens()) {
      words[token / 32] |= uint32_t{1} << (token % 32);
    }
  }
  return absl::OkStatus();
}

void Matcher::MaskFirst(std::span<uint32_t> words) {
  std::vector<uint32_t>& known = constraint_->first_mask_;
  if (known.empty()) {
    for (const int32_t token : trie().loses_space()) {
      const std::string_view rest = std::string_view(trie().bytes(token)).substr(1);
      ConfigId config = rest.empty() ? kDead : automaton_->start();
      for (size_t i = 0; i < rest.size() && config != kDead; ++i) {
        config = automaton_->Step(config, static_cast<uint8_t>(rest[i]));
      }
      const uint32_t bit = uint32_t{1} << (token % 32);
      words[token / 32] = config != kDead ? words[token / 32] | bit : words[token / 32] & ~bit;
    }
    if (!automaton_->exhausted()) {
      known.assign(words.begin(), words.end());
    }
  }
  std::copy(known.begin(), known.end(), words.begin());
}

absl::Status Matcher::Accept(int32_t token) {
  const TokenTrie& trie = this->trie();
  if (token < 0 || static_cast<size_t>(token) >= trie.vocab_size() || ended()) {
    return absl::InvalidArgumentError(absl::StrCat("token ", token, " may not follow"));
  }
  if (trie.IsEnd(token)) {
    if (!MayEnd()) {
      return absl::InvalidArgumentError(
          absl::StrCat("end token ", token, " before the constraint is satisfied"));
    }
    history_.push_back({history_.back().config, true, false});
    return absl::OkStatus();
  }
  std::string_view bytes = trie.bytes(token);
  if (history_.back().begins && trie.LosesSpace(token)) {
    bytes.remove_prefix(1);
  }
  if (bytes.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("token ", token, " may not follow"));
  }
  return Advance(bytes);
}

absl::Status Matcher::AcceptText(std::string_view bytes) {
  return ended() ? absl::InvalidArgumentError("the text has ended") : Advance(bytes);
}

absl::Status Matcher::Advance(std::string_view bytes) {
  const std::lock_guard lock(constraint_->mutex_);
  Renew();
  ConfigId config = history_.back().config;
  for (size_t i = 0; i < bytes.size(); ++i) {
    config = automaton_->Step(config, static_cast<uint8_t>(bytes[i]));
    if (automaton_->exhausted()) {
      return Exhausted();
    }
    if (config == kDead) {
      return absl::InvalidArgumentError(
          absl::StrCat("byte ", i, " of the token or text may not follow"));
    }
  }
  history_.push_back({config, false, false});
  if (history_.size() > 2 * kMaxRollback) {
    history_.erase(history_.begin(), history_.end() - (kMaxRollback + 1));
  }
  return absl::OkStatus();
}

bool Matcher::MayEnd() const {
  const std::lock_guard lock(constraint_->mutex_);
  return automaton_->CanEnd(history_.back().config);
}

bool Matcher::MustEnd() const {
  const std::lock_guard lock(constraint_->mutex_);
  return ended() || automaton_->MustEnd(history_.back().config);
}

void Matcher::Rollback(size_t tokens) {
  ALCCA_CHECK(tokens < history_.size());
  history_.resize(history_.size() - tokens);
}

}  // namespace alcca
