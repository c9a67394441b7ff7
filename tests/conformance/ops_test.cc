// Every other op but attention, against the reference.

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "kernels/host/kv_cache_host.h"
#include "tests/conformance/backends.h"

namespace alcca {
namespace {

class OpsConformance : public ConformanceTest {};

TEST_P(OpsConformance, EmbedCopiesRowsOfEveryType) {
  const int32_t cols = 37;
  std::vector<uint16_t> raw(7 * 37);
  for (size_t i = 0; i < raw.size(); ++i) {
    raw[i] = static_cast<uint16_t>(i * 199);  // subnormals, infinities and NaNs among them
  }
  const std::vector<int32_t> tokens = {6, 0, 3, 3, 1};
  const Host floats = RandomHost(7, cols, 21);
  for (const HostTensor& table :
       {HostTensor{reinterpret_cast<const std::byte*>(raw.data()), DType::kF16, 7, cols},
        HostTensor{reinterpret_cast<const std::byte*>(raw.data()), DType::kBF16, 7, cols},
        floats.tensor()}) {
    const auto tuned = backend_->MakeEmbedding(table).value();
    const auto plain = reference_->MakeEmbedding(table).value();
    EXPECT_EQ(tuned->bytes(), 7 * 37 * DTypeBytes(table.dtype));
    const auto a = Upload(*backend_, Poison(5, cols)), b = Upload(*reference_, Poison(5, cols));
    backend_->Embed(a->view(), *tuned, tokens);
    reference_->Embed(b->view(), *plain, tokens);
    ExpectSameBits(Download(*backend_, a->view()), Download(*reference_, b->view()), "embed");
  }
}

TEST_P(OpsConformance, RmsNorm) {
  for (const int32_t cols : {1, 8, 33, 257, 4096}) {
    for (const int32_t rows : {1, 3, 17, 65}) {
      Host x = RandomHost(rows, cols, 22, 3.0f), w = RandomHost(1, cols, 23);
      for (int32_t k = 0; k < cols; ++k) {
        x.at(rows - 1, k) = rows > 1 ? 0.0f : 1e15f;  // eps alone; squares near the top of f32
      }
      const auto weight = backend_->MakeVector(w.tensor()).value();
      const auto in = Upload(*backend_, x), out = Upload(*backend_, Poison(rows, cols));
      const auto expected = Upload(*reference_, Poison(rows, cols));
      reference_->RmsNorm(expected->view(), Upload(*reference_, x)->view(),
                          *reference_->MakeVector(w.tensor()).value(), 1e-5f);
      const Host y = Download(*reference_, expected->view());
      const std::string what = std::to_string(rows) + " x " + std::to_string(cols);
      backend_->RmsNorm(out->view(), in->view(), *weight, 1e-5f);
      const Host first = Download(*backend_, out->view());
      ExpectNear(first, y, y, 1e-6, 1e-30, what);
      backend_->RmsNorm(in->view(), in->view(), *weight, 1e-5f);
      ExpectSameBits(Download(*backend_, in->view()), first, what + " in place");
      const auto one = Upload(*backend_, x.RowRange(0, 1));
      backend_->RmsNorm(one->view(), one->view(), *weight, 1e-5f);
      ExpectSameBits(Download(*backend_, one->view()), first.RowRange(0, 1), what + " alone");
    }
  }
}

TEST_P(OpsConformance, SwiGlu) {
  for (const int32_t cols : {1, 7, 33, 256, 2049, 14336}) {
    Host gate_up = RandomHost(5, 2 * cols, 24, 8.0f);
    gate_up.at(0, 0) = -1000.0f;
    gate_up.at(1, 0) = 1000.0f;
    gate_up.at(2, 0) = -88.5f;
    gate_up.at(3, 0) = 0.0f;
    const auto in = Upload(*backend_, gate_up), out = Upload(*backend_, Poison(5, cols));
    const auto expected = Upload(*reference_, Poison(5, cols));
    backend_->SwiGlu(out->view(), in->view());
    reference_->SwiGlu(expected->view(), Upload(*reference_, gate_up)->view());
    const Host y = Download(*reference_, expected->view());
    const Host actual = Download(*backend_, out->view());
    ExpectNear(actual, y, y, 6e-7, 1e-33, "cols " + std::to_string(cols));
    const auto one = Upload(*backend_, gate_up.RowRange(4, 1)),
               y1 = Upload(*backend_, Poison(1, cols));
    backend_->SwiGlu(y1->view(), one->view());
    ExpectSameBits(Download(*backend_, y1->view()), actual.RowRange(4, 1), "alone");
  }
  Host bad(1, 4, 1.0f);
  bad.at(0, 0) = std::numeric_limits<float>::quiet_NaN();
  const auto out = Upload(*backend_, Host(1, 2));
  backend_->SwiGlu(out->view(), Upload(*backend_, bad)->view());
  EXPECT_TRUE(std::isnan(Download(*backend_, out->view()).at(0, 0)));
}

TEST_P(OpsConformance, GatherRows) {
  const Host x = RandomHost(9, 21, 25);
  const auto in = Upload(*backend_, x), out = Upload(*backend_, Poison(4, 21));
  const std::vector<int32_t> rows = {0, 3, 3, 8};
  backend_->GatherRows(out->view(), in->view(), rows);
  const Host y = Download(*backend_, out->view());
  for (int32_t i = 0; i < 4; ++i) {
    ExpectSameBits(y.RowRange(i, 1), x.RowRange(rows[static_cast<size_t>(i)], 1), "gather");
  }
}

// Two sequences in one batch, one in the middle of a page, pages out of order.
TEST_P(OpsConformance, RopeAndStore) {
  for (const int32_t d : {2, 8, 64, 128}) {
    const KvShape kv_shape = {
        .layers = 2, .kv_heads = 2, .head_dim = d, .page_tokens = 4, .pages = 8};
    const AttentionShape shape = {
        .heads = 4, .kv_heads = 2, .head_dim = d, .rope_attention_factor = d == 64 ? 0.8f : 1.0f};
    const std::vector<int32_t> first_pages = {5, 2, 7}, second_pages = {1, 0};
    const AttentionParams dense;
    Batch batch;
    batch.token_ids.resize(12);
    for (int32_t i = 0; i < 9; ++i) {
      batch.positions.push_back(2 + i);
    }
    for (int32_t i = 0; i < 3; ++i) {
      batch.positions.push_back(4 + i);
    }
    batch.sequences.resize(2);
    batch.sequences[0] = {.query_start = 0,
                          .query_count = 9,
                          .kv_len = 11,
                          .pages = first_pages.data(),
                          .attention = &dense};
    batch.sequences[1] = {.query_start = 9,
                          .query_count = 3,
                          .kv_len = 7,
                          .pages = second_pages.data(),
                          .attention = &dense};
    const Host qkv = RandomHost(12, shape.qkv_cols(), 26);
    const size_t floats = kv_shape.PageBytes(1) * static_cast<size_t>(kv_shape.pages);
    std::vector<Host> rotated, caches;
    for (Backend* backend : {backend_.get(), reference_.get()}) {
      auto kv = backend->MakeKvCache(kv_shape).value();
      auto* host = dynamic_cast<KvCacheHost*>(kv.get());  // tests/cuda/ops_test.cc reads a device's
      if (host != nullptr) {
        std::fill_n(host->Keys(0, 0, 0), floats, -1.0f);
      }
      const auto x = Upload(*backend, qkv), frequencies = Frequencies(*backend, d, 1e6f);
      backend->BeginStep(batch);
      backend->RopeAndStore(x->view(), *kv, 1, batch, shape, *frequencies);
      backend->EndStep(batch);
      rotated.push_back(Download(*backend, x->view()));
      if (host != nullptr) {
        caches.emplace_back(1, static_cast<int32_t>(floats));
        caches.back().values.assign(host->Keys(0, 0, 0), host->Keys(0, 0, 0) + floats);
      }
    }
    const std::string what = "head_dim " + std::to_string(d);
    ExpectNear(rotated[0], rotated[1], Host(12, shape.qkv_cols(), 4.0f), 3e-7, 0, what);
    if (caches.size() == 2) {
      ExpectNear(caches[0], caches[1], Host(1, caches[0].cols, 4.0f), 3e-7, 0, what + " cache");
    }
    // The second sequence alone gives the same bits.
    Batch alone;
    alone.token_ids.resize(3);
    alone.positions = {4, 5, 6};
    alone.sequences = {batch.sequences[1]};
    alone.sequences[0].query_start = 0;
    auto kv = backend_->MakeKvCache(kv_shape).value();
    const auto x = Upload(*backend_, qkv.RowRange(9, 3));
    const auto frequencies = Frequencies(*backend_, d, 1e6f);
    backend_->BeginStep(alone);
    backend_->RopeAndStore(x->view(), *kv, 1, alone, shape, *frequencies);
    backend_->EndStep(alone);
    ExpectSameBits(Download(*backend_, x->view()), rotated[0].RowRange(9, 3), what + " alone");
  }
}

TEST_P(OpsConformance, BadVectorsAndBuffersAreRefused) {
  const Host two(2, 3);
  EXPECT_TRUE(absl::IsInvalidArgument(backend_->MakeVector(two.tensor()).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(backend_->Allocate(0, 3).status()));
  EXPECT_TRUE(
      absl::IsInvalidArgument(backend_->MakeEmbedding({nullptr, DType::kF32, 2, 2}).status()));
}

ALCCA_CONFORMANCE(OpsConformance);

TEST(CpuBackend, DescribesItself) {
  const auto one = MakeCpuBackend({.threads = 1, .isa = "portable", .limits = {}});
  EXPECT_EQ((*one)->Describe(), "cpu (portable, 1 thread)");
  const auto two = MakeCpuBackend({.threads = 2, .isa = "portable", .limits = {}});
  EXPECT_EQ((*two)->Describe(), "cpu (portable, 2 threads)");
}

TEST(CpuBackend, RefusesWhatItCannotRun) {
  EXPECT_TRUE(absl::IsInvalidArgument(MakeCpuBackend({.isa = "sse", .limits = {}}).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(MakeCpuBackend({.threads = -1, .limits = {}}).status()));
  EXPECT_TRUE(MakeCpuBackend({.limits = {}}).ok());
}

}  // namespace
}  // namespace alcca
