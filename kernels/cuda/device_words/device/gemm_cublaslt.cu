// cuBLASLt behind gemm.h. Row-major [m, n] = x w^T is cuBLASLt's column-major D [n, m] = op(A) B
// with A = w [k, n] transposed and B = x [k, m], the only layout that its integer kernels take.
//
// The heuristic is asked once per shape and the answer kept: it costs tens of microseconds. Shapes
// are few: a step's rows, times the matrices of a layer.

#include <cublasLt.h>

#include <initializer_list>
#include <map>
#include <tuple>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "kernels/cuda/device_words/gemm.h"

namespace alcca::cuda {
namespace {

constexpr size_t kWorkspaceBytes = size_t{32} << 20;  // what NVIDIA advises for Hopper
constexpr size_t kAlgorithmsMax = 8192;

enum class Kind : uint8_t { kBFloat16, kFloat8, kInt8 };

// One scale for each row of x and of w, in f32.
struct Scales {
  const float* x = nullptr;
  const float* w = nullptr;
};

void Check(cublasStatus_t status, const char* what) {
  if (status != CUBLAS_STATUS_SUCCESS) {
    DeviceFault(absl::StrCat("cuBLASLt: ", what, ": ", cublasLtGetStatusString(status)));
  }
}

// Descriptors of one product, destroyed with it.
class Descriptors {
 public:
  Descriptors(Kind kind, const Gemm::Shape& s, const Scales& scales) {
    const bool integers = kind == Kind::kInt8;
    const cudaDataType_t in = kind == Kind::kBFloat16 ? CUDA_R_16BF
                              : integers              ? CUDA_R_8I
                                                      : CUDA_R_8F_E4M3;
    const cudaDataType_t out = integers ? CUDA_R_32I : CUDA_R_32F;
    Check(cublasLtMatmulDescCreate(&operation, integers ? CUBLAS_COMPUTE_32I : CUBLAS_COMPUTE_32F,
                                   out),
          "MatmulDescCreate");
    const auto set = [this](cublasLtMatmulDescAttributes_t attribute, const auto& value) {
      Check(cublasLtMatmulDescSetAttribute(operation, attribute, &value, sizeof(value)),
            "MatmulDescSetAttribute");
    };
    set(CUBLASLT_MATMUL_DESC_TRANSA, CUBLAS_OP_T);
    if (kind == Kind::kFloat8) {  // cuBLASLt's A is our w
      set(CUBLASLT_MATMUL_DESC_A_SCALE_MODE, CUBLASLT_MATMUL_MATRIX_SCALE_OUTER_VEC_32F);
      set(CUBLASLT_MATMUL_DESC_B_SCALE_MODE, CUBLASLT_MATMUL_MATRIX_SCALE_OUTER_VEC_32F);
      set(CUBLASLT_MATMUL_DESC_A_SCALE_POINTER, scales.w);
      set(CUBLASLT_MATMUL_DESC_B_SCALE_POINTER, scales.x);
    }
    const auto layout = [](cublasLtMatrixLayout_t* at, cudaDataType_t type, int32_t rows,
                           int32_t cols, int32_t stride) {
      Check(cublasLtMatrixLayoutCreate(at, type, static_cast<uint64_t>(rows),
                                       static_cast<uint64_t>(cols), stride),
            "MatrixLayoutCreate");
    };
    // The padding is zero in both operands, and int8 wants k in fours: all of a row is multiplied.
    layout(&a, in, s.stride, s.n, s.stride);
    layout(&b, in, s.stride, s.m, s.stride);
    layout(&d, out, s.n, s.m, s.n);
  }
  ~Descriptors() {
    cublasLtMatrixLayoutDestroy(a);
    cublasLtMatrixLayoutDestroy(b);
    cublasLtMatrixLayoutDestroy(d);
    cublasLtMatmulDescDestroy(operation);
  }
  Descriptors(const Descriptors&) = delete;
  Descriptors& operator=(const Descriptors&) = delete;

  cublasLtMatmulDesc_t operation = nullptr;
  cublasLtMatrixLayout_t a = nullptr, b = nullptr, d = nullptr;
};

class GemmCublasLt final : public Gemm {
 public:
  explicit GemmCublasLt(const DeviceContext& device) : device_(device) {}
  ~GemmCublasLt() override {
    if (handle_ != nullptr) {
      cublasLtDestroy(handle_);
    }
  }

  absl::Status Start() {
    if (const cublasStatus_t status = cublasLtCreate(&handle_); status != CUBLAS_STATUS_SUCCESS) {
      return absl::UnimplementedError(
          absl::StrCat("cuBLASLt does not start: ", cublasLtGetStatusString(status)));
    }
    ASSIGN_OR_RETURN(workspace_, device_.budget->Allocate(kWorkspaceBytes, "cuBLASLt"));
    return Probe({Kind::kBFloat16, Kind::kInt8});
  }

  void BFloat16s(float* out, const BFloat16* x, const BFloat16* w, const Shape& shape,
                 bool add) override {
    const float alpha = 1.0f, beta = add ? 1.0f : 0.0f;
    Check(Run(Kind::kBFloat16, shape, &alpha, &beta, x, w, out), "a bf16 product");
  }

  absl::Status CheckFloat8s() override { return Probe({Kind::kFloat8}); }

  void Float8s(float* out, const Float8* x, const float* x_scales, const Float8* w,
               const float* w_scales, const Shape& shape, bool add) override {
    const float alpha = 1.0f, beta = add ? 1.0f : 0.0f;
    Check(Run(Kind::kFloat8, shape, &alpha, &beta, x, w, out, {.x = x_scales, .w = w_scales}),
          "an fp8 product");
  }

  void Int8s(int32_t* out, const int8_t* x, const int8_t* w, const Shape& shape) override {
    const int32_t alpha = 1, beta = 0;
    Check(Run(Kind::kInt8, shape, &alpha, &beta, x, w, out), "an int8 product");
  }

 private:
  using Key = std::tuple<Kind, int32_t, int32_t, int32_t>;

  // What the device lacks is seen now, not in the first prompt: combinations that the heuristic
  // accepts may still be refused by the product itself.
  absl::Status Probe(std::initializer_list<Kind> kinds) {
    constexpr Shape kShape = {.m = 128, .n = 128, .k = 128, .stride = 128};
    constexpr size_t kElements = size_t{128} * 128;
    ASSIGN_OR_RETURN(const DeviceArray in, device_.budget->Allocate(2 * kElements, "a probe"));
    ASSIGN_OR_RETURN(const DeviceArray out, device_.budget->Allocate(4 * kElements, "a probe"));
    ASSIGN_OR_RETURN(const DeviceArray scales, device_.budget->Allocate(4 * kShape.n, "a probe"));
    FillBytes(device_.stream, in.get(), 0, 2 * kElements);
    FillBytes(device_.stream, scales.get(), 0, 4 * kShape.n);
    FillBytes(device_.stream, out.get(), 0, 4 * kElements);
    const float one = 1.0f, zero = 0.0f;
    const int32_t int_one = 1, int_zero = 0;
    for (const Kind kind : kinds) {
      const bool integers = kind == Kind::kInt8;
      const auto run = [&](const void* alpha, const void* beta) {
        return Run(kind, kShape, alpha, beta, in.get(), in.get(), out.get(),
                   {.x = scales.as<float>(), .w = scales.as<float>()});
      };
      cublasStatus_t status = integers ? run(&int_one, &int_zero) : run(&one, &zero);
      if (status == CUBLAS_STATUS_SUCCESS && !integers) {
        status = run(&one, &one);  // products that are added
      }
      if (status != CUBLAS_STATUS_SUCCESS) {
        const char* name = integers ? "int8" : kind == Kind::kFloat8 ? "fp8" : "bf16";
        return absl::UnimplementedError(absl::StrCat("cuBLASLt refuses ", name, " products on ",
                                                     device_.info.name, ": ",
                                                     cublasLtGetStatusString(status)));
      }
    }
    Synchronize(device_.stream);
    return absl::OkStatus();
  }

  cublasStatus_t Run(Kind kind, const Shape& shape, const void* alpha, const void* beta,
                     const void* x, const void* w, void* out, const Scales& scales = {}) {
    const Descriptors descriptors(kind, shape, scales);
    const cublasLtMatmulAlgo_t* algorithm = nullptr;
    if (const cublasStatus_t status = Algorithm(kind, shape, descriptors, &algorithm);
        status != CUBLAS_STATUS_SUCCESS) {
      return status;
    }
    return cublasLtMatmul(handle_, descriptors.operation, alpha, w, descriptors.a, x, descriptors.b,
                          beta, out, descriptors.d, out, descriptors.d, algorithm, workspace_.get(),
                          kWorkspaceBytes, device_.stream);
  }

  cublasStatus_t Algorithm(Kind kind, const Shape& shape, const Descriptors& descriptors,
                           const cublasLtMatmulAlgo_t** algorithm) {
    const Key key = {kind, shape.m, shape.n, shape.stride};
    auto found = algorithms_.find(key);
    if (found == algorithms_.end()) {
      cublasLtMatmulPreference_t preference = nullptr;
      Check(cublasLtMatmulPreferenceCreate(&preference), "MatmulPreferenceCreate");
      Check(
          cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                               &kWorkspaceBytes, sizeof(kWorkspaceBytes)),
          "MatmulPreferenceSetAttribute");
      cublasLtMatmulHeuristicResult_t result = {};
      int count = 0;
      const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(
          handle_, descriptors.operation, descriptors.a, descriptors.b, descriptors.d,
          descriptors.d, preference, 1, &result, &count);
      cublasLtMatmulPreferenceDestroy(preference);
      if (status != CUBLAS_STATUS_SUCCESS || count == 0) {
        return status != CUBLAS_STATUS_SUCCESS ? status : CUBLAS_STATUS_NOT_SUPPORTED;
      }
      if (algorithms_.size() >= kAlgorithmsMax) {
        algorithms_.clear();
      }
      found = algorithms_.emplace(key, result.algo).first;
    }
    *algorithm = &found->second;
    return CUBLAS_STATUS_SUCCESS;
  }

  const DeviceContext& device_;
  cublasLtHandle_t handle_ = nullptr;
  DeviceArray workspace_;
  std::map<Key, cublasLtMatmulAlgo_t> algorithms_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Gemm>> Gemm::Make(const DeviceContext& device) {
  auto gemm = std::make_unique<GemmCublasLt>(device);
  if (absl::Status status = gemm->Start(); !status.ok()) {
    return status;
  }
  return gemm;
}

}  // namespace alcca::cuda
