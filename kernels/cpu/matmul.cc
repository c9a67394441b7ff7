#include "kernels/cpu/matmul.h"

#include <algorithm>

#include "base/check.h"
#include "kernels/cpu/quantize.h"

namespace alcca {
namespace {

// Multiply-adds below which waking a thread costs more than it saves.
constexpr int64_t kParallelWork = 1 << 18;
// Shares per thread of a parallel loop: evens out a core that others slow down.
constexpr int32_t kSharesPerThread = 16;

struct Operands {
  TensorView out, x;
  const PackedMatrix& weight;
  Accumulate mode;
};

// x [rows, cols] -> [block][cols][r]. A single row, or blocks of one row, is used as it lies.
const float* PackFloatRows(ThreadPool& pool, int32_t block_rows, MatMulWorkspace& workspace,
                           const TensorView& x) {
  if (x.rows == 1 || block_rows == 1) {
    return x.f32();
  }
  float* packed = reinterpret_cast<float*>(workspace.packed());
  const size_t cols = static_cast<size_t>(x.cols);
  pool.ParallelFor((x.rows + block_rows - 1) / block_rows, [&](int32_t block) {
    const int32_t first = block * block_rows;
    const int32_t count = std::min(block_rows, x.rows - first);
    const float* in = x.f32() + static_cast<size_t>(first) * cols;
    float* out = packed + static_cast<size_t>(first) * cols;
    for (size_t k = 0; k < cols; ++k) {
      for (int32_t r = 0; r < count; ++r) {
        *out++ = in[static_cast<size_t>(r) * cols + k];
      }
    }
  });
  return packed;
}

void PackInt8Rows(ThreadPool& pool, const MatMulKernels& kernels, MatMulWorkspace& workspace,
                  const TensorView& x) {
  const int32_t block_rows = kernels.int8_block_rows;
  const size_t cols = static_cast<size_t>(x.cols);
  const size_t padded = (cols + 3) / 4 * 4;
  pool.ParallelFor((x.rows + block_rows - 1) / block_rows, [&](int32_t block) {
    const int32_t first = block * block_rows;
    const int32_t count = std::min(block_rows, x.rows - first);
    uint8_t* out =
        reinterpret_cast<uint8_t*>(workspace.packed()) + static_cast<size_t>(first) * padded;
    for (int32_t r = 0; r < count; ++r) {
      const size_t t = static_cast<size_t>(first + r);
      const QuantizedRow row =
          QuantizeRow(x.f32() + t * cols, x.cols, kernels.int8_flip, size_t{4} * count, out + 4 * r,
                      workspace.outliers() + t * cols);
      workspace.scales()[t] = row.scale;
      workspace.outlier_counts()[t] = row.outliers;
    }
  });
}

PanelCall MakePanelCall(const Operands& o, const void* packed_x, int32_t panel) {
  return {.panel = o.weight.panel(panel),
          .x = packed_x,
          .rows = o.x.rows,
          .cols = o.weight.cols(),
          .out = o.out.f32() + static_cast<size_t>(panel) * kPanelFeatures,
          .out_stride = static_cast<size_t>(o.out.cols),
          .width = o.weight.panel_width(panel),
          .add = o.mode == Accumulate::kAdd};
}

Int8Call MakeInt8Call(const Operands& o, const MatMulWorkspace& workspace, int32_t panel) {
  PanelCall call = MakePanelCall(o, workspace.packed(), panel);
  call.cols = (o.weight.cols() + 3) / 4 * 4;
  return {.panel = call,
          .weight_scales = o.weight.scales(panel),
          .weight_sums = o.weight.sums(panel),
          .x_scales = workspace.scales(),
          .x = o.x.f32(),
          .x_stride = static_cast<size_t>(o.x.cols),
          .outliers = workspace.outliers(),
          .outlier_stride = static_cast<size_t>(o.x.cols),
          .outlier_counts = workspace.outlier_counts()};
}

// Adds the bias of the panel's features to its outputs, which its kernel has just left in the
// first-level cache.
void AddBias(const Operands& o, int32_t panel) {
  const float* bias = o.weight.bias(panel);
  if (bias == nullptr) {
    return;
  }
  const int32_t width = o.weight.panel_width(panel);
  float* out = o.out.f32() + static_cast<size_t>(panel) * kPanelFeatures;
  for (int32_t t = 0; t < o.x.rows; ++t, out += o.out.cols) {
    for (int32_t i = 0; i < width; ++i) {
      out[i] += bias[i];
    }
  }
}

// Calls body(panel) for all panels, neighbours on the same thread.
void ForPanels(ThreadPool& pool, const Operands& o, absl::FunctionRef<void(int32_t)> body) {
  const int64_t panels = o.weight.panels();
  const int64_t work = panels * kPanelFeatures * o.weight.cols() * o.x.rows;
  const int64_t shares = work < kParallelWork || pool.threads() == 1
                             ? 1
                             : std::min(panels, int64_t{pool.threads()} * kSharesPerThread);
  pool.ParallelFor(static_cast<int32_t>(shares), [&](int32_t share) {
    const int64_t end = panels * (share + 1) / shares;
    for (int64_t panel = panels * share / shares; panel < end; ++panel) {
      body(static_cast<int32_t>(panel));
    }
  });
}

}  // namespace

const MatMulKernels& MatMulKernelsFor(CpuIsa isa) {
  return isa == CpuIsa::kAvx512 ? MatMulAvx512()
         : isa == CpuIsa::kAvx2 ? MatMulAvx2()
                                : MatMulPortable();
}

void MatMulWorkspace::Grow(HostMemory& memory, size_t& held, size_t bytes) {
  if (bytes > held) {
    memory = AllocateHost(bytes);
    ALCCA_CHECK(memory != nullptr);
    held = bytes;
  }
}

void MatMulWorkspace::Reserve(int32_t rows, int32_t cols, WeightDType dtype) {
  const size_t r = static_cast<size_t>(rows), k = (static_cast<size_t>(cols) + 3) / 4 * 4;
  if (dtype != WeightDType::kInt8) {
    Grow(packed_, packed_bytes_, r * k * sizeof(float));
    return;
  }
  Grow(packed_, packed_bytes_, r * k);
  Grow(outliers_, outlier_bytes_, r * k * sizeof(uint16_t));  // pages without outliers stay unused
  Grow(scales_, scale_bytes_, r * sizeof(float));
  Grow(counts_, count_bytes_, r * sizeof(int32_t));
}

void MatMulCpu(ThreadPool& pool, const MatMulKernels& kernels, MatMulWorkspace& workspace,
               TensorView out, TensorView x, const PackedMatrix& weight, Accumulate mode) {
  ALCCA_CHECK(out.rows == x.rows && out.cols == weight.rows() && x.cols == weight.cols());
  ALCCA_CHECK(out.dtype == DType::kF32 && x.dtype == DType::kF32 && out.data != x.data);
  if (x.rows == 0) {
    return;
  }
  const Operands operands = {.out = out, .x = x, .weight = weight, .mode = mode};
  workspace.Reserve(x.rows, x.cols, weight.dtype());
  if (weight.dtype() == WeightDType::kInt8) {
    PackInt8Rows(pool, kernels, workspace, x);
    ForPanels(pool, operands, [&](int32_t panel) {
      kernels.int8(MakeInt8Call(operands, workspace, panel));
      AddBias(operands, panel);
    });
    return;
  }
  const float* packed = PackFloatRows(pool, kernels.float_block_rows, workspace, x);
  const auto kernel = weight.dtype() == WeightDType::kF32 ? kernels.f32 : kernels.bf16;
  ForPanels(pool, operands, [&](int32_t panel) {
    kernel(MakePanelCall(operands, packed, panel));
    AddBias(operands, panel);
  });
}

}  // namespace alcca
