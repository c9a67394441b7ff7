#include "engine/text/stop_strings.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace alcca {

StopMatcher::StopMatcher(std::span<const std::string> stops, bool include) : include_(include) {
  patterns_.reserve(stops.size());
  for (const std::string& stop : stops) {
    ALCCA_CHECK(!stop.empty());
    Pattern pattern{.text = stop, .fail = std::vector<size_t>(stop.size() + 1, 0)};
    for (size_t i = 1; i < stop.size(); ++i) {
      size_t length = pattern.fail[i];
      while (length > 0 && stop[length] != stop[i]) {
        length = pattern.fail[length];
      }
      pattern.fail[i + 1] = stop[length] == stop[i] ? length + 1 : 0;
    }
    patterns_.push_back(std::move(pattern));
  }
}

int StopMatcher::Step(char byte) {
  int longest = -1;
  for (size_t i = 0; i < patterns_.size(); ++i) {
    Pattern& p = patterns_[i];
    if (p.length == p.text.size()) {
      p.length = p.fail[p.length];  // a match that was passed by
    }
    while (p.length > 0 && p.text[p.length] != byte) {
      p.length = p.fail[p.length];
    }
    p.length += p.text[p.length] == byte ? 1 : 0;
    if (p.length == p.text.size() && (longest < 0 || p.length > patterns_[longest].text.size())) {
      longest = static_cast<int>(i);
    }
  }
  return longest;
}

size_t StopMatcher::Held() const {
  size_t held = 0;
  for (const Pattern& p : patterns_) {
    held = std::max(held, p.length == p.text.size() ? p.fail[p.length] : p.length);
  }
  return held;
}

bool StopMatcher::Push(std::string_view text, bool may_match, std::string* out) {
  ALCCA_CHECK(matched_ < 0);
  if (patterns_.empty()) {
    out->append(text);
    return false;
  }
  for (size_t i = 0; i < text.size(); ++i) {
    const int longest = Step(text[i]);
    if (longest < 0 || !may_match) {
      continue;
    }
    matched_ = longest;
    held_.append(text.substr(0, i + 1));
    if (!include_) {
      held_.resize(held_.size() - patterns_[longest].text.size());
    }
    out->append(Flush());
    return true;
  }
  held_.append(text);
  const size_t certain = include_ ? held_.size() : held_.size() - Held();
  out->append(held_, 0, certain);
  held_.erase(0, certain);
  return false;
}

std::string StopMatcher::Flush() {
  return std::exchange(held_, {});
}

}  // namespace alcca
