#pragma once

// Which tokens each layer and head attended for one text, and what it cost: the data behind
// `alcca explain`. docs/lab.md has the JSON's schema.

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "attention/params.h"
#include "tools/lab/lab_model.h"

namespace alcca::lab {

struct ExplainOptions {
  int32_t max_tokens = 512;   // prompt and generated; more are refused
  int32_t new_tokens = 0;     // generated greedily after the prompt
  float min_weight = 0.001f;  // smaller ones are summed up in WeightRow::rest
};

struct ExplainedToken {
  int32_t id = 0;
  std::string text;  // the piece, U+2581 as a space; control and byte pieces by their name
  bool generated = false;
};

// How a query was answered.
enum class Gate : char {
  kAll = 'a',           // every visible token has weight of its own
  kSelected = 's',      // some tokens were left out
  kNear = 'n',          // the near gate: mean(V), so every weight is 1 / visible
  kApproximated = 'c',  // some tokens only through a cluster's mean
};

// Weights of one query. Those of at least min_weight, by token; the others in `rest`.
struct WeightRow {
  struct Entry {
    int32_t token;
    float weight;
  };
  std::vector<Entry> entries;
  double rest = 0;
  int32_t tokens_used = 0;  // with a weight above zero
  double entropy = 0;       // of all weights, nats
  Gate gate = Gate::kAll;
};

struct ExplainedHead {
  std::vector<WeightRow> rows;    // [n]
  double interactions = 0;        // over all queries; the KV head's index and sums shared evenly
  double interactions_dense = 0;  // causal
  double near_share = 0;          // of its queries
  double tokens_used_mean = 0;    // over queries
  double entropy_mean = 0;        // over queries, nats
};

struct ExplainedLayer {
  std::vector<ExplainedHead> heads;
  int64_t kv_bytes_read = 0;
  int64_t kv_bytes_read_dense = 0;
};

struct Explanation {
  std::string model;  // the folder's name
  std::string weight_dtype;
  int32_t kv_heads = 0, head_dim = 0;
  AttentionParams attention;
  float min_weight = 0;
  std::vector<ExplainedToken> tokens;  // [n], as fed
  ExplainedToken next;                 // the most likely token after them
  std::vector<ExplainedLayer> layers;
  // Whether every head's cost is its own. Else a mode chose keys for all heads of a KV head at
  // once, and each head is given an even share of the layer's.
  bool cost_is_own = true;
  std::vector<double> interactions;        // [n], by query position, over all layers and heads
  std::vector<double> interactions_dense;  // [n]
  PhaseCounters counters{};                // the run's own, as a reply of the server has them
};

// Codes: INVALID_ARGUMENT (no tokens, or too many for options.max_tokens or the model's positions),
// RESOURCE_EXHAUSTED (memory). `lab` was loaded for at least options.max_tokens.
absl::StatusOr<Explanation> Explain(LabModel* lab, std::span<const int32_t> prompt,
                                    const AttentionParams& params, const ExplainOptions& options);

// One JSON object, schema "alcca.explain" version 1 (docs/lab.md); always valid UTF-8.
std::string ExplanationJson(const Explanation& explanation);

// One page with `json` inside and no external resource. Whatever the tokens are, they stay text.
std::string ExplanationHtml(std::string_view json);

}  // namespace alcca::lab
