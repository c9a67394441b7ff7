// What the conformance suite cannot see from outside: keys and values as they lie on the device,
// operands written by the op before, the two int8 paths, and what memory is refused.

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "kernels/cuda/kv_cache.h"
#include "kernels/half.h"
#include "tests/conformance/backends.h"

namespace alcca::cuda_emulated {
namespace {

std::unique_ptr<Backend> Make(CudaOptions options) {
  if (options.memory_bytes == 0) {
    options.memory_bytes = size_t{256} << 20;
  }
  return MakeEmulatedCudaBackend(options).value();
}

std::unique_ptr<Matrix> MakeMatrix(Backend& backend, const Host& w, WeightDType dtype) {
  const HostTensor tensor = w.tensor();
  return backend.MakeMatrix({&tensor, 1}, dtype).value();
}

Host MatMul(Backend& backend, TensorView x, const Matrix& weight) {
  const auto out = Upload(backend, Poison(x.rows, weight.rows()));
  backend.MatMul(out->view(), x, weight, Accumulate::kOverwrite);
  return Download(backend, out->view());
}

template <typename E>
void ExpectStored(DType dtype, float (*rounded)(float)) {
  const auto backend = Make({.kv_dtype = dtype, .limits = {.batch_tokens = 16}});
  const KvShape kv_shape = {
      .layers = 2, .kv_heads = 2, .head_dim = 8, .page_tokens = 4, .pages = 5};
  const AttentionShape shape = {.heads = 4, .kv_heads = 2, .head_dim = 8};
  const auto kv = backend->MakeKvCache(kv_shape).value();
  const auto& cache = dynamic_cast<const KvCacheCuda&>(*kv);
  EXPECT_EQ(kv->bytes(), kv_shape.PageBytes(sizeof(E)) * 5);
  const std::vector<int32_t> pages = {3, 1};
  const AttentionParams dense;
  Batch batch;
  batch.token_ids.resize(5);
  batch.positions = {2, 3, 4, 5, 6};
  batch.sequences = {{.query_start = 0,
                      .query_count = 5,
                      .kv_len = 7,
                      .pages = pages.data(),
                      .attention = &dense}};
  const auto qkv = Upload(*backend, RandomHost(5, shape.qkv_cols(), 31));
  const auto frequencies = Frequencies(*backend, 8, 1e4f);
  backend->BeginStep(batch);
  backend->RopeAndStore(qkv->view(), *kv, 1, batch, shape, *frequencies);
  backend->EndStep(batch);
  const Host rows = Download(*backend, qkv->view());
  const size_t elements = kv_shape.PageBytes(1) * 5 / 4;  // of one layer's keys
  size_t written = 0;
  for (int32_t r = 0; r < 5; ++r) {
    const int32_t token = 2 + r, page = pages[static_cast<size_t>(token / 4)];
    for (int32_t h = 0; h < 2; ++h) {
      for (int32_t i = 0; i < 8; ++i) {
        const int32_t at = ((page * 2 + h) * 4 + token % 4) * 8 + i;
        // The emulated device's memory is ours to read once it is synchronised.
        EXPECT_EQ(ToFloat(cache.Keys<E>(1)[at]), rounded(rows.at(r, (4 + h) * 8 + i)));
        EXPECT_EQ(ToFloat(cache.Values<E>(1)[at]), rounded(rows.at(r, (6 + h) * 8 + i)));
        ++written;
      }
    }
  }
  size_t untouched = 0;
  for (size_t i = 0; i < elements; ++i) {
    EXPECT_TRUE(std::isnan(ToFloat(cache.Keys<E>(0)[i])));
    untouched += std::isnan(ToFloat(cache.Keys<E>(1)[i])) ? 1 : 0;
  }
  EXPECT_EQ(untouched, elements - written);
}

TEST(CudaBackend, StoresRotatedKeysInPages) {
  ExpectStored<float>(DType::kF32, [](float x) { return x; });
  ExpectStored<BFloat16>(DType::kBF16, [](float x) { return BFloat16ToFloat(FloatToBFloat16(x)); });
}

// 96 rows go through our kernel, 97 through the library and the epilogue.
TEST(CudaBackend, Int8BitsDoNotDependOnThePath) {
  const auto backend = Make({.limits = {.batch_tokens = 128}});
  Host x = RandomHost(128, 300, 41);
  for (int32_t t = 0; t < x.rows; t += 2) {
    for (int32_t i = 0; i < t / 2; ++i) {
      x.at(t, (t * 7 + i * 5) % 300) = 7.0f + static_cast<float>(i);  // all 300 columns in time
    }
  }
  const auto weight = MakeMatrix(*backend, RandomHost(75, 300, 42, 0.1f), WeightDType::kInt8);
  const Host many = MatMul(*backend, Upload(*backend, x)->view(), *weight);
  for (const int32_t rows : {1, 9, 96}) {
    const Host few = MatMul(*backend, Upload(*backend, x.RowRange(0, rows))->view(), *weight);
    ExpectSameBits(few, many.RowRange(0, rows), std::to_string(rows) + " rows");
  }
}

// RmsNorm and SwiGlu write operands beside their result; a product that reads them must give what
// it gives when it makes its own, and must not take them for another tensor's.
TEST(CudaBackend, OperandsOfTheOpBeforeAreTheRows) {
  for (const WeightDType dtype : {WeightDType::kBF16, WeightDType::kInt8}) {
    const auto backend = Make({.limits = {.batch_tokens = 16}});
    const auto weight = MakeMatrix(*backend, RandomHost(33, 96, 51, 0.1f), dtype);
    const auto norm = backend->MakeVector(RandomHost(1, 96, 52, 3.0f).tensor()).value();
    const auto out = backend->Allocate(9, 96).value();
    const auto x = Upload(*backend, RandomHost(9, 96, 53));
    backend->RmsNorm(out->view(), x->view(), *norm, 1e-5f);
    const Host normed = Download(*backend, out->view());
    const Host fused = MatMul(*backend, out->view(), *weight);
    ExpectSameBits(MatMul(*backend, Upload(*backend, normed)->view(), *weight), fused, "norm");
    backend->RmsNorm(out->view(), x->view(), *norm, 1e-5f);
    ExpectSameBits(MatMul(*backend, out->view().Head(4), *weight), fused.RowRange(0, 4), "head");

    const auto gate_up = Upload(*backend, RandomHost(9, 192, 54, 4.0f));
    backend->SwiGlu(out->view(), gate_up->view());
    const Host gated = Download(*backend, out->view());
    const Host from_gated = MatMul(*backend, out->view(), *weight);
    ExpectSameBits(MatMul(*backend, Upload(*backend, gated)->view(), *weight), from_gated,
                   "swiglu");

    // Written over since: by a gather, and by a product into it.
    backend->RmsNorm(out->view(), x->view(), *norm, 1e-5f);
    const std::vector<int32_t> reversed = {8, 7, 6, 5, 4, 3, 2, 1, 0};
    backend->GatherRows(out->view(), Upload(*backend, normed)->view(), reversed);
    const Host gathered = MatMul(*backend, out->view(), *weight);
    ExpectSameBits(gathered.RowRange(8, 1), fused.RowRange(0, 1), "gathered");
    const auto square = MakeMatrix(*backend, RandomHost(96, 96, 55, 0.1f), dtype);
    backend->RmsNorm(out->view(), x->view(), *norm, 1e-5f);
    backend->MatMul(out->view(), Upload(*backend, gated)->view(), *square, Accumulate::kOverwrite);
    const Host squared = Download(*backend, out->view());
    ExpectSameBits(MatMul(*backend, out->view(), *weight),
                   MatMul(*backend, Upload(*backend, squared)->view(), *weight), "product");
  }
}

TEST(CudaBackend, MemoryBeyondTheBudgetIsRefusedByName) {
  const auto backend = Make({.memory_bytes = size_t{1} << 20, .limits = {.batch_tokens = 4}});
  const auto kv = backend->MakeKvCache(
      {.layers = 4, .kv_heads = 8, .head_dim = 128, .page_tokens = 64, .pages = 100});
  EXPECT_TRUE(absl::IsResourceExhausted(kv.status()));
  EXPECT_NE(kv.status().message().find("keys and values"), std::string::npos);
  const Host wide(600, 1000);
  const HostTensor part = wide.tensor();
  EXPECT_TRUE(
      absl::IsResourceExhausted(backend->MakeMatrix({&part, 1}, WeightDType::kF32).status()));
  EXPECT_TRUE(absl::IsResourceExhausted(
      MakeEmulatedCudaBackend({.memory_bytes = size_t{1} << 50, .limits = {}}).status()));
}

TEST(CudaBackend, SamplingTakesItsMemoryAtStart) {
  const auto make = [](int32_t vocab) {
    return MakeEmulatedCudaBackend({.memory_bytes = size_t{4} << 20,
                                    .limits = {.sampling = {.rows = 64, .vocab = vocab}}})
        .status();
  };
  EXPECT_TRUE(make(8192).ok());  // 2 MiB of adjusted logits
  EXPECT_TRUE(absl::IsResourceExhausted(make(32000)));
  EXPECT_NE(make(32000).message().find("adjusted logits"), std::string::npos);
  EXPECT_TRUE(absl::IsInvalidArgument(make((1 << 19) + 1)));
}

TEST(CudaBackend, DescribesItself) {
  EXPECT_EQ(Make({.memory_bytes = size_t{64} << 20, .limits = {}})->Describe(),
            "cuda (emulated, sm_90, 64 MiB)");
}

}  // namespace
}  // namespace alcca::cuda_emulated
