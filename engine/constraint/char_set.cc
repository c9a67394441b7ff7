// Sets of characters of a regular expression.

#include <algorithm>

#include "engine/constraint/regex.h"

namespace alcca {

CharSet NormalizeSet(CharSet set) {
  std::sort(set.begin(), set.end());
  CharSet out;
  for (const auto& [low, high] : set) {
    if (!out.empty() && low <= out.back().second + 1) {
      out.back().second = std::max(out.back().second, high);
    } else {
      out.push_back({low, high});
    }
  }
  return out;
}

CharSet ComplementOf(const CharSet& set) {
  CharSet out;
  uint32_t next = 0;
  for (const auto& [low, high] : set) {
    if (low > next) {
      out.push_back({next, low - 1});
    }
    next = high + 1;
  }
  if (next <= kMaxCharacter) {
    out.push_back({next, kMaxCharacter});
  }
  return out;
}

}  // namespace alcca
