#pragma once

// One launch of SampleKernel: what the host writes for each row, and what it reads back.

#include "kernels/cuda/context.h"

namespace alcca::ALCCA_GPU {

using Mass = unsigned long long;        // a sum of weights, or a count
constexpr float kBestMass = 0x1p44f;    // the weight of the best token
constexpr int32_t kVocabMax = 1 << 19;  // sums stay below 2^63

// One row's task, as it is copied to the device.
struct RowTask {
  double uniform;
  double min_p_gap;  // -inf: off
  float scale;       // 1 / temperature; 0: greedy
  float top_p;       // 1: off
  float repetition_penalty, presence_penalty, frequency_penalty;
  int32_t top_k;                  // 0: off
  int32_t adjusts;                // 0: logits are taken as they are
  int32_t scored;                 // -1: draw
  int32_t alternatives;           // -1: no log-probabilities
  int32_t first_alternative = 0;  // of the launch's list
  // From word `words` on: ids of prompt and output, masked ids, biases of three words each (id,
  // bits of the bias, room for the id's mark), and the set of allowed tokens, if there is one.
  int32_t words = 0, prompt_count = 0, output_count = 0, masked_count = 0, bias_count = 0;
  int32_t constrained = 0;
};

// One row's answer, as it is copied back. The host takes the logarithms.
struct RowAnswer {
  Mass sum;               // of the raw row's weights at temperature 1
  float greatest, logit;  // of the raw row; `logit` is the chosen token's
  int32_t token;
  int32_t failed;
};

struct Alternative {  // in no order
  int32_t token;
  float logit;
};

struct SampleLaunch {
  int32_t rows, vocab;
  const float* logits;   // [rows, vocab]
  float* adjusted;       // scratch, [rows, vocab]
  const RowTask* tasks;  // [rows]
  int32_t* words;
  RowAnswer* answers;  // [rows]
  Alternative* alternatives;
};
void SampleRows(Stream stream, const SampleLaunch& launch);

}  // namespace alcca::ALCCA_GPU
