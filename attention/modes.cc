#include "attention/modes.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace alcca {
namespace {

// The tables are indexed by their enums.
constexpr bool InOrder() {
  for (int i = 0; i < kAttentionModeCount; ++i) {
    if (static_cast<int>(kAttentionModes[i].mode) != i) {
      return false;
    }
  }
  for (size_t i = 0; i < std::size(kKeySearches); ++i) {
    if (static_cast<size_t>(kKeySearches[i].search) != i) {
      return false;
    }
  }
  return true;
}
static_assert(InOrder());

template <typename Table>
const std::vector<std::string>& Names(const Table& table) {
  static const auto& names = *new std::vector<std::string>([&table] {
    std::vector<std::string> all;
    for (const auto& row : table) {
      all.emplace_back(row.name);
    }
    return all;
  }());
  return names;
}

}  // namespace

std::optional<AttentionMode> ModeOf(std::string_view name) {
  for (const ModeTraits& row : kAttentionModes) {
    if (name == row.name) {
      return row.mode;
    }
  }
  return std::nullopt;
}

std::optional<AttentionMode> ModeOfWire(int wire) {
  for (const ModeTraits& row : kAttentionModes) {
    if (wire == row.wire) {
      return row.mode;
    }
  }
  return std::nullopt;
}

std::optional<KeySearch> SearchOf(std::string_view name) {
  for (const SearchTraits& row : kKeySearches) {
    if (name == row.name) {
      return row.search;
    }
  }
  return std::nullopt;
}

std::optional<KeySearch> SearchOfWire(int wire) {
  for (const SearchTraits& row : kKeySearches) {
    if (wire == row.wire) {
      return row.search;
    }
  }
  return std::nullopt;
}

const std::vector<std::string>& AttentionModeNames() {
  return Names(kAttentionModes);
}

const std::vector<std::string>& KeySearchNames() {
  return Names(kKeySearches);
}

absl::Status CheckSlidingWindow(AttentionMode mode, int64_t sliding_window) {
  if (sliding_window == 0 || TraitsOf(mode).sliding_window != SlidingWindow::kRefuses) {
    return absl::OkStatus();
  }
  std::vector<std::string> others;
  for (const ModeTraits& row : kAttentionModes) {
    if (row.sliding_window != SlidingWindow::kRefuses) {
      others.emplace_back(row.name);
    }
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "mode: ", AttentionModeName(mode), " does not serve a model with a sliding window (",
      sliding_window, " tokens); choose one of ", absl::StrJoin(others, ", ")));
}

}  // namespace alcca
