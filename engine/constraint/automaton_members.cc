// Which members of an object may come next, so that what was begun can always be completed.

#include <algorithm>
#include <bit>
#include <utility>

#include "engine/constraint/automaton.h"

namespace alcca {
namespace {

bool Has(const std::vector<uint64_t>& bits, size_t i) {
  return i / 64 < bits.size() && (bits[i / 64] >> (i % 64) & 1) != 0;
}

uint32_t Count(const std::vector<uint64_t>& bits) {
  uint32_t count = 0;
  for (const uint64_t word : bits) {
    count += static_cast<uint32_t>(std::popcount(word));
  }
  return count;
}

// One past the highest bit.
size_t Begin(const std::vector<uint64_t>& bits) {
  for (size_t word = bits.size(); word-- > 0;) {
    if (bits[word] != 0) {
      return word * 64 + std::bit_width(bits[word]);
    }
  }
  return 0;
}

}  // namespace

uint32_t Automaton::InternSet(Set set) {
  std::string key(reinterpret_cast<const char*>(set.bits.data()), set.bits.size() * 8);
  if (set.extras > 0) {
    key.append(reinterpret_cast<const char*>(&set.extras), sizeof(set.extras));
  }
  const auto [it, added] = set_ids_.emplace(std::move(key), static_cast<uint32_t>(sets_.size()));
  if (added) {
    sets_.push_back(std::move(set));
  }
  return it->second;
}

bool Automaton::CanClose(const Grammar::Members& set, const Set& read) const {
  if (Count(read.bits) + read.extras < set.min) {
    return false;
  }
  for (size_t i = 0; i < set.members.size(); ++i) {
    if (set.members[i].required && !Has(read.bits, i)) {
      return false;
    }
  }
  return true;
}

// Whether more members can make what was read complete. Order has been kept so far.
bool Automaton::Completable(const Grammar::Members& set, const Set& read) const {
  const uint32_t count = Count(read.bits) + read.extras;
  if (count >= set.min && set.max == kUnbounded) {
    return true;  // Candidates() passes over no required member.
  }
  const size_t size = set.members.size();
  const size_t last = size - set.last;
  const size_t begin = Begin(read.bits);
  size_t from = set.ordered || begin > last ? begin : 0;
  if (set.ordered && read.extras > 0) {
    from = std::max(from, last);
  }
  uint64_t required = 0;
  uint64_t available = 0;
  for (size_t i = from; i < size; ++i) {
    if (!Has(read.bits, i) && set.members[i].available) {
      required += set.members[i].required;
      ++available;
    }
  }
  const bool endless =
      begin <= last && std::any_of(set.extra_available.begin(), set.extra_available.end(),
                                   [](bool yes) { return yes; });
  return count + required <= set.max && (endless || count + available >= set.min);
}

void Automaton::Candidates(const Grammar::Members& set, uint32_t read_id,
                           std::vector<Item>* found) {
  found->clear();
  const Set read = sets_[read_id];
  const size_t size = set.members.size();
  const size_t last = size - set.last;
  const size_t begin = Begin(read.bits);
  if (Count(read.bits) + read.extras >= set.max) {
    return;
  }
  size_t i = set.ordered || begin > last ? begin : 0;
  if (set.ordered && read.extras > 0) {
    i = std::max(i, last);
  }
  bool missing = false;  // A required member of those that come before `i`.
  for (; i <= size; ++i) {
    if (i == last && !(missing && set.ordered) && begin <= last) {
      for (size_t e = 0; e < set.extras.size(); ++e) {
        Set next = read;
        // More than max or min + 1 need not be told apart.
        const uint32_t enough = set.max == kUnbounded ? set.min : set.max;
        next.extras = std::min(next.extras + 1, std::max(enough, 1U));
        if (set.extra_available[e] && Completable(set, next)) {
          found->push_back({0, set.extras[e], InternSet(std::move(next))});
        }
      }
    }
    if (i == size || (missing && (set.ordered || i >= last))) {
      break;
    }
    const auto& member = set.members[i];
    if (Has(read.bits, i)) {
      continue;
    }
    missing = missing || (member.required && (set.ordered || i < last));
    if (!member.available) {
      continue;
    }
    Set next = read;
    next.bits.resize(std::max(next.bits.size(), i / 64 + 1), 0);
    next.bits[i / 64] |= uint64_t{1} << (i % 64);
    if (Completable(set, next)) {
      found->push_back({0, member.start, InternSet(std::move(next))});
    }
  }
}

void Automaton::ExpandMembers(const Grammar::State& state, const Pending& pending) {
  const Item& item = pending.item;
  const Grammar::Members& set = grammar_.members[state.a];
  std::vector<Item> candidates;
  const uint32_t read = state.kind == Grammar::Kind::kMembersFirst ? 0 : item.reg;
  Candidates(set, read, &candidates);
  work_ += set.members.size() / 8;
  if (state.kind != Grammar::Kind::kMembersPick && CanClose(set, sets_[read])) {
    const bool first = state.kind == Grammar::Kind::kMembersFirst;
    Push({item.node, first ? set.close_empty : set.close, 0}, pending.fresh);
  }
  if (state.kind == Grammar::Kind::kMembersNext) {
    if (!candidates.empty()) {
      Push({item.node, set.separator, read}, pending.fresh);
    }
    return;
  }
  for (const Item& candidate : candidates) {
    Push({item.node, candidate.state, candidate.reg}, pending.fresh);
  }
}

}  // namespace alcca
