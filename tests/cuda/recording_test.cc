// Recorded launches: that a step's second of its kind is replayed, with what is in memory then, and
// that nothing a replay reads has moved since.

#include "kernels/cuda/recording.h"

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
  DeviceBudget budget_{size_t{1} << 20};
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

// A norm whose input changes between calls.
class CudaGraphRepeat : public ::testing::Test {
 protected:
  // Whether `ops` was called; the result must be right either way.
  bool Calls(int32_t rows, float value) {
    const Host table(1, 4, value);
    const auto source = backend_->MakeEmbedding(table.tensor()).value();
    const std::vector<int32_t> ids(static_cast<size_t>(rows), 0);
    const TensorView x = x_->view().Head(rows), out = out_->view().Head(rows);
    backend_->Embed(x, *source, ids);
    bool called = false;
    backend_->Repeat(*recording_, rows, [&] {
      called = true;
      backend_->RmsNorm(out, x, *weight_, 0.0f);
    });
    const Host got = Download(*backend_, out);
    for (const float y : got.values) {
      EXPECT_NEAR(y, value > 0 ? 1.0f : -1.0f, 1e-6f) << rows << " rows of " << value;
    }
    return called;
  }
  std::unique_ptr<Backend> backend_ =
      MakeEmulatedCudaBackend(
          {.memory_bytes = size_t{128} << 20, .graph_rows = 2, .limits = {.batch_tokens = 8}})
          .value();
  const std::unique_ptr<Buffer> weight_ = Upload(*backend_, Host(1, 4, 1.0f));
  std::unique_ptr<Buffer> x_ = backend_->Allocate(8, 4).value();
  std::unique_ptr<Buffer> out_ = backend_->Allocate(8, 4).value();
  std::unique_ptr<Recording> recording_ = backend_->MakeRecording();
};

TEST_F(CudaGraphRepeat, OpsAreCalledTwiceForEachNumberOfRowsAndThenReplayed) {
  EXPECT_TRUE(Calls(1, 2.0f));
  EXPECT_TRUE(Calls(1, -3.0f)) << "recorded";
  EXPECT_FALSE(Calls(1, 5.0f));
  EXPECT_TRUE(Calls(2, 2.0f)) << "another number of rows";
  EXPECT_FALSE(Calls(1, -7.0f));
  EXPECT_TRUE(Calls(2, -2.0f));
  EXPECT_FALSE(Calls(2, 4.0f));
}

TEST_F(CudaGraphRepeat, MoreRowsThanTheLimitAreNeverRecorded) {
  for (int i = 0; i < 4; ++i) {
    EXPECT_TRUE(Calls(3, 1.0f));
  }
}

}  // namespace
}  // namespace alcca::cuda_emulated
