#include "tools/lab/size.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "engine/model/tensor_table.h"

namespace alcca::lab {
namespace {

// Elements of the matrices that one token passes through.
double MatrixElements(const ModelConfig& c) {
  return double(c.num_layers) * double(LayerElements(c)) + double(HeadElements(c));
}

// A product and an accumulation of d elements, two operations each, per layer and query head.
double AttentionFlops(const ModelConfig& c, double keys) {
  return 4. * double(c.head_dim) * c.num_heads * c.num_layers * keys;
}

void SetTime(const SizeQuestion& q, StepRoof* step) {
  const double reading = q.bytes_per_second > 0 ? step->bytes / q.bytes_per_second : 0;
  const double computing = q.flops_per_second > 0 ? step->flops / q.flops_per_second : 0;
  step->by_bandwidth = reading >= computing;
  if (reading > 0 || computing > 0) {
    step->seconds = std::max(reading, computing);
  }
}

}  // namespace

absl::StatusOr<SizeAnswer> AnswerSize(const ModelConfig& model, SizeQuestion question) {
  MemoryLimits& limits = question.limits;
  if (limits.max_context < 1 || limits.max_num_seqs < 1 || question.prefill_chunk < 1) {
    return absl::InvalidArgumentError("context, concurrency and prefill chunk are at least 1");
  }
  if (limits.max_num_seqs > limits.max_batch_tokens) {
    return absl::InvalidArgumentError(
        absl::StrCat("concurrency (", limits.max_num_seqs, ") is above max_batch_tokens (",
                     limits.max_batch_tokens, "): every running sequence decodes a token a step"));
  }
  SizeAnswer out;
  out.kv_bytes_per_token = KvBytesPerToken(model, limits.kv_element_bytes);
  if (limits.kv_cache_bytes == 0) {
    const int64_t pages = (limits.max_context + limits.page_tokens - 1) / limits.page_tokens;
    limits.kv_cache_bytes =
        pages * limits.page_tokens * limits.max_num_seqs * out.kv_bytes_per_token;
  }
  ASSIGN_OR_RETURN(out.plan, PlanMemory(model, limits));
  const ModelFootprint& f = out.plan.footprint;
  out.index_bytes_per_token = static_cast<int64_t>(f.index_bytes) / out.plan.kv_tokens();
  out.parameters = MatrixElements(model);

  const double weights = double(f.weight_bytes - f.embedding_bytes);
  const double sequences = double(limits.max_num_seqs), context = double(limits.max_context);
  const double kv = double(out.kv_bytes_per_token);
  out.decode = {.bytes = weights + sequences * (context / 2) * kv,
                .flops = sequences * (2 * out.parameters + AttentionFlops(model, context / 2))};
  SetTime(question, &out.decode);
  if (out.decode.seconds) {
    out.decode_tokens_per_second = sequences / *out.decode.seconds;
    out.decode_tokens_per_second_each = 1 / *out.decode.seconds;
  }
  const double chunks = std::ceil(context / double(question.prefill_chunk));
  // Each chunk reads the weights, and the keys and values of the chunks before it. The output head
  // is computed for the last token alone.
  const double head = double(HeadElements(model));
  out.prefill = {.bytes = chunks * weights + (chunks + 1) / 2 * context * kv,
                 .flops = context * 2 * (out.parameters - head) + 2 * head +
                          AttentionFlops(model, context * (context + 1) / 2)};
  SetTime(question, &out.prefill);
  if (out.prefill.seconds) {
    out.prefill_tokens_per_second = context / *out.prefill.seconds;
  }
  return out;
}

}  // namespace alcca::lab
