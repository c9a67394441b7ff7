#pragma once

// The attention modes and the key searches, once: their names, their numbers on the wire, and the
// traits that code outside the kernels asks for instead of naming a mode.

#include <cstdint>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

namespace alcca {

// kWindow and kTopK are the model card's two baselines: softmax over the most recent keys, and over
// the best-scored share of all keys.
enum class AttentionMode : uint8_t { kDense, kAlcca, kMultipole, kWindow, kTopK };

// How `alcca` finds the k nearest keys. kExact scans the request's whole index; kTree opens the
// nearest leaves of a space partition and may miss some (kernels/key_index.h).
enum class KeySearch : uint8_t { kExact, kTree };

// What a mode does with a model's own sliding window.
enum class SlidingWindow : uint8_t {
  kHonours,  // a query sees the window's keys only
  kIgnores,  // a query sees every key
  kRefuses   // the mode does not serve such a model (CheckSlidingWindow)
};

struct ModeTraits {
  AttentionMode mode;
  const char* name;  // in every text: flags, YAML, alcca.json, JSON, labels of metrics
  int wire;          // the value of v1.AttentionMode
  SlidingWindow sliding_window = SlidingWindow::kHonours;
  bool keeps_state = false;    // a sequence has an index or clusters beside its KV pages
  bool in_order = false;       // a row changes that state, so that rows are answered in order
  bool of_keys = false;        // it follows from keys and values, so that pages alone restore it
  int32_t fork_tokens = 0;     // else it may be forked at multiples of so many tokens; 0: never
  bool has_near_gate = false;  // mean(V) answers queries near the keys' mean
  bool searches = false;       // KeySearch means something
};
inline constexpr ModeTraits kAttentionModes[] = {
    {.mode = AttentionMode::kDense, .name = "dense", .wire = 1},
    {.mode = AttentionMode::kAlcca,
     .name = "alcca",
     .wire = 2,
     .sliding_window = SlidingWindow::kIgnores,
     .keeps_state = true,
     .in_order = true,
     .of_keys = true,
     .has_near_gate = true,
     .searches = true},
    {.mode = AttentionMode::kMultipole,
     .name = "multipole",
     .wire = 3,
     .sliding_window = SlidingWindow::kRefuses,
     .keeps_state = true,
     .fork_tokens = 256},
    {.mode = AttentionMode::kWindow, .name = "window", .wire = 4},
    {.mode = AttentionMode::kTopK, .name = "topk", .wire = 5},
};
inline constexpr int kAttentionModeCount = std::size(kAttentionModes);

constexpr const ModeTraits& TraitsOf(AttentionMode mode) {
  return kAttentionModes[static_cast<int>(mode)];
}
constexpr const char* AttentionModeName(AttentionMode mode) {
  return TraitsOf(mode).name;
}

struct SearchTraits {
  KeySearch search;
  const char* name;
  int wire;  // the value of v1.AttentionSearch
};
inline constexpr SearchTraits kKeySearches[] = {
    {.search = KeySearch::kExact, .name = "exact", .wire = 1},
    {.search = KeySearch::kTree, .name = "tree", .wire = 2},
};
constexpr const SearchTraits& TraitsOf(KeySearch search) {
  return kKeySearches[static_cast<int>(search)];
}

// The mode or search of this name, or of this number on the wire, if there is one.
std::optional<AttentionMode> ModeOf(std::string_view name);
std::optional<AttentionMode> ModeOfWire(int wire);
std::optional<KeySearch> SearchOf(std::string_view name);
std::optional<KeySearch> SearchOfWire(int wire);

// In the order of the tables.
const std::vector<std::string>& AttentionModeNames();
const std::vector<std::string>& KeySearchNames();

// INVALID_ARGUMENT "mode: ..." if `mode` does not serve a model with a sliding window of so many
// tokens; 0: the model has none. Requests, configuration, alcca.json and the lab all ask here.
absl::Status CheckSlidingWindow(AttentionMode mode, int64_t sliding_window);

}  // namespace alcca
