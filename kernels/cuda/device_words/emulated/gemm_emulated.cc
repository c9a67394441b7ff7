// The library's products as plain loops.

#include "kernels/cuda/device_words/gemm.h"
#include "kernels/half.h"

namespace alcca::cuda_emulated {
namespace {

class GemmEmulated final : public Gemm {
 public:
  explicit GemmEmulated(Stream stream) : stream_(stream) {}

  void BFloat16s(float* out, const BFloat16* x, const BFloat16* w, const Shape& shape,
                 bool add) override {
    Enqueue(stream_, [=] {
      ForEach(shape, [&](size_t m, size_t n) {
        Write(out[m * shape.n + n], Dot(x + m * shape.stride, w + n * shape.stride, shape.k), add);
      });
    });
  }

  absl::Status CheckFloat8s() override { return absl::OkStatus(); }

  void Float8s(float* out, const Float8* x, const float* x_scales, const Float8* w,
               const float* w_scales, const Shape& shape, bool add) override {
    Enqueue(stream_, [=] {
      ForEach(shape, [&](size_t m, size_t n) {
        const float sum = Dot(x + m * shape.stride, w + n * shape.stride, shape.k);
        Write(out[m * shape.n + n], sum * x_scales[m] * w_scales[n], add);
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
  static float Value(BFloat16 x) { return ToFloat(x); }
  static float Value(Float8 x) { return Float8ToFloat(x.bits); }
  // Backwards in k: its own order, as a library has.
  template <typename E>
  static float Dot(const E* x, const E* w, int32_t count) {
    float sum = 0.0f;
    for (int32_t k = count - 1; k >= 0; --k) {
      sum += Value(x[k]) * Value(w[k]);
    }
    return sum;
  }
  static void Write(float& out, float value, bool add) { out = add ? out + value : value; }
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
