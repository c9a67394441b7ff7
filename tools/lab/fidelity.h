#pragma once

// How close an attention mode comes to dense on the same weights: head by head on dense's own
// queries, keys and values (teacher-forced), and end to end in what the model predicts.

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "attention/params.h"
#include "tools/lab/lab_model.h"
#include "tools/lab/text_windows.h"

namespace alcca::lab {

struct FidelityOptions {
  int32_t length = 512;  // predictions of a window; it has one token more
  int32_t windows = 4;   // spread evenly over the text; fewer if it does not hold as many
  int32_t samples = 64;  // query positions of a window whose weights are compared; all if more.
                         // 0: none, and no overlap (NaN): weights are dear at long contexts
  int32_t buckets = 8;   // of equal width, of positions, for the loss
  uint64_t seed = 1;     // of the sampled positions
};

struct FidelityMode {
  std::string label;
  AttentionParams params;
};

struct HeadFidelity {
  // sum_j min(w_dense, w_mode) / sum_j w_dense, mean over the sampled queries. For window and topk
  // this is dense's mass on the keys that they keep.
  double overlap = 0;
  double output_error = 0;    // ||o' - o|| / ||o||, mean over all queries
  double kv_bytes_share = 0;  // of its KV head, beside dense
};

struct PositionLoss {
  int32_t begin = 0, end = 0;  // of the query positions
  double nats_per_token = 0;
  double interactions = 0;  // of one query in one layer and query head, mean
};

// End to end.
struct ModelLoss {
  double nats_per_token = 0;
  double nats_per_byte = 0;
  std::vector<PositionLoss> by_position;
};

struct ModeFidelity {
  FidelityMode mode;
  std::vector<std::vector<HeadFidelity>> heads;  // [layers][heads]
  HeadFidelity mean, worst;                      // over heads; worst by each figure
  ModelLoss loss;
  double kl = 0;              // KL(dense || mode) of the next token, nats, mean
  double top1_agreement = 0;  // share of positions with the same most likely token
  AttentionCounters counters;
};

struct Fidelity {
  FidelityOptions options;
  int32_t windows = 0;
  std::vector<int32_t> positions;  // compared in the first window
  ModelLoss dense;
  AttentionCounters dense_counters;
  std::vector<ModeFidelity> modes;
};

// What LoadLabModel must be given for these options.
LabLimits FidelityLimits(const FidelityOptions& options);

// INVALID_ARGUMENT if options.length is above the model's positions; RESOURCE_EXHAUSTED.
absl::StatusOr<Fidelity> MeasureFidelity(LabModel* lab, const TextWindows& text,
                                         const std::vector<FidelityMode>& modes,
                                         const FidelityOptions& options);

// Schema "alcca.fidelity" version 1 (docs/lab.md).
std::string FidelityJson(const LabModel& lab, const std::string& text_name,
                         const Fidelity& fidelity);

}  // namespace alcca::lab
