// Recorded launches: that a stretch of ops that comes again is replayed, with what is in memory
// then; that one which differs is noticed; and that ops which are held back are not seen to be.

#include "kernels/cuda/recording.h"

#include <cmath>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "tests/conformance/backends.h"

namespace alcca::cuda_emulated {
namespace {

__global__ void AddOne(int32_t* out) {
  out[0] += 1;
}

class CudaGraphStream : public ::testing::Test {
 protected:
  ~CudaGraphStream() override { DestroyStream(stream_); }
  int32_t Value() {
    int32_t value = 0;
    CopyOut(stream_, &value, memory_.get(), sizeof(value));
    Synchronize(stream_);
    return value;
  }
  void Add() {
    Launch(AddOne, {.name = "add", .grid = 1, .block = 1, .stream = stream_},
           memory_.as<int32_t>());
  }
  DeviceBudget budget_{size_t{32} << 20};
  Stream stream_ = MakeStream();
  DeviceArray memory_ = budget_.Allocate(sizeof(int32_t), "test").value();
};

TEST_F(CudaGraphStream, WhatIsRecordedRunsWhenReplayedAndNotBefore) {
  FillBytes(stream_, memory_.get(), 0, sizeof(int32_t));
  BeginRecording(stream_);
  Add();
  Add();
  const LaunchGraph graph = EndRecording(stream_);
  EXPECT_EQ(Value(), 0);
  Replay(stream_, graph);
  Add();
  Replay(stream_, graph);
  EXPECT_EQ(Value(), 5);
  DestroyGraph(graph);
}

TEST_F(CudaGraphStream, WaitingOrAllocatingWhileRecordingIsRefusedAsADeviceWould) {
  BeginRecording(stream_);
  EXPECT_DEATH(Synchronize(stream_), "recording");
  EXPECT_DEATH((void)budget_.Allocate(8, "test"), "recording");
  DestroyGraph(EndRecording(stream_));
}

// Stretches of norms over vectors of four equal values: v becomes w * v / sqrt(v * v + eps).
class RecorderTest : public CudaGraphStream {
 protected:
  static constexpr int32_t kCols = 4, kRowsMax = 2;

  DeviceArray Vector(float value) {
    DeviceArray array = budget_.Allocate(kRowsMax * 2 * kCols * sizeof(float), "test").value();
    Set(array, value);
    return array;
  }
  void Set(const DeviceArray& array, float value) {
    const std::vector<float> values(kRowsMax * 2 * kCols, value);
    CopyIn(stream_, array.get(), values.data(), values.size() * sizeof(float));
    Synchronize(stream_);
  }
  float Get(const DeviceArray& array) {
    float value = 0;
    CopyOut(stream_, &value, array.get(), sizeof(value));
    Synchronize(stream_);
    return value;
  }
  static NormOp Norm(const DeviceArray& out, const DeviceArray& x, const DeviceArray& weight) {
    return {.out = out.as<float>(),
            .x = x.as<float>(),
            .weight = weight.as<float>(),
            .rows = 1,
            .cols = kCols,
            .eps = 0.0f};
  }
  // How often the stretch was replayed: 0 or 1.
  int64_t Run(const std::vector<RowOp>& ops, int32_t layer = 0, int32_t rows = 1) {
    const int64_t before = recorder_.replays();
    recorder_.Begin(layer, rows);
    for (const RowOp& op : ops) {
      recorder_.Do(op);
    }
    recorder_.End();
    return recorder_.replays() - before;
  }
  // So often that the stretch is replayed from now on.
  void Learn(const std::vector<RowOp>& ops) {
    Run(ops);
    ASSERT_EQ(Run(ops), 1);
    ASSERT_EQ(Run(ops), 1);
  }

  const DeviceContext device_ = {.stream = stream_,
                                 .budget = &budget_,
                                 .info = OpenDevice().value(),
                                 .batch_tokens = 2 * kRowsMax};
  const std::unique_ptr<MatMulCuda> matmul_ = MatMulCuda::Make(device_, true).value();
  Recorder recorder_{device_, *matmul_, kRowsMax};
  const DeviceArray x_ = Vector(1), a_ = Vector(0), b_ = Vector(0), one_ = Vector(1),
                    two_ = Vector(2);
  const std::vector<RowOp> ops_ = {Norm(a_, x_, one_), Norm(b_, a_, two_)};
};

TEST_F(RecorderTest, OpsRunOnceAreThenRecordedAndReplayed) {
  const std::vector<std::pair<float, int64_t>> runs = {{3, 0}, {-2, 1}, {5, 1}, {-7, 1}};
  for (const auto& [value, replays] : runs) {
    Set(x_, value);
    EXPECT_EQ(Run(ops_), replays) << value;
    EXPECT_EQ(Get(b_), value > 0 ? 2.0f : -2.0f);
  }
}

TEST_F(RecorderTest, EachLayerAndNumberOfRowsIsAStretchOfItsOwn) {
  Learn(ops_);
  EXPECT_EQ(Run(ops_, /*layer=*/1), 0);
  EXPECT_EQ(Run(ops_, /*layer=*/0, /*rows=*/2), 0);
  EXPECT_EQ(Run(ops_, /*layer=*/1), 1);
  EXPECT_EQ(Run(ops_), 1);
}

TEST_F(RecorderTest, MoreRowsThanTheLimitAreNeverRecorded) {
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(Run(ops_, 0, kRowsMax + 1), 0);
  }
}

TEST_F(RecorderTest, AChangedOperandIsNoticedAndLearnt) {
  const DeviceArray y = Vector(-3), three = Vector(3);
  const auto change = [&](auto&& set) {
    std::vector<RowOp> ops = ops_;
    set(std::get<NormOp>(ops[1]));
    return ops;
  };
  struct Case {
    const char* what;
    std::vector<RowOp> ops;
    float b;  // where x is 4, and b was 9
  };
  const std::vector<Case> cases = {
      {"x", change([&](NormOp& op) { op.x = y.as<float>(); }), -2.0f},
      {"out", change([&](NormOp& op) { op.out = y.as<float>(); }), 9.0f},
      {"weight", change([&](NormOp& op) { op.weight = three.as<float>(); }), 3.0f},
      {"eps", change([&](NormOp& op) { op.eps = 3.0f; }), 1.0f},
      {"rows", change([&](NormOp& op) { op.rows = 2; }), 2.0f},
      {"cols", change([&](NormOp& op) { op.cols = 8; }), 2.0f},
      {"kind",
       {ops_[0],
        SwiGluOp{.out = b_.as<float>(), .gate_up = a_.as<float>(), .rows = 1, .cols = kCols}},
       1.0f / (1.0f + std::exp(-1.0f))},
  };
  for (const Case& c : cases) {
    Learn(ops_);
    for (const int64_t replays : {0, 1}) {
      Set(x_, 4);
      Set(a_, 1);
      Set(b_, 9);
      Set(y, -3);
      EXPECT_EQ(Run(c.ops), replays) << c.what;
      EXPECT_NEAR(Get(b_), c.b, 1e-6f) << c.what;
    }
  }
}

TEST_F(RecorderTest, AProductIsToldByItsMatrixAndMode) {
  const auto matrix = [&](float value) {
    const Host w(kCols, kCols, value);
    const HostTensor part = w.tensor();
    return MatrixCuda::Make(device_, {&part, 1}, WeightDType::kF32, {}).value();
  };
  const auto ones = matrix(1), twos = matrix(2);
  const auto ops = [&](const MatrixCuda& weight, bool add) {
    return std::vector<RowOp>{MatMulOp{
        .out = b_.as<float>(), .x = x_.as<float>(), .rows = 1, .weight = &weight, .add = add}};
  };
  Learn(ops(*ones, false));
  Set(x_, 1);
  EXPECT_EQ(Run(ops(*twos, false)), 0);
  EXPECT_EQ(Get(b_), 8.0f);
  Learn(ops(*ones, false));
  EXPECT_EQ(Run(ops(*ones, true)), 0);
  EXPECT_EQ(Get(b_), 8.0f);
}

TEST_F(RecorderTest, ShorterAndLongerStretchesRunAsTheyAreCalled) {
  const DeviceArray c = Vector(0);
  std::vector<RowOp> longer = ops_;
  longer.push_back(Norm(c, b_, one_));
  const std::vector<RowOp> shorter = {ops_[0]};
  Learn(ops_);
  Set(x_, -4);
  EXPECT_EQ(Run(longer), 1) << "the part that is known";
  EXPECT_EQ(Get(b_), -2.0f);
  EXPECT_EQ(Get(c), -1.0f);
  Learn(longer);
  Set(x_, 4);
  Set(b_, 9);
  EXPECT_EQ(Run(shorter), 0);
  EXPECT_EQ(Get(a_), 1.0f);
  EXPECT_EQ(Get(b_), 9.0f) << "an op that was not called";
  Learn(shorter);
  Learn(ops_);
}

TEST_F(RecorderTest, WhatIsForgottenIsLearntAgain) {
  Learn(ops_);
  recorder_.Begin(0, 1);
  recorder_.Do(ops_[0]);
  Set(a_, 9);
  recorder_.Clear();  // in the middle of a stretch: what was held back runs
  EXPECT_EQ(Get(a_), 1.0f);
  EXPECT_EQ(Run(ops_), 0);
  EXPECT_EQ(Run(ops_), 1);
}

TEST_F(RecorderTest, OutsideAStretchOpsRunAtOnce) {
  Learn(ops_);
  Set(x_, -4);
  recorder_.Do(ops_[0]);
  EXPECT_EQ(Get(a_), -1.0f);
}

// Whatever may follow a stretch sees what the ops of the stretch have done, and the ops see nothing
// of what follows. Beside a backend that records nothing.
class HeldBackOps : public ::testing::Test {
 protected:
  static constexpr int32_t kDim = 8, kRows = 2;
  static constexpr AttentionShape kShape = {.heads = 1, .kv_heads = 1, .head_dim = kDim};
  static constexpr KvShape kKv = {
      .layers = 2, .kv_heads = 1, .head_dim = kDim, .page_tokens = 16, .pages = 1};

  // What is in the buffers after `steps` steps, in which `follow` comes after the stretch.
  using Follow = std::function<void(HeldBackOps&, Backend&, const Batch&)>;
  std::vector<Host> Run(int32_t graph_rows, int32_t steps, const Follow& follow) {
    const auto backend = MakeEmulatedCudaBackend({.memory_bytes = size_t{64} << 20,
                                                  .kv_dtype = DType::kF32,
                                                  .graph_rows = graph_rows,
                                                  .limits = {.batch_tokens = 8}})
                             .value();
    Backend& b = *backend;
    const HostTensor w = weights_.tensor();
    const auto matrix = b.MakeMatrix({&w, 1}, WeightDType::kBF16).value();
    const auto norm = b.MakeVector(RandomHost(1, kDim, 2).tensor()).value();
    const auto frequencies = Frequencies(b, kDim, 1e4f);
    kv_ = b.MakeKvCache(kKv).value();
    const AttentionParams params;
    const auto state = b.MakeAttentionState(kKv, params).value();
    table_ = b.MakeEmbedding(RandomHost(40, kDim, 3).tensor()).value();
    x_ = Upload(b, RandomHost(kRows, kDim, 4));
    normed_ = Upload(b, Poison(kRows, kDim));
    heads_ = Upload(b, Poison(kRows, kDim));
    qkv_ = Upload(b, RandomHost(kRows, kShape.qkv_cols(), 5));
    AttentionCounters counters;
    const int32_t page = 0;
    for (int32_t step = 0; step < steps; ++step) {
      Batch batch;
      const std::vector<int32_t> ids = {step, step + 20};
      batch.Append(ids, kRows * step, &page, &params, state.get(), &counters);
      b.BeginStep(batch);
      b.RopeAndStore(qkv_->view(), *kv_, 0, batch, kShape, *frequencies);
      b.Attention(heads_->view(), qkv_->view(), *kv_, 0, batch, kShape);
      b.RmsNorm(normed_->view(), x_->view(), *norm, 1e-5f);
      b.MatMul(qkv_->view(), normed_->view(), *matrix, Accumulate::kOverwrite);
      follow(*this, b, batch);
      b.EndStep(batch);
    }
    std::vector<Host> result;
    for (std::unique_ptr<Buffer>* buffer : {&x_, &normed_, &heads_, &qkv_}) {
      result.push_back(Download(b, (*buffer)->view()));
      buffer->reset();
    }
    table_.reset();
    kv_.reset();
    return result;
  }
  void ExpectSame(const Follow& follow) {
    for (const int32_t steps : {1, 2, 3, 4}) {
      const std::vector<Host> expected = Run(0, steps, follow), got = Run(8, steps, follow);
      for (size_t i = 0; i < expected.size(); ++i) {
        ExpectSameBits(got[i], expected[i], "buffer " + std::to_string(i));
      }
    }
  }

 public:
  const Host weights_ = RandomHost(kShape.qkv_cols(), kDim, 1);
  std::unique_ptr<Matrix> table_;
  std::unique_ptr<KvCache> kv_;
  std::unique_ptr<Buffer> x_, normed_, heads_, qkv_;
};

TEST_F(HeldBackOps, BeforeTheEndOfTheStep) {
  ExpectSame([](HeldBackOps&, Backend&, const Batch&) {});
}

TEST_F(HeldBackOps, BeforeTheirInputIsOverwritten) {
  ExpectSame([](HeldBackOps& t, Backend& b, const Batch& batch) {
    b.Embed(t.x_->view(), *t.table_, batch.token_ids);
  });
  ExpectSame([](HeldBackOps& t, Backend& b, const Batch&) {
    b.GatherRows(t.x_->view(), t.heads_->view(), std::vector<int32_t>{1, 0});
  });
}

TEST_F(HeldBackOps, BeforeAttentionReadsWhatTheyMade) {
  ExpectSame([](HeldBackOps& t, Backend& b, const Batch& batch) {
    b.Attention(t.heads_->view(), t.qkv_->view(), *t.kv_, 0, batch, kShape);
    b.SwiGlu(t.heads_->view().Head(1), TensorView{t.qkv_->view().data, DType::kF32, 1, 2 * kDim});
  });
}

TEST_F(HeldBackOps, BeforeTheyAreDownloaded) {
  std::vector<Host> recorded, plain;
  for (std::vector<Host>* to : {&recorded, &plain}) {
    Run(to == &plain ? 0 : 8, 4, [to](HeldBackOps& t, Backend& b, const Batch&) {
      to->push_back(Download(b, t.qkv_->view()));
    });
  }
  for (size_t i = 0; i < plain.size(); ++i) {
    ExpectSameBits(recorded[i], plain[i], "step " + std::to_string(i));
  }
}

}  // namespace
}  // namespace alcca::cuda_emulated
