// The runtime on a device: thin names over the CUDA runtime, every error final but lack of memory.

#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "kernels/cuda/device_words/runtime.h"
#include "kernels/cuda/device_words/runtime_memory.h"

namespace alcca::cuda {
namespace {

void Check(cudaError_t error, const char* what) {
  if (error != cudaSuccess) {
    DeviceFault(
        absl::StrCat(what, ": ", cudaGetErrorName(error), " (", cudaGetErrorString(error), ")"));
  }
}

// Dynamic and static together, of the kernels that need most (attention by tensor cores). sm_80 and
// the data centre cards since have it; sm_86 and sm_89 have 99 KiB.
constexpr size_t kSharedNeeded = size_t{160} << 10;

__global__ void NothingKernel() {}

absl::Status CheckCard(const cudaDeviceProp& card) {
  const auto refuse = [&card](auto... why) {
    return absl::FailedPreconditionError(absl::StrCat("the CUDA device (", card.name,
                                                      ") is of compute capability ", card.major,
                                                      ".", card.minor, why...));
  };
  if (card.major < 8) {
    return refuse("; 8.0 or newer is needed");
  }
  cudaFuncAttributes attributes;
  if (const cudaError_t error = cudaFuncGetAttributes(&attributes, NothingKernel);
      error != cudaSuccess) {
    cudaGetLastError();  // not sticky: forget it
    return refuse(", for which this build has no code (", cudaGetErrorName(error),
                  "): build with ALCCA_CUDA_ARCHITECTURES=", card.major, card.minor, "-real");
  }
  if (card.sharedMemPerBlockOptin < kSharedNeeded) {
    return refuse(", whose blocks have ", card.sharedMemPerBlockOptin >> 10,
                  " KiB of shared memory; ", kSharedNeeded >> 10, " are needed");
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<DeviceInfo> OpenDevice() {
  int count = 0;
  if (const cudaError_t error = cudaGetDeviceCount(&count); error != cudaSuccess) {
    return absl::FailedPreconditionError(
        absl::StrCat("no CUDA device: ", cudaGetErrorString(error)));
  }
  if (count == 0) {
    return absl::FailedPreconditionError("no CUDA device");
  }
  cudaDeviceProp properties;
  DeviceInfo info;
  cudaError_t error = cudaGetDeviceProperties(&properties, 0);
  if (error == cudaSuccess) {
    error = cudaMemGetInfo(&info.free_bytes, &info.total_bytes);
  }
  if (error != cudaSuccess) {
    return absl::FailedPreconditionError(absl::StrCat("CUDA device: ", cudaGetErrorString(error)));
  }
  RETURN_IF_ERROR(CheckCard(properties));
  info.name = properties.name;
  info.major = properties.major;
  info.minor = properties.minor;
  info.sm_count = properties.multiProcessorCount;
  return info;
}

Stream MakeStream() {
  Stream stream = nullptr;
  Check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cudaStreamCreate");
  return stream;
}

void DestroyStream(Stream stream) {
  Check(cudaStreamSynchronize(stream), "cudaStreamSynchronize");
  Check(cudaStreamDestroy(stream), "cudaStreamDestroy");
}

void Synchronize(Stream stream) {
  Check(cudaStreamSynchronize(stream), "cudaStreamSynchronize");
}

void CopyIn(Stream stream, void* device, const void* host, size_t bytes) {
  Check(cudaMemcpyAsync(device, host, bytes, cudaMemcpyHostToDevice, stream), "copy to device");
}

void CopyOut(Stream stream, void* host, const void* device, size_t bytes) {
  Check(cudaMemcpyAsync(host, device, bytes, cudaMemcpyDeviceToHost, stream), "copy to host");
}

void CopyOnDevice(Stream stream, void* to, const void* from, size_t bytes) {
  Check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream), "copy on device");
}

void FillBytes(Stream stream, void* device, uint8_t value, size_t bytes) {
  Check(cudaMemsetAsync(device, value, bytes, stream), "fill");
}

void BeginRecording(Stream stream) {
  // Of this thread alone: others may load a model, or measure memory, meanwhile.
  Check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "begin of a recording");
}

LaunchGraph EndRecording(Stream stream) {
  cudaGraph_t graph = nullptr;
  Check(cudaStreamEndCapture(stream, &graph), "end of a recording");
  LaunchGraph launches = nullptr;
  const cudaError_t error = cudaGraphInstantiate(&launches, graph, 0);
  Check(cudaGraphDestroy(graph), "cudaGraphDestroy");
  if (error == cudaErrorMemoryAllocation) {
    cudaGetLastError();  // not sticky: forget it
    return nullptr;
  }
  Check(error, "cudaGraphInstantiate");
  return launches;
}

void Replay(Stream stream, LaunchGraph graph) {
  Check(cudaGraphLaunch(graph, stream), "a recorded step");
}

void DestroyGraph(LaunchGraph graph) {
  Check(cudaGraphExecDestroy(graph), "cudaGraphExecDestroy");
}

void* AllocateDevice(size_t bytes) {
  void* data = nullptr;
  const cudaError_t error = cudaMalloc(&data, bytes);
  if (error == cudaErrorMemoryAllocation) {
    cudaGetLastError();  // not sticky: forget it
    return nullptr;
  }
  Check(error, "cudaMalloc");
  return data;
}

void FreeDevice(void* data) {
  Check(cudaFree(data), "cudaFree");
}

void* AllocatePinned(size_t bytes) {
  void* data = nullptr;
  const cudaError_t error = cudaMallocHost(&data, bytes);
  if (error == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    return nullptr;
  }
  Check(error, "cudaMallocHost");
  return data;
}

void FreePinned(void* data) {
  Check(cudaFreeHost(data), "cudaFreeHost");
}

void CheckLaunch(cudaError_t error, const char* name) {
  Check(error, name);
}

void AllowShared(const void* kernel, size_t bytes, const char* name) {
  Check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                             static_cast<int>(bytes)),
        name);
}

}  // namespace alcca::cuda
