#pragma once

// Attention on the lab's command lines: the flags of `alcca generate`, resolved as the server
// resolves a request's (flag > the model's alcca.json > built in).

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "attention/params.h"
#include "engine/model/model_config.h"

namespace CLI {
class App;
}

namespace alcca::lab {

struct AttentionOptions {
  std::string mode, search;  // empty: the model's
  std::optional<float> theta, near_share, epsilon, sparsity, mass;
  std::optional<int32_t> k, tree_distances, tree_recent, window;
  std::optional<int32_t> max_keys, dense_below, sinks, recent;

  // `with_mode`: also --mode and --search; a command that compares modes names them itself.
  void AddTo(CLI::App* app, bool with_mode);

  // One flag by its name without dashes, as "tree-distances"; INVALID_ARGUMENT where there is no
  // such flag or the value does not parse.
  absl::Status Set(std::string_view flag, std::string_view value);

  // INVALID_ARGUMENT naming the flag, or UNIMPLEMENTED for a mode that this version does not have.
  absl::StatusOr<AttentionParams> Resolve(const AlccaConfig& model) const;
};

std::vector<std::string> AttentionModeNames();  // for --mode

// The parameters of query heads [first, first + count) in `layers` layers of `heads`: where they
// have tables, those columns.
AttentionParams SliceHeadParams(const AttentionParams& params, int32_t layers, int32_t heads,
                                int32_t first, int32_t count);

// A mode in a list: "NAME[:FLAG=VALUE]...", as "window:window=32"; the name tree stands for alcca
// with tree search. Flags given here go before `common`.
absl::StatusOr<AttentionParams> ParseAttentionMode(std::string_view text,
                                                   const AttentionOptions& common,
                                                   const AlccaConfig& model);

// The parameters of `params.mode` that shape its result, as "alcca k=8 theta=0 epsilon=0.05".
std::string DescribeAttention(const AttentionParams& params);

}  // namespace alcca::lab
