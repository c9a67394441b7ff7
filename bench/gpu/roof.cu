// What the card can do, measured: the ceilings that every other figure is a share of. Needs nvcc
// and cuBLASLt alone, so that it runs where nothing else of ours can be built.
//
//   gpu_roof [--mib 4096] [--size 8192]       one JSON object on stdout
//
// read, copy, write: bytes per second of device memory over --mib, read and written bytes counted.
// matmul: operations per second of a --size^3 product through cuBLASLt on random data (zeros would
// run faster: less power). launch: one empty kernel inside a CUDA graph. Each is the median of
// several rounds.

#include <cublasLt.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <vector>

namespace {

constexpr int kRounds = 9;

void Must(cudaError_t error, const char* what) {
  if (error != cudaSuccess) {
    std::fprintf(stderr, "gpu_roof: %s: %s\n", what, cudaGetErrorString(error));
    std::exit(1);
  }
}

// Median seconds of `body`, which enqueues on the default stream.
double Seconds(const std::function<void()>& body) {
  cudaEvent_t start, stop;
  Must(cudaEventCreate(&start), "event");
  Must(cudaEventCreate(&stop), "event");
  body();
  std::vector<double> seconds;
  for (int round = 0; round < kRounds; ++round) {
    Must(cudaEventRecord(start), "record");
    body();
    Must(cudaEventRecord(stop), "record");
    Must(cudaEventSynchronize(stop), "measured work");
    float ms = 0;
    Must(cudaEventElapsedTime(&ms, start, stop), "elapsed");
    seconds.push_back(1e-3 * ms);
  }
  std::sort(seconds.begin(), seconds.end());
  cudaEventDestroy(start);
  cudaEventDestroy(stop);
  return seconds[kRounds / 2];
}

// Eight independent 16-byte loads per thread in flight. `out` is written by nobody: the sum of
// random words is never the one number that would make it.
__global__ void __launch_bounds__(512) Read(const uint4* data, size_t count, uint32_t* out) {
  constexpr int kFlight = 8;
  const size_t stride = size_t{gridDim.x} * blockDim.x;
  uint32_t sum = 0;
  size_t i = size_t{blockIdx.x} * blockDim.x + threadIdx.x;
  for (; i + (kFlight - 1) * stride < count; i += kFlight * stride) {
    uint4 part[kFlight];
#pragma unroll
    for (int j = 0; j < kFlight; ++j) {
      part[j] = __ldcs(data + i + j * stride);
    }
#pragma unroll
    for (int j = 0; j < kFlight; ++j) {
      sum += part[j].x ^ part[j].y ^ part[j].z ^ part[j].w;
    }
  }
  for (; i < count; i += stride) {
    const uint4 part = __ldcs(data + i);
    sum += part.x ^ part.y ^ part.z ^ part.w;
  }
  if (sum == 0x9e3779b9u && count == 0) {
    *out = sum;
  }
}

__global__ void __launch_bounds__(512) Copy(const uint4* from, uint4* to, size_t count) {
  const size_t stride = size_t{gridDim.x} * blockDim.x;
  for (size_t i = size_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count; i += stride) {
    __stcs(to + i, __ldcs(from + i));
  }
}

// Random bits; with `mask` and `bits` they are numbers of the wanted type and of modest size.
__global__ void Randomise(uint32_t* data, size_t count, uint32_t mask, uint32_t bits) {
  const size_t stride = size_t{gridDim.x} * blockDim.x;
  for (size_t i = size_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count; i += stride) {
    uint32_t x = static_cast<uint32_t>(i) * 2654435761u + 12345u;
    x ^= x >> 16;
    x *= 0x7feb352du;
    x ^= x >> 15;
    x *= 0x846ca68bu;
    x ^= x >> 16;
    data[i] = (x & mask) | bits;
  }
}

__global__ void Nothing() {}

void* Allocate(size_t bytes) {
  void* data = nullptr;
  Must(cudaMalloc(&data, bytes), "device memory");
  return data;
}

struct Memory {
  double read = 0, copy = 0, write = 0;  // bytes per second
};

Memory MeasureMemory(size_t bytes, int sm_count) {
  auto* from = static_cast<uint4*>(Allocate(bytes));
  auto* to = static_cast<uint4*>(Allocate(bytes));
  auto* out = static_cast<uint32_t*>(Allocate(4));
  const size_t count = bytes / sizeof(uint4);
  Randomise<<<sm_count * 8, 512>>>(reinterpret_cast<uint32_t*>(from), bytes / 4, ~0u, 0);
  Memory memory;
  for (const int per_sm : {1, 2, 4}) {  // the best grid is the card's ceiling
    const int grid = sm_count * per_sm;
    const double read = Seconds([&] { Read<<<grid, 512>>>(from, count, out); });
    const double copy = Seconds([&] { Copy<<<grid, 512>>>(from, to, count); });
    memory.read = std::max(memory.read, bytes / read);
    memory.copy = std::max(memory.copy, 2.0 * bytes / copy);
  }
  memory.write = bytes / Seconds([&] { cudaMemsetAsync(to, 1, bytes); });
  Must(cudaDeviceSynchronize(), "memory kernels");
  cudaFree(from);
  cudaFree(to);
  cudaFree(out);
  return memory;
}

struct MatmulType {
  const char* name;
  cudaDataType_t in, out;
  cublasComputeType_t compute;
  cudaDataType_t scale;
  size_t in_bytes, out_bytes;
  uint32_t mask, bits;  // for Randomise
};

// Operations per second, or 0 where the card or library has no such product.
double MeasureMatmul(cublasLtHandle_t lt, const MatmulType& type, int64_t n) {
  const size_t workspace_bytes = size_t{64} << 20;
  void* a = Allocate(n * n * type.in_bytes);
  void* b = Allocate(n * n * type.in_bytes);
  void* c = Allocate(n * n * type.out_bytes);
  void* workspace = Allocate(workspace_bytes);
  for (void* operand : {a, b}) {
    Randomise<<<1024, 256>>>(static_cast<uint32_t*>(operand), n * n * type.in_bytes / 4, type.mask,
                             type.bits);
  }
  cublasLtMatmulDesc_t operation;
  cublasLtMatmulDescCreate(&operation, type.compute, type.scale);
  const cublasOperation_t transpose = CUBLAS_OP_T;
  cublasLtMatmulDescSetAttribute(operation, CUBLASLT_MATMUL_DESC_TRANSA, &transpose,
                                 sizeof(transpose));
  cublasLtMatrixLayout_t in, out;
  cublasLtMatrixLayoutCreate(&in, type.in, n, n, n);
  cublasLtMatrixLayoutCreate(&out, type.out, n, n, n);
  cublasLtMatmulPreference_t preference;
  cublasLtMatmulPreferenceCreate(&preference);
  cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                       &workspace_bytes, sizeof(workspace_bytes));
  cublasLtMatmulHeuristicResult_t choices[8];
  int found = 0;
  cublasLtMatmulAlgoGetHeuristic(lt, operation, in, in, out, out, preference, 8, choices, &found);
  const float one_f = 1, zero_f = 0;
  const int32_t one_i = 1, zero_i = 0;
  const bool whole = type.scale == CUDA_R_32I;
  const void* one = whole ? static_cast<const void*>(&one_i) : &one_f;
  const void* zero = whole ? static_cast<const void*>(&zero_i) : &zero_f;
  double best = 0;
  for (int i = 0; i < found; ++i) {
    const auto run = [&] {
      return cublasLtMatmul(lt, operation, one, a, in, b, in, zero, c, out, c, out,
                            &choices[i].algo, workspace, workspace_bytes, nullptr);
    };
    if (run() == CUBLAS_STATUS_SUCCESS && cudaDeviceSynchronize() == cudaSuccess) {
      best = std::max(best, 2.0 * n * n * n / Seconds([&] { run(); }));
    }
  }
  cublasLtMatmulPreferenceDestroy(preference);
  cublasLtMatrixLayoutDestroy(in);
  cublasLtMatrixLayoutDestroy(out);
  cublasLtMatmulDescDestroy(operation);
  for (void* memory : {a, b, c, workspace}) {
    cudaFree(memory);
  }
  return best;
}

double MeasureLaunch() {
  constexpr int kKernels = 1000;
  cudaStream_t stream;
  Must(cudaStreamCreate(&stream), "stream");
  cudaGraph_t graph;
  cudaGraphExec_t executable;
  Must(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "capture");
  for (int i = 0; i < kKernels; ++i) {
    Nothing<<<1, 32, 0, stream>>>();
  }
  Must(cudaStreamEndCapture(stream, &graph), "capture");
  Must(cudaGraphInstantiate(&executable, graph, 0), "graph");
  const double seconds = Seconds([&] { cudaGraphLaunch(executable, nullptr); });
  cudaGraphExecDestroy(executable);
  cudaGraphDestroy(graph);
  cudaStreamDestroy(stream);
  return seconds / kKernels;
}

}  // namespace

int main(int argc, char** argv) {
  size_t mib = 4096;
  int64_t size = 8192;
  for (int i = 1; i + 1 < argc; i += 2) {
    if (std::strcmp(argv[i], "--mib") == 0) {
      mib = std::strtoull(argv[i + 1], nullptr, 10);
    } else if (std::strcmp(argv[i], "--size") == 0) {
      size = std::strtoll(argv[i + 1], nullptr, 10) / 16 * 16;
    }
  }
  cudaDeviceProp device;
  Must(cudaGetDeviceProperties(&device, 0), "device 0");
  const Memory memory = MeasureMemory(mib << 20, device.multiProcessorCount);
  const double launch = MeasureLaunch();
  cublasLtHandle_t lt;
  if (cublasLtCreate(&lt) != CUBLAS_STATUS_SUCCESS) {
    std::fprintf(stderr, "gpu_roof: cublasLtCreate failed\n");
    return 1;
  }
  // bf16 of both signs in [2^-7, 2^-6); any int8; e4m3 of both signs below 2.
  const MatmulType types[] = {
      {"bf16", CUDA_R_16BF, CUDA_R_16BF, CUBLAS_COMPUTE_32F, CUDA_R_32F, 2, 2, 0x807f807f,
       0x3c003c00},
      {"int8", CUDA_R_8I, CUDA_R_32I, CUBLAS_COMPUTE_32I, CUDA_R_32I, 1, 4, ~0u, 0},
      {"fp8", CUDA_R_8F_E4M3, CUDA_R_16BF, CUBLAS_COMPUTE_32F, CUDA_R_32F, 1, 2, 0xbfbfbfbf, 0}};
  std::printf(
      "{\"device\": \"%s\", \"compute_capability\": \"%d.%d\", \"sm_count\": %d, \"l2_bytes\": %d, "
      "\"memory_bytes\": %zu, \"read\": %.4g, \"copy\": %.4g, \"write\": %.4g, "
      "\"graph_kernel_seconds\": %.3g, \"matmul\": {",
      device.name, device.major, device.minor, device.multiProcessorCount, device.l2CacheSize,
      device.totalGlobalMem, memory.read, memory.copy, memory.write, launch);
  const char* comma = "";
  for (const MatmulType& type : types) {
    std::printf("%s\"%s\": %.4g", comma, type.name, MeasureMatmul(lt, type, size));
    comma = ", ";
  }
  std::printf("}}\n");
  cublasLtDestroy(lt);
  return 0;
}
