#include "tests/testing/fake_model.h"

#include <cstdio>
#include <limits>
#include <utility>

#include "absl/status/status.h"
#include "base/check.h"

namespace alcca::testing {
namespace {

std::atomic<int64_t> live_states_count = 0;

// SplitMix64.
uint64_t Mix(uint64_t x) {
  x += 0x9E3779B97F4A7C15;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EB;
  return x ^ (x >> 31);
}

// Append-only, as a real one: a sequence that starts again must bring a new one.
class FakeState final : public AttentionState {
 public:
  FakeState() { ++live_states_count; }
  ~FakeState() override { --live_states_count; }
  size_t bytes() const override { return 8 * static_cast<size_t>(tokens); }
  double build_seconds() const override { return 1e-6 * tokens; }
  int32_t tokens = 0;
};

// Field `number` of a protobuf message, wire type 2.
std::string Bytes(int number, const std::string& value) {
  ALCCA_CHECK(value.size() < 128);
  return std::string{static_cast<char>(number << 3 | 2), static_cast<char>(value.size())} + value;
}

std::string Varint(int number, int value) {
  ALCCA_CHECK(value < 128);
  std::string out{static_cast<char>(number << 3 & 0x7F), static_cast<char>(value)};
  if (number >= 16) {
    out = {static_cast<char>((number << 3 & 0x7F) | 0x80), static_cast<char>(number >> 4),
           static_cast<char>(value)};
  }
  return out;
}

enum PieceType { kNormal = 1, kUnknown = 2, kControl = 3, kByte = 6 };

std::string Piece(const std::string& text, PieceType type) {
  return Bytes(1, Bytes(1, text) + Varint(3, type));
}

}  // namespace

FakeModel::FakeModel(FakeModelOptions options)
    : options_(std::move(options)),
      shape_{.layers = 1,
             .kv_heads = 1,
             .head_dim = 1,
             .page_tokens = options_.page_tokens,
             .pages = options_.pages},
      memory_(size_t(options_.pages) * options_.page_tokens) {}

int64_t FakeModel::live_states() {
  return live_states_count;
}

absl::StatusOr<std::unique_ptr<AttentionState>> FakeModel::MakeAttentionState(
    const AttentionParams& params) {
  if (params.k == options_.stateless_k) {
    return absl::ResourceExhaustedError("no memory for the key index");
  }
  return std::make_unique<FakeState>();
}

absl::StatusOr<std::unique_ptr<AttentionState>> FakeModel::ForkAttentionState(
    const AttentionFork& fork) {
  if (options_.out_of_forks) {
    return absl::ResourceExhaustedError("no memory for a fork");
  }
  auto state = std::make_unique<FakeState>();
  state->tokens = fork.tokens;
  ALCCA_CHECK(static_cast<const FakeState*>(fork.from)->tokens >= fork.tokens);
  const int32_t final_pages = fork.tokens / 2 / shape_.page_tokens;
  ALCCA_CHECK(std::equal(fork.pages, fork.pages + final_pages, fork.from_pages));
  for (int32_t t = final_pages * shape_.page_tokens; t < fork.tokens; ++t) {
    Slot(fork.pages, t) = Slot(fork.from_pages, t);
  }
  return state;
}

uint64_t& FakeModel::Slot(const int32_t* pages, int32_t position) {
  const int32_t page = pages[position / shape_.page_tokens];
  ALCCA_CHECK(page >= 0 && page < shape_.pages);
  return memory_[size_t(page) * shape_.page_tokens + position % shape_.page_tokens];
}

void FakeModel::Store(const Batch& batch, const BatchSequence& sequence) {
  auto& state = static_cast<FakeState&>(*sequence.state);
  ALCCA_CHECK(sequence.query_count > 0);
  const ModeTraits& mode = TraitsOf(sequence.attention->mode);
  if ((!mode.keeps_state || mode.of_keys) && state.tokens == 0) {
    state.tokens = sequence.kv_len - sequence.query_count;  // found in the prefix cache
  }
  ALCCA_CHECK(state.tokens == sequence.kv_len - sequence.query_count);
  for (int32_t r = 0; r < sequence.query_count; ++r) {
    const int32_t row = sequence.query_start + r, position = state.tokens++;
    ALCCA_CHECK(batch.positions[row] == position);
    Slot(sequence.pages, position) = Mix(uint64_t(position) << 32 | uint64_t(batch.token_ids[row]));
    AttentionCounters& c = *sequence.counters;
    c.queries += 1;
    c.qk_exact += position + 1;
    c.dense_equivalent_qk += position + 1;
  }
}

void FakeModel::RowLogits(const Batch& batch, const BatchSequence& sequence, int32_t row,
                          float* out) {
  const int32_t position = batch.positions[row];
  uint64_t hash = 0;
  for (int32_t p = 0; p <= position; ++p) {
    hash = Mix(hash ^ Slot(sequence.pages, p));
  }
  for (int32_t token = 0; token < options_.vocab_size; ++token) {
    out[token] = static_cast<float>(Mix(hash + uint64_t(token)) >> 40) * 0x1p-24f * 6.0f - 3.0f;
  }
  for (const int32_t token : options_.likely) {
    out[token] += 8.0f;
  }
  if (!options_.script.empty()) {
    out[options_.script[position % options_.script.size()]] += 100.0f;
  }
  if (batch.token_ids[row] == options_.nan_after) {
    out[0] = std::numeric_limits<float>::quiet_NaN();
  }
}

std::span<SampledRow> FakeModel::Forward(const Batch& batch, std::span<const SamplingRow> sampling,
                                         absl::FunctionRef<void()> meanwhile) {
  if (!options_.asynchronous) {
    meanwhile();
  }
  Logits(batch);
  ALCCA_CHECK(sampling.size() == batch.logit_rows.size());
  sampled_.resize(sampling.size());
  const TensorView logits = {logits_.data(), DType::kF32, static_cast<int32_t>(sampling.size()),
                             options_.vocab_size};
  backend_->Sample(sampled_, logits, sampling);
  if (options_.asynchronous) {
    meanwhile();
  }
  return sampled_;
}

std::span<const float> FakeModel::Logits(const Batch& batch) {
  if (options_.on_forward) {
    options_.on_forward(batch);
  }
  int32_t rows = 0;
  for (const BatchSequence& sequence : batch.sequences) {
    ALCCA_CHECK(sequence.query_start == rows);
    rows += sequence.query_count;
    Store(batch, sequence);
  }
  ALCCA_CHECK(rows == batch.tokens() && batch.positions.size() == batch.token_ids.size());
  logits_.resize(batch.logit_rows.size() * options_.vocab_size);
  float* out = logits_.data();
  size_t i = 0;
  int32_t last = -1;
  for (const int32_t row : batch.logit_rows) {
    ALCCA_CHECK(row > last && row < rows);
    last = row;
    while (row >= batch.sequences[i].query_start + batch.sequences[i].query_count) {
      ++i;
    }
    RowLogits(batch, batch.sequences[i], row, out);
    out += options_.vocab_size;
  }
  return logits_;
}

SentencePieceTokenizer MakeByteTokenizer(const std::vector<std::string>& pieces,
                                         bool dummy_prefix) {
  std::string model = Piece("<unk>", kUnknown) + Piece("<s>", kControl) + Piece("</s>", kControl);
  for (int byte = 0; byte < 256; ++byte) {
    char name[8];
    std::snprintf(name, sizeof(name), "<0x%02X>", byte);
    model += Piece(name, kByte);
  }
  for (const std::string& piece : pieces) {
    model += Piece(piece, kNormal);
  }
  model += Bytes(2, Varint(3, 2) + Varint(35, 1));  // trainer: BPE, byte_fallback
  model += Bytes(
      3, Bytes(1, "identity") + Varint(3, dummy_prefix ? 1 : 0) + Varint(4, 0) + Varint(5, 1));
  absl::StatusOr<SentencePieceTokenizer> tokenizer =
      SentencePieceTokenizer::FromBytes(model, "byte tokenizer");
  if (!tokenizer.ok()) {
    std::fprintf(stderr, "%s\n", tokenizer.status().ToString().c_str());
  }
  ALCCA_CHECK(tokenizer.ok());
  return *std::move(tokenizer);
}

}  // namespace alcca::testing
