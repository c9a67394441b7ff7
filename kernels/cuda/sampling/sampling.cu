// The host's half of sampling: lists go up in one copy, answers come back in one, and logarithms
// are taken here.

#include "kernels/cuda/sampling/sampling.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "kernels/cuda/sampling/sampling_kernel.h"

namespace alcca::ALCCA_GPU {
namespace {

constexpr size_t kWordsLeast = 1 << 16;      // 256 KiB of lists go up in one launch
constexpr int32_t kAlternativesPerRow = 32;  // on average

size_t Words(const SamplingRow& row) {
  if (row.scored >= 0) {
    return 0;
  }
  return (row.penalizes() ? row.prompt.size() + row.output.size() : 0) + row.masked.size() +
         3 * row.bias.size() + row.allowed.size();
}

class SamplerCudaAll final : public SamplerCuda {
 public:
  SamplerCudaAll(const DeviceContext& device, const SamplingLimits& limits)
      : device_(device),
        rows_max_(limits.rows),
        words_max_(std::max({kWordsLeast, size_t{3} * static_cast<size_t>(limits.row_ids),
                             static_cast<size_t>(limits.history)}) +
                   static_cast<size_t>(limits.constrained) * MaskWords(limits.vocab)),
        alternatives_max_(std::max(kAlternativesPerRow * limits.rows, limits.row_alternatives)),
        vocab_max_(limits.vocab) {}

  absl::Status Start() {
    const size_t up = rows_max_ * sizeof(RowTask) + words_max_ * sizeof(int32_t);
    const size_t down = rows_max_ * sizeof(RowAnswer) + alternatives_max_ * sizeof(Alternative);
    ASSIGN_OR_RETURN(host_up_, PinnedArray::Allocate(up));
    ASSIGN_OR_RETURN(host_down_, PinnedArray::Allocate(down));
    ASSIGN_OR_RETURN(up_, device_.budget->Allocate(up, "what sampling asks"));
    ASSIGN_OR_RETURN(down_, device_.budget->Allocate(down, "what sampling answers"));
    ASSIGN_OR_RETURN(adjusted_, device_.budget->Allocate(rows_max_ * vocab_max_ * sizeof(float),
                                                         "adjusted logits"));
    return absl::OkStatus();
  }

  void Sample(std::span<SampledRow> results, TensorView logits,
              std::span<const SamplingRow> rows) override {
    ALCCA_CHECK(static_cast<size_t>(logits.rows) == rows.size() && results.size() == rows.size());
    ALCCA_CHECK(static_cast<size_t>(logits.cols) <= vocab_max_ && results_.empty());
    vocab_ = logits.cols;
    for (size_t first = 0; first < rows.size();) {
      if (first > 0) {
        Synchronize(device_.stream);
        Finish();
      }
      const float* const piece = logits.f32() + first * static_cast<size_t>(vocab_);
      first += SamplePiece(results.subspan(first), piece, rows.subspan(first));
    }
  }

  void Finish() override {
    const auto* answers = host_down_.as<RowAnswer>();
    const auto* list = reinterpret_cast<const Alternative*>(answers + results_.size());
    for (size_t i = 0; i < results_.size(); ++i) {
      list += Fill(answers[i], list, rows_[i], &results_[i]);
    }
    results_ = {};
  }

 private:
  // As many of the first rows as fit; how many.
  size_t SamplePiece(std::span<SampledRow> results, const float* logits,
                     std::span<const SamplingRow> rows) {
    size_t count = 0, words = 0, alternatives = 0;
    for (; count < std::min(rows.size(), rows_max_); ++count) {
      const size_t row_words = Words(rows[count]);
      const auto row_alternatives = static_cast<size_t>(rows[count].alternatives(vocab_));
      if (words + row_words > words_max_ || alternatives + row_alternatives > alternatives_max_) {
        break;
      }
      words += row_words;
      alternatives += row_alternatives;
    }
    ALCCA_CHECK(count > 0);  // one row alone is within the limits
    results_ = results.first(count);
    rows_ = rows.first(count);
    auto* tasks = host_up_.as<RowTask>();
    auto* host_words = reinterpret_cast<int32_t*>(tasks + count);
    words = alternatives = 0;
    for (size_t i = 0; i < count; ++i) {
      tasks[i] = TaskOf(rows[i]);
      tasks[i].words = static_cast<int32_t>(words);
      tasks[i].first_alternative = static_cast<int32_t>(alternatives);
      words += WriteWords(rows[i], host_words + words, &tasks[i]);
      alternatives += static_cast<size_t>(std::max(tasks[i].alternatives, 0));
    }
    CopyIn(device_.stream, up_.get(), tasks, count * sizeof(RowTask) + words * sizeof(int32_t));
    auto* answers = down_.as<RowAnswer>();
    auto* list = reinterpret_cast<Alternative*>(answers + count);
    SampleRows(device_.stream, {.rows = static_cast<int32_t>(count),
                                .vocab = vocab_,
                                .logits = logits,
                                .adjusted = adjusted_.as<float>(),
                                .tasks = up_.as<RowTask>(),
                                .words = reinterpret_cast<int32_t*>(up_.as<RowTask>() + count),
                                .answers = answers,
                                .alternatives = list});
    CopyOut(device_.stream, host_down_.as<RowAnswer>(), answers,
            count * sizeof(RowAnswer) + alternatives * sizeof(Alternative));
    return count;
  }

  RowTask TaskOf(const SamplingRow& row) const {
    return {.uniform = row.uniform,
            .min_p_gap = row.min_p_gap(),
            .scale = row.greedy() ? 0.0f : static_cast<float>(1.0 / row.divisor()),
            .top_p = row.top_p,
            .repetition_penalty = row.repetition_penalty,
            .presence_penalty = row.presence_penalty,
            .frequency_penalty = row.frequency_penalty,
            .top_k = row.top_k < vocab_ ? std::max(row.top_k, 0) : 0,
            .adjusts = row.scored < 0 && row.adjusts() ? 1 : 0,
            .scored = row.scored,
            .alternatives = row.wants_logprobs() ? row.alternatives(vocab_) : -1};
  }

  size_t WriteWords(const SamplingRow& row, int32_t* words, RowTask* task) const {
    if (row.scored >= 0) {
      return 0;
    }
    int32_t* const begin = words;
    if (row.penalizes()) {
      words = std::copy(row.prompt.begin(), row.prompt.end(), words);
      words = std::copy(row.output.begin(), row.output.end(), words);
      task->prompt_count = static_cast<int32_t>(row.prompt.size());
      task->output_count = static_cast<int32_t>(row.output.size());
    }
    words = std::copy(row.masked.begin(), row.masked.end(), words);
    task->masked_count = static_cast<int32_t>(row.masked.size());
    for (const auto& [token, bias] : row.bias) {
      words[0] = token;
      std::memcpy(&words[1], &bias, sizeof(bias));
      words += 3;
    }
    task->bias_count = static_cast<int32_t>(row.bias.size());
    if (!row.allowed.empty()) {
      ALCCA_CHECK(row.allowed.size() == MaskWords(vocab_));
      std::memcpy(words, row.allowed.data(), row.allowed.size_bytes());
      words += row.allowed.size();
      task->constrained = 1;
    }
    return static_cast<size_t>(words - begin);
  }

  // How many of the list were this row's.
  size_t Fill(const RowAnswer& answer, const Alternative* list, const SamplingRow& row,
              SampledRow* result) const {
    result->failed = answer.failed != 0;
    TokenLogprob& choice = result->choice;
    choice.token = answer.token;
    choice.logprob = 0;
    choice.top.clear();
    const auto count = static_cast<size_t>(row.alternatives(vocab_));
    if (result->failed || !row.wants_logprobs()) {
      return count;
    }
    const double sum = static_cast<double>(answer.sum) / double{kBestMass};
    const auto log_sum = static_cast<float>(std::log(sum));
    choice.logprob = answer.logit - answer.greatest - log_sum;
    for (size_t i = 0; i < count; ++i) {
      choice.top.emplace_back(list[i].token, list[i].logit);
    }
    std::sort(choice.top.begin(), choice.top.end(), [](const auto& a, const auto& b) {
      return a.second != b.second ? a.second > b.second : a.first < b.first;
    });
    for (auto& [token, value] : choice.top) {
      value = value - answer.greatest - log_sum;
    }
    return count;
  }

  const DeviceContext& device_;
  const size_t rows_max_, words_max_, alternatives_max_, vocab_max_;
  PinnedArray host_up_, host_down_;
  DeviceArray up_, down_;
  DeviceArray adjusted_;  // [rows, vocab]
  int32_t vocab_ = 0;     // of the call
  // Of the launch in flight.
  std::span<SampledRow> results_;
  std::span<const SamplingRow> rows_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<SamplerCuda>> SamplerCuda::Make(const DeviceContext& device,
                                                               const SamplingLimits& limits) {
  if (limits.vocab > kVocabMax) {
    return absl::InvalidArgumentError(absl::StrCat("a vocabulary of ", limits.vocab,
                                                   " is above the ", kVocabMax,
                                                   " that sampling on CUDA holds"));
  }
  ALCCA_CHECK(limits.rows > 0 && limits.vocab > 0);
  auto sampler = std::make_unique<SamplerCudaAll>(device, limits);
  RETURN_IF_ERROR(sampler->Start());
  return sampler;
}

}  // namespace alcca::ALCCA_GPU
