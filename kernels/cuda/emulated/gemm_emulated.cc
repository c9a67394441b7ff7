// The library's products as plain loops.

#include "kernels/cuda/gemm.h"
#include "kernels/half.h"

namespace alcca::cuda_emulated {
namespace {

class GemmEmulated final : public Gemm {
 public:
  explicit GemmEmulated(Stream stream) : stream_(stream) {}

  void BFloat16s(float* out, const BFloat16* x, const BFloat16* w, const Shape& shape,
                 bool add) override {
    Enqueue(stream_, [=] {
      // Backwards in k: its own order, as a library has.
      ForEach(shape, [&](size_t m, size_t n) {
        float sum = 0.0f;
        for (int32_t k = shape.k - 1; k >= 0; --k) {
          sum += ToFloat(x[m * shape.stride + k]) * ToFloat(w[n * shape.stride + k]);
        }
        float& y = out[m * shape.n + n];
        y = add ? y + sum : sum;
      });
    });
  }

  absl::Status CheckFloat8s() override { return absl::OkStatus(); }

  void Float8s(float* out, const Float8* x, const float* x_scales, const Float8* w,
               const float* w_scales, const Shape& shape, bool add) override {
    Enqueue(stream_, [=] {
      ForEach(shape, [&](size_t m, size_t n) {
        float sum = 0.0f;
        for (int32_t k = shape.k - 1; k >= 0; --k) {
          sum += Float8ToFloat(x[m * shape.stride + k].bits) *
                 Float8ToFloat(w[n * shape.stride + k].bits);
        }
        const float scaled = sum * x_scales[m] * w_scales[n];
        float& y = out[m * shape.n + n];
        y = add ? y + scaled : scaled;
      });
    });
  }

  void Int8s(int32_t* out, const int8_t* x, const int8_t* w, const Shape& shape) override {
    Enqueue(stream_, [=] {
      ForEach(shape, [&](size_t m, size_t n) {
        int32_t sum = 0;
        for (int32_t k = 0; k < shape.k; ++k) {
          sum += int32_t{x[m * shape.stride + k]} * w[n * shape.stride + k];
        }
        out[m * shape.n + n] = sum;
      });
    });
  }

 private:
  template <typename Body>
  static void ForEach(const Shape& shape, Body body) {
    for (int32_t m = 0; m < shape.m; ++m) {
      for (int32_t n = 0; n < shape.n; ++n) {
        body(static_cast<size_t>(m), static_cast<size_t>(n));
      }
    }
  }
  Stream stream_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Gemm>> Gemm::Make(const DeviceContext& device) {
  return std::make_unique<GemmEmulated>(device.stream);
}

}  // namespace alcca::cuda_emulated
