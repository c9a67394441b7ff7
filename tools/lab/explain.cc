#include "tools/lab/explain.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "tools/lab/attention_probe.h"

namespace alcca::lab {
namespace {

ExplainedToken MakeToken(const Tokenizer& tokenizer, int32_t id, bool generated) {
  return {
      .id = id,
      .text = absl::StrReplaceAll(std::string(tokenizer.IdToPiece(id)), {{"\xE2\x96\x81", " "}}),
      .generated = generated};
}

int32_t ArgMax(std::span<const float> row) {
  return static_cast<int32_t>(std::max_element(row.begin(), row.end()) - row.begin());
}

// Feeds the prompt and what follows it, greedily; the last token drawn is not fed.
absl::Status Feed(LabModel* lab, std::span<const int32_t> prompt, const AttentionParams& params,
                  int32_t new_tokens, Explanation* out) {
  const int32_t most = static_cast<int32_t>(prompt.size()) + new_tokens;
  ASSIGN_OR_RETURN(LabSequence sequence, LabSequence::Make(lab, params, 0, most));
  std::span<const float> logits;
  for (size_t at = 0; at < prompt.size();) {
    const auto chunk =
        prompt.subspan(at, std::min<size_t>(lab->limits.batch_tokens, prompt.size() - at));
    logits = sequence.Feed(chunk, 1, Phase::kPrefill);
    at += chunk.size();
  }
  for (const int32_t id : prompt) {
    out->tokens.push_back(MakeToken(*lab->tokenizer, id, false));
  }
  const std::vector<int32_t>& ends = lab->config.eos_token_ids;
  int32_t next = ArgMax(logits);
  for (int32_t i = 0; i < new_tokens && std::find(ends.begin(), ends.end(), next) == ends.end();
       ++i) {
    out->tokens.push_back(MakeToken(*lab->tokenizer, next, true));
    next = ArgMax(sequence.Feed({&next, 1}, 1, Phase::kDecode));
  }
  out->next = MakeToken(*lab->tokenizer, next, true);
  out->counters = sequence.counters();
  return absl::OkStatus();
}

// Interactions that a query head spends by itself, and those of its KV head.
int64_t QueryCost(const AttentionCounters& c) {
  return c.qk_exact + c.qk_centroid + c.com_test + c.pv_exact + c.pv_centroid;
}
int64_t SharedCost(const AttentionCounters& c) {
  return c.index_build + c.running_sums;
}

WeightRow MakeRow(std::span<const float> weights, float min_weight) {
  WeightRow row;
  for (size_t j = 0; j < weights.size(); ++j) {
    const float w = weights[j];
    if (!(w > 0)) {
      continue;
    }
    ++row.tokens_used;
    row.entropy -= double{w} * std::log(w);
    if (w >= min_weight) {
      row.entries.push_back({static_cast<int32_t>(j), w});
    } else {
      row.rest += w;
    }
  }
  return row;
}

// mean(V) is the one answer whose weights are all exactly the same float.
bool IsMean(std::span<const float> weights) {
  const float mean = static_cast<float>(1.0 / static_cast<double>(weights.size()));
  return std::all_of(weights.begin(), weights.end(), [&](float w) { return w == mean; });
}

// Counters of each head by itself, [heads][n], and whether they add up to the layer's.
struct HeadCounters {
  std::vector<std::vector<AttentionCounters>> of;
  bool add_up = true;
};

absl::StatusOr<HeadCounters> CountHeads(AttentionProbe& probe, const ProbeInput& layer,
                                        const AttentionParams& params,
                                        const std::vector<AttentionCounters>& all) {
  HeadCounters out;
  for (int32_t h = 0; h < layer.shape.heads; ++h) {
    const std::vector<float> rows = SliceHeads(layer, h, 1);
    ProbeInput one = layer;
    one.shape.heads = one.shape.kv_heads = 1;
    one.qkv = rows;
    const AttentionParams own = SliceHeadParams(params, layer.layers, layer.shape.heads, h, 1);
    ASSIGN_OR_RETURN(ProbeRun run, probe.Run(one, own, true));
    out.of.push_back(std::move(run.counters));
  }
  for (int32_t i = 0; i < layer.tokens; ++i) {
    int64_t cost = 0, near = 0;
    for (const auto& head : out.of) {
      cost += QueryCost(head[i]);
      near += head[i].near_queries;
    }
    out.add_up = out.add_up && cost == QueryCost(all[i]) && near == all[i].near_queries;
  }
  return out;
}

Gate GateOf(std::span<const float> weights, const AttentionCounters& layer,
            const AttentionCounters* own) {
  // Without counters of its own a head is near if any is and its weights are the mean's.
  const bool near =
      own != nullptr ? own->near_queries > 0 : layer.near_queries > 0 && IsMean(weights);
  const AttentionCounters& c = own != nullptr ? *own : layer;
  if (near) {
    return Gate::kNear;
  }
  if (c.qk_centroid > 0) {
    return Gate::kApproximated;
  }
  // By count: a weight of zero may also be a softmax that underflowed.
  return c.pv_exact < c.dense_equivalent_pv ? Gate::kSelected : Gate::kAll;
}

absl::Status ExplainLayer(AttentionProbe& probe, const ProbeInput& input, Explanation* out) {
  const int32_t n = input.tokens, heads = input.shape.heads;
  std::vector<int32_t> positions(n);
  std::iota(positions.begin(), positions.end(), 0);
  ASSIGN_OR_RETURN(const std::vector<float> weights,
                   probe.Weights(input, out->attention, positions));
  ASSIGN_OR_RETURN(const ProbeRun run, probe.Run(input, out->attention, true));
  ASSIGN_OR_RETURN(const HeadCounters own, CountHeads(probe, input, out->attention, run.counters));
  out->cost_is_own = out->cost_is_own && own.add_up;

  ExplainedLayer& layer = out->layers.emplace_back();
  layer.heads.resize(heads);
  for (int32_t i = 0; i < n; ++i) {
    const AttentionCounters& all = run.counters[i];
    layer.kv_bytes_read += all.kv_bytes_read;
    // Of f32 keys and values, once per KV head; all heads see as many keys.
    layer.kv_bytes_read_dense += (all.dense_equivalent() / heads) * input.shape.kv_heads *
                                 input.shape.head_dim * int64_t{sizeof(float)};
    for (int32_t h = 0; h < heads; ++h) {
      const AttentionCounters* mine = own.add_up ? &own.of[h][i] : nullptr;
      const auto row = std::span(weights).subspan((size_t(h) * n + i) * n, i + 1);
      WeightRow made = MakeRow(row, out->min_weight);
      made.gate = GateOf(row, all, mine);
      const double cost =
          mine != nullptr ? double(QueryCost(*mine)) : double(QueryCost(all)) / heads;
      ExplainedHead& head = layer.heads[h];
      head.interactions += cost + double(SharedCost(all)) / heads;
      head.interactions_dense += double(all.dense_equivalent()) / heads;
      head.near_share += made.gate == Gate::kNear ? 1.0 / n : 0.0;
      head.tokens_used_mean += double(made.tokens_used) / n;
      head.entropy_mean += made.entropy / n;
      head.rows.push_back(std::move(made));
    }
    out->interactions[i] += double(all.performed());
    out->interactions_dense[i] += double(all.dense_equivalent());
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Explanation> Explain(LabModel* lab, std::span<const int32_t> prompt,
                                    const AttentionParams& params, const ExplainOptions& options) {
  if (prompt.empty()) {
    return absl::InvalidArgumentError("the prompt holds no token");
  }
  const int64_t wanted = static_cast<int64_t>(prompt.size()) + options.new_tokens;
  const int64_t most = std::min<int64_t>(options.max_tokens, lab->config.max_position_embeddings);
  if (wanted > most) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the prompt has ", prompt.size(), " tokens and ", options.new_tokens,
        " are to be generated; explain takes ", most, " together (--max-tokens ",
        options.max_tokens, ", the model's positions ", lab->config.max_position_embeddings, ")"));
  }
  Explanation out;
  out.model = lab->name;
  out.weight_dtype = FormatOf(lab->weight_dtype).name;
  out.kv_heads = static_cast<int32_t>(lab->config.num_kv_heads);
  out.head_dim = static_cast<int32_t>(lab->config.head_dim);
  out.attention = params;
  out.min_weight = options.min_weight;

  QkvRecorder recorder(lab->backend);
  lab->backend->set_observer(&recorder);
  const absl::Status fed = Feed(lab, prompt, params, options.new_tokens, &out);
  lab->backend->set_observer(nullptr);
  RETURN_IF_ERROR(fed);

  const int32_t n = static_cast<int32_t>(out.tokens.size());
  out.interactions.resize(n);
  out.interactions_dense.resize(n);
  AttentionProbe probe(&lab->backend->inner());
  for (int32_t layer = 0; layer < recorder.layers(); ++layer) {
    RETURN_IF_ERROR(ExplainLayer(probe,
                                 {.shape = recorder.shape(),
                                  .layer = layer,
                                  .layers = recorder.layers(),
                                  .tokens = n,
                                  .qkv = recorder.qkv(layer)},
                                 &out));
  }
  return out;
}

}  // namespace alcca::lab
