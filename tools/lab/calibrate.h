#pragma once

// theta and k of `alcca` for each layer and query head, found on a text.
//
// In one forward pass over the text, layer after layer, every query's distance to the keys' centre
// of mass and the damage of answering it by mean(V), or with fewer neighbours, are measured on the
// queries, keys and values that the layers before it leave under their new settings. Each head then
// takes the theta and k that minimise damage + price * cost. The price is one for all heads, so the
// cheapest damage is done first wherever it lies, and is bisected until the target is met on
// windows that were not fitted on.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "attention/params.h"
#include "tools/lab/lab_model.h"
#include "tools/lab/text_windows.h"

namespace alcca::lab {

struct CalibrationTarget {
  enum class Kind : uint8_t {
    kNear,    // this share of the queries is near, at the least damage; k stays
    kSaving,  // 1 - interactions performed / causal dense's is at least this, at the least loss
    kLoss,    // loss rises by at most this, nats per byte, at the largest saving
  };
  Kind kind = Kind::kNear;
  double value = 0;
};

// "near=0.5", "saving=0.98", "loss=+0.02". INVALID_ARGUMENT otherwise.
absl::StatusOr<CalibrationTarget> ParseCalibrationTarget(std::string_view text);

struct CalibrationOptions {
  int32_t length = 512;  // tokens of a window
  int32_t windows = 16;  // half to fit, half to measure
  int32_t rounds = 14;   // of the bisection
};

// Of one setting, on the windows that were not fitted on.
struct CalibrationFigures {
  double near_share = 0;
  double saving = 0;  // 1 - performed / dense_equivalent, QK and PV, causal, build included
  double nats_per_byte = 0;
};

struct Calibration {
  AttentionParams params;     // with tables; head_k only where a head differs from params.k
  CalibrationFigures before;  // theta 0 and k for all heads
  CalibrationFigures after;
  double dense_nats_per_byte = 0;
  int32_t fitted_tokens = 0, measured_tokens = 0;
};

// What LoadLabModel must be given for these options.
LabLimits CalibrationLimits(const CalibrationOptions& options);

// `base` is alcca with its k, epsilon and search; its theta is not read. FAILED_PRECONDITION,
// saying how near it can be had, if no setting meets the target; INVALID_ARGUMENT for fewer than
// two windows or a length beyond the model's positions.
absl::StatusOr<Calibration> Calibrate(LabModel* lab, const TextWindows& text,
                                      const AttentionParams& base, const CalibrationTarget& target,
                                      const CalibrationOptions& options);

// alcca.json with the calibrated values; what else `existing` (its text, or empty) says stays.
// `note` becomes its "_calibrated" beside the figures.
absl::StatusOr<std::string> CalibratedAlccaJson(const std::string& existing,
                                                const std::string& target,
                                                const std::string& text_name, const LabModel& lab,
                                                const Calibration& result);

}  // namespace alcca::lab
