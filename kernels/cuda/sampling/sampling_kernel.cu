// From logits to tokens, a block a row, without a sort. Logits are ordered by their bits; where a
// filter ends (top_k, top_p, the N best) is found digit by digit: a histogram of what each value of
// the next 11 bits weighs, then the value at which enough is reached. Weights are whole numbers of
// 2^-44 of the best token's, so their sums are exact in any order: neither the block's size nor
// the timing of its atomics can change a token.
//
// A row is read once for its greatest logit and once for the draw, once more for the sum that top_p
// needs, and three times for each filter's digits: 4 bytes a token from L2 or L1 after the first.

#include "kernels/cuda/sampling/sampling_kernel.h"

namespace alcca::ALCCA_GPU {
namespace {

constexpr int32_t kSamplingThreads = 512, kSamplingWarps = kSamplingThreads / kWarp;
constexpr int32_t kLoads = 8;  // of a thread at once
constexpr int32_t kDigitBits = 11, kBins = 1 << kDigitBits;

struct Found {
  int32_t index;
  Mass before, value;  // what lies before the index, and at it
};

struct SampleShared {
  Mass bins[kBins];
  Mass warps[kSamplingWarps];
  Found found;
  int32_t listed;
};

// --- Order -------------------------------------------------------------------------------------

constexpr uint32_t kOrderNan = 0xffffffffu, kOrderInfinity = 0xff800000u;
constexpr uint32_t kOrderMinusInfinity = 0x007fffffu;

// Integers in the order of floats: NaN above all, -0 equal to 0.
__device__ __forceinline__ uint32_t OrderOf(float x) {
  const uint32_t bits = x == 0.0f ? 0u : __float_as_uint(x);
  return x != x ? kOrderNan : (bits >> 31) != 0 ? ~bits : bits | 0x80000000u;
}
__device__ __forceinline__ float FromOrder(uint32_t order) {
  return __uint_as_float((order >> 31) != 0 ? order & 0x7fffffffu : ~order);
}

// The tokens that stay: those of a higher order, and of this one those up to `last`.
struct Cut {
  uint32_t order;
  int32_t last;
  __device__ __forceinline__ bool Keeps(uint32_t other, int32_t token) const {
    return other > order || (other == order && token <= last);
  }
};

// --- Over a row, by all threads of the block ---------------------------------------------------

// body(token, logit), several loads at once.
template <typename Body>
__device__ __forceinline__ void ForEachToken(const float* x, int32_t vocab, Body body) {
  for (int32_t base = threadIdx.x; base < vocab; base += kSamplingThreads * kLoads) {
    float values[kLoads];
#pragma unroll
    for (int32_t u = 0; u < kLoads; ++u) {
      const int32_t token = base + u * kSamplingThreads;
      values[u] = token < vocab ? x[token] : 0.0f;
    }
#pragma unroll
    for (int32_t u = 0; u < kLoads; ++u) {
      const int32_t token = base + u * kSamplingThreads;
      if (token < vocab) {
        body(token, values[u]);
      }
    }
  }
}

template <typename Fold>
__device__ __forceinline__ Mass BlockFold(SampleShared& shared, Mass x, Fold fold) {
#pragma unroll
  for (int offset = kWarp / 2; offset > 0; offset /= 2) {
    x = fold(x, __shfl_xor_sync(kFullMask, x, offset));
  }
  if (threadIdx.x % kWarp == 0) {
    shared.warps[threadIdx.x / kWarp] = x;
  }
  __syncthreads();
  x = shared.warps[0];
  for (int32_t w = 1; w < kSamplingWarps; ++w) {
    x = fold(x, shared.warps[w]);
  }
  __syncthreads();  // before the next call writes
  return x;
}

struct Best {
  int32_t token;
  float logit;
  bool usable;  // a number, and no NaN anywhere
};
__device__ __forceinline__ Best FindBest(SampleShared& shared, const float* x, int32_t vocab) {
  Mass best = 0;
  ForEachToken(x, vocab, [&](int32_t token, float logit) {
    const Mass own = static_cast<Mass>(OrderOf(logit)) << 32 | ~static_cast<uint32_t>(token);
    best = max(best, own);
  });
  best = BlockFold(shared, best, [](Mass a, Mass b) { return max(a, b); });
  const uint32_t order = static_cast<uint32_t>(best >> 32);
  return {static_cast<int32_t>(~static_cast<uint32_t>(best)), FromOrder(order),
          order > kOrderMinusInfinity && order < kOrderInfinity};
}

// The first of [0, count) up to which, itself included, values add up to more than goal(their sum),
// which is less than the sum. Each warp adds up a range; the one that the goal falls into is cut up
// again, until few are left for one warp to walk.
template <typename Value, typename Goal>
__device__ __forceinline__ Found FindPast(SampleShared& shared, int32_t count, Value value,
                                          Goal goal) {
  constexpr int32_t kWalk = 4 * kWarp;
  const int32_t lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  int32_t first = 0, last = count;
  Mass before = 0, wanted = 0;
  for (bool whole = true; whole || last - first > kWalk; whole = false) {
    const int32_t range = (last - first + kSamplingThreads - 1) / kSamplingThreads * kWarp;
    const int32_t begin = min(last, first + warp * range), end = min(last, begin + range);
    Mass sum = 0;
#pragma unroll 8
    for (int32_t i = begin + lane; i < end; i += kWarp) {
      sum += value(i);
    }
#pragma unroll
    for (int offset = kWarp / 2; offset > 0; offset /= 2) {
      sum += __shfl_xor_sync(kFullMask, sum, offset);
    }
    if (lane == 0) {
      shared.warps[warp] = sum;
    }
    __syncthreads();
    if (whole) {
      Mass all = 0;
      for (int32_t w = 0; w < kSamplingWarps; ++w) {
        all += shared.warps[w];
      }
      wanted = goal(all);
    }
    int32_t owner = 0;
    for (; owner < kSamplingWarps - 1 && before + shared.warps[owner] <= wanted; ++owner) {
      before += shared.warps[owner];
    }
    first = min(last, first + owner * range);
    last = min(last, first + range);
    __syncthreads();  // before the next sums are written
  }
  if (warp == 0) {
    for (int32_t base = first;; base += kWarp) {
      const int32_t i = base + lane;
      const Mass own = i < last ? value(i) : 0;
      Mass upto = own;
#pragma unroll
      for (int offset = 1; offset < kWarp; offset *= 2) {
        const Mass lower = __shfl_up_sync(kFullMask, upto, offset);
        upto += lane >= offset ? lower : 0;
      }
      const uint32_t past = __ballot_sync(kFullMask, before + upto > wanted);
      if (past != 0) {
        if (lane == __ffs(static_cast<int>(past)) - 1) {
          shared.found = {i, before + upto - own, own};
        }
        break;
      }
      before += __shfl_sync(kFullMask, upto, kWarp - 1);
    }
  }
  __syncthreads();
  return shared.found;  // written next after a barrier of the next call
}

// The highest order at and above which weights add up to `wanted` or more, what lies above it, and
// at it. weight(token, logit); all weights add up to `wanted` or more. Bin: what holds a sum; 64
// bits of shared memory have no atomic addition of their own and cost a loop.
struct Threshold {
  uint32_t order;
  Mass above, equal;
};
template <typename Bin, typename Weight>
__device__ __forceinline__ Threshold FindThreshold(SampleShared& shared, const float* x,
                                                   int32_t vocab, Mass wanted, Weight weight) {
  Bin* const bins = reinterpret_cast<Bin*>(shared.bins);
  Threshold out = {0, 0, 0};
  for (int32_t known = 32, shift = 0; known > 0; known = shift) {  // bits known, bits left
    shift = max(known - kDigitBits, 0);
    const int32_t digits = 1 << (known - shift);
    for (int32_t i = threadIdx.x; i < digits; i += kSamplingThreads) {
      bins[i] = 0;
    }
    __syncthreads();
    ForEachToken(x, vocab, [&](int32_t token, float logit) {
      const uint32_t order = OrderOf(logit);
      if (known == 32 || order >> known == out.order >> known) {
        const Bin own = weight(token, logit);
        if (own > 0) {
          atomicAdd(&bins[order >> shift & (digits - 1)], own);
        }
      }
    });
    __syncthreads();
    const Mass goal = wanted - out.above - 1;
    const Found digit = FindPast(
        shared, digits, [&](int32_t i) -> Mass { return bins[digits - 1 - i]; },
        [goal](Mass) { return goal; });
    out.order |= static_cast<uint32_t>(digits - 1 - digit.index) << shift;
    out.above += digit.before;
    out.equal = digit.value;
  }
  return out;
}

// The token at which `count` tokens of this order are reached.
__device__ __forceinline__ int32_t LastEqual(SampleShared& shared, const float* x, int32_t vocab,
                                             uint32_t order, Mass count) {
  return FindPast(
             shared, vocab,
             [&](int32_t token) -> Mass { return OrderOf(x[token]) == order ? 1 : 0; },
             [count](Mass) { return count - 1; })
      .index;
}

// --- The contract, step by step ----------------------------------------------------------------

constexpr uint32_t kInPrompt = 1u << 31;  // of a mark, whose other bits count the output
constexpr uint32_t kMinusInfinity = 0xff800000u;

__device__ __forceinline__ float Penalized(float logit, uint32_t mark, const RowTask& task) {
  if (mark == 0) {
    return logit;
  }
  const uint32_t count = mark & ~kInPrompt;
  logit =
      logit > 0.0f ? logit / task.repetition_penalty : __fmul_rn(logit, task.repetition_penalty);
  // Rounded as the other backends round: no multiply-add.
  logit = __fadd_rn(logit, -__fmul_rn(task.frequency_penalty, static_cast<float>(count)));
  return count > 0 ? __fadd_rn(logit, -task.presence_penalty) : logit;
}

// out = the adjusted logits. `out` holds marks first: where they fall one by one, logits follow in
// one sweep.
__device__ __forceinline__ void Adjust(const RowTask& task, const float* raw, int32_t* words,
                                       float* out, int32_t vocab) {
  const int32_t* const prompt = words + task.words;
  const int32_t* const output = prompt + task.prompt_count;
  const int32_t* const masked = output + task.output_count;
  int32_t* const biases =
      words + task.words + task.prompt_count + task.output_count + task.masked_count;
  uint32_t* const marks = reinterpret_cast<uint32_t*>(out);
  const int32_t first = threadIdx.x;
  for (int32_t token = first; token < vocab; token += kSamplingThreads) {
    marks[token] = 0;
  }
  __syncthreads();
  for (int32_t i = first; i < task.prompt_count; i += kSamplingThreads) {
    atomicOr(&marks[prompt[i]], kInPrompt);
  }
  for (int32_t i = first; i < task.output_count; i += kSamplingThreads) {
    atomicAdd(&marks[output[i]], 1u);
  }
  __syncthreads();
  for (int32_t i = first; i < task.bias_count; i += kSamplingThreads) {
    biases[3 * i + 2] = static_cast<int32_t>(marks[biases[3 * i]]);
  }
  __syncthreads();
  ForEachToken(raw, vocab, [&](int32_t token, float logit) {
    marks[token] = __float_as_uint(Penalized(logit, marks[token], task));
  });
  __syncthreads();
  for (int32_t i = first; i < task.bias_count; i += kSamplingThreads) {
    const int32_t token = biases[3 * i];
    const float biased = raw[token] + __int_as_float(biases[3 * i + 1]);
    const uint32_t mark = static_cast<uint32_t>(biases[3 * i + 2]);
    marks[token] = __float_as_uint(Penalized(biased, mark, task));
  }
  __syncthreads();
  for (int32_t i = first; i < task.masked_count; i += kSamplingThreads) {
    marks[masked[i]] = kMinusInfinity;
  }
  if (task.constrained != 0) {  // a warp's tokens share a word
    const int32_t* const allowed = biases + 3 * task.bias_count;
    for (int32_t token = first; token < vocab; token += kSamplingThreads) {
      if ((static_cast<uint32_t>(allowed[token / 32]) >> (token % 32) & 1u) == 0) {
        marks[token] = kMinusInfinity;
      }
    }
  }
  __syncthreads();
}

// The `count` best tokens.
__device__ __forceinline__ void ListBest(SampleShared& shared, const float* x, int32_t vocab,
                                         int32_t count, Alternative* list) {
  const Mass wanted = static_cast<Mass>(count);
  const Threshold least =
      FindThreshold<uint32_t>(shared, x, vocab, wanted, [](int32_t, float) { return 1u; });
  Cut cut = {least.order, vocab};
  if (least.above + least.equal > wanted) {
    cut.last = LastEqual(shared, x, vocab, least.order, wanted - least.above);
  }
  if (threadIdx.x == 0) {
    shared.listed = 0;
  }
  __syncthreads();
  ForEachToken(x, vocab, [&](int32_t token, float logit) {
    if (cut.Keeps(OrderOf(logit), token)) {
      list[atomicAdd(&shared.listed, 1)] = {token, logit};
    }
  });
}

__device__ __forceinline__ int32_t Draw(SampleShared& shared, const RowTask& task, const float* x,
                                        float greatest, int32_t vocab) {
  const float scale = task.scale;
  const auto mass = [=](float logit) {
    return static_cast<Mass>(expf((logit - greatest) * scale) * kBestMass);
  };
  const auto one = [](int32_t, float) { return 1u; };
  Cut cut = {0, vocab};
  if (task.top_k > 0) {
    const Mass count = static_cast<Mass>(task.top_k);
    cut.order = FindThreshold<uint32_t>(shared, x, vocab, count, one).order;
  }
  if (task.top_p < 1.0f) {
    const uint32_t kept = cut.order;
    Mass total = 0;
    ForEachToken(x, vocab,
                 [&](int32_t, float logit) { total += OrderOf(logit) >= kept ? mass(logit) : 0; });
    total = BlockFold(shared, total, [](Mass a, Mass b) { return a + b; });
    const double share = ceil(static_cast<double>(task.top_p) * static_cast<double>(total));
    const Mass wanted = min(total, max(static_cast<Mass>(share), static_cast<Mass>(1)));
    // All tokens that weigh no more than this are together no more than what may go: most of a
    // vocabulary never meets the histogram.
    const Mass little = (total - wanted) / static_cast<Mass>(vocab);
    const Threshold least =
        FindThreshold<Mass>(shared, x, vocab, wanted, [&](int32_t, float logit) -> Mass {
          const Mass own = OrderOf(logit) >= kept ? mass(logit) : 0;
          return own > little ? own : 0;
        });
    cut.order = least.order;
    const Mass own = mass(FromOrder(least.order));
    const Mass equals = (wanted - least.above + own - 1) / own;
    if (equals * own < least.equal) {
      cut.last = LastEqual(shared, x, vocab, least.order, equals);
    }
  }
  if (task.min_p_gap > -1e300) {
    const double bound = static_cast<double>(greatest) + task.min_p_gap;
    const float rounded = static_cast<float>(bound);
    const uint32_t order = OrderOf(rounded) + (static_cast<double>(rounded) < bound ? 1 : 0);
    if (order > cut.order) {
      cut = {order, vocab};
    }
  }
  const double uniform = task.uniform;
  return FindPast(
             shared, vocab,
             [&](int32_t token) -> Mass {
               const float logit = x[token];
               return cut.Keeps(OrderOf(logit), token) ? mass(logit) : 0;
             },
             [uniform](Mass all) {
               return min(all - 1, static_cast<Mass>(uniform * static_cast<double>(all)));
             })
      .index;
}

__global__ __launch_bounds__(kSamplingThreads) void SampleKernel(
    const float* logits, float* adjusted, const RowTask* tasks, int32_t* words, RowAnswer* answers,
    Alternative* alternatives, int32_t vocab) {
  ALCCA_SHARED(SampleShared, shared);
  const RowTask task = tasks[blockIdx.x];
  const size_t row = static_cast<size_t>(blockIdx.x) * vocab;
  const float* const raw = logits + row;
  RowAnswer answer = {0, 0.0f, 0.0f, max(task.scored, 0), 0};
  Best best = {0, 0.0f, true};
  if (task.alternatives >= 0 || task.adjusts == 0) {
    best = FindBest(shared, raw, vocab);
  }
  if (best.usable && task.alternatives >= 0) {
    const float greatest = best.logit;
    ForEachToken(raw, vocab, [&](int32_t, float logit) {
      answer.sum += static_cast<Mass>(expf(logit - greatest) * kBestMass);
    });
    answer.sum = BlockFold(shared, answer.sum, [](Mass a, Mass b) { return a + b; });
    answer.greatest = greatest;
    if (task.alternatives > 0) {
      ListBest(shared, raw, vocab, task.alternatives, alternatives + task.first_alternative);
    }
  }
  if (best.usable && task.scored < 0) {
    const float* x = raw;
    if (task.adjusts != 0) {
      Adjust(task, raw, words, adjusted + row, vocab);
      best = FindBest(shared, adjusted + row, vocab);
      x = adjusted + row;
    }
    answer.token = best.token;
    if (best.usable && task.scale > 0.0f) {
      answer.token = Draw(shared, task, x, best.logit, vocab);
    }
  }
  if (threadIdx.x == 0) {
    answer.logit = raw[answer.token];
    answer.failed = best.usable ? 0 : 1;
    answers[blockIdx.x] = answer;
  }
}

}  // namespace

void SampleRows(Stream stream, const SampleLaunch& launch) {
  Launch(SampleKernel,
         {.name = "sample",
          .grid = static_cast<unsigned>(launch.rows),
          .block = kSamplingThreads,
          .stream = stream},
         launch.logits, launch.adjusted, launch.tasks, launch.words, launch.answers,
         launch.alternatives, launch.vocab);
}

}  // namespace alcca::ALCCA_GPU
