#pragma once

// The part of the CUDA runtime that we use, with two implementations: device/runtime_cuda.cu and
// emulated/runtime_emulated.cc. A call that fails for want of memory says so; any other failure of
// the device is final and goes to DeviceFault (kernels/device_fault.h), which does not return.
//
// In both, work on a stream happens later: a host buffer given to CopyIn or CopyOut must stay as it
// is until the stream has been synchronised. The emulator really waits until then, so that a test
// notices.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>

#include "absl/status/statusor.h"
#include "kernels/cuda/device_words/simt.h"
#include "kernels/device_fault.h"

namespace alcca::ALCCA_GPU {

struct StreamQueue;  // the emulator's
struct RecordedWork;
#ifdef __CUDACC__
using Stream = cudaStream_t;
using LaunchGraph = cudaGraphExec_t;
#else
using Stream = StreamQueue*;
using LaunchGraph = RecordedWork*;
#endif

struct DeviceInfo {
  std::string name;
  int32_t major = 0, minor = 0;  // compute capability
  int32_t sm_count = 0;
  size_t total_bytes = 0, free_bytes = 0;
};
// The first device that the process sees, which is current in every thread. FAILED_PRECONDITION:
// there is none, or it is older than what we compile for.
absl::StatusOr<DeviceInfo> OpenDevice();

Stream MakeStream();
void DestroyStream(Stream stream);
void Synchronize(Stream stream);
void CopyIn(Stream stream, void* device, const void* host, size_t bytes);
void CopyOut(Stream stream, void* host, const void* device, size_t bytes);
void CopyOnDevice(Stream stream, void* to, const void* from, size_t bytes);
void FillBytes(Stream stream, void* device, uint8_t value, size_t bytes);

// Between these two calls nothing is enqueued. Launches, copies and fills are recorded with their
// present arguments, and Replay enqueues them together. Meanwhile no caller may wait for the
// stream, take memory or give it back. Null: the device has no memory for the graph.
void BeginRecording(Stream stream);
LaunchGraph EndRecording(Stream stream);
void Replay(Stream stream, LaunchGraph graph);
void DestroyGraph(LaunchGraph graph);

// Memory of the device, freed with its owner. The emulator fills new memory with 0xff.
class DeviceArray {
 public:
  DeviceArray() = default;
  DeviceArray(DeviceArray&& other) noexcept { *this = std::move(other); }
  DeviceArray& operator=(DeviceArray&& other) noexcept;
  ~DeviceArray();

  void* get() const { return data_; }
  template <typename T>
  T* as() const {
    return static_cast<T*>(data_);
  }
  size_t bytes() const { return bytes_; }

 private:
  friend class DeviceBudget;
  void* data_ = nullptr;
  size_t bytes_ = 0;
  class DeviceBudget* budget_ = nullptr;
};

// All memory a backend takes, from one number that is set at start. Outlives its arrays. Used by
// one thread.
class DeviceBudget {
 public:
  explicit DeviceBudget(size_t limit) : limit_(limit) {}
  // RESOURCE_EXHAUSTED names `what`, its size and what is left. 256-byte aligned; never null.
  absl::StatusOr<DeviceArray> Allocate(size_t bytes, std::string_view what);
  // Counts memory that a library takes from the device by itself, for as long as the returned array
  // lives. get() of that array is null.
  absl::StatusOr<DeviceArray> Reserve(size_t bytes, std::string_view what);
  size_t limit() const { return limit_; }
  size_t used() const { return used_; }

 private:
  friend class DeviceArray;
  absl::Status Refuse(size_t bytes, std::string_view what) const;
  size_t limit_, used_ = 0;
};

// Page-locked host memory, for copies that overlap with kernels.
class PinnedArray {
 public:
  PinnedArray() = default;
  PinnedArray(PinnedArray&& other) noexcept { *this = std::move(other); }
  PinnedArray& operator=(PinnedArray&& other) noexcept;
  ~PinnedArray();
  static absl::StatusOr<PinnedArray> Allocate(size_t bytes);
  template <typename T>
  T* as() const {
    return static_cast<T*>(data_);
  }
  size_t bytes() const { return bytes_; }

 private:
  void* data_ = nullptr;
  size_t bytes_ = 0;
};

struct LaunchConfig {
  const char* name;  // of the kernel, in messages
  dim3 grid, block;
  size_t shared_bytes = 0;  // dynamic; with the kernel's own at most 227 KiB, 163 KiB on sm_80
  Stream stream;
  // Programmatic dependent launch: blocks may start while the kernel before still runs. Only for
  // kernels that call WaitForPriorKernel before they touch its results.
  bool overlap_prior = false;
};

#ifdef __CUDACC__

void CheckLaunch(cudaError_t error, const char* name);
void AllowShared(const void* kernel, size_t bytes, const char* name);

template <typename... Params, typename... Args>
void Launch(void (*kernel)(Params...), const LaunchConfig& config, Args&&... args) {
  if (config.grid.x == 0 || config.grid.y == 0 || config.grid.z == 0) {
    return;
  }
  if (config.shared_bytes > kUnaskedShared) {
    AllowShared(reinterpret_cast<const void*>(kernel), config.shared_bytes, config.name);
  }
  cudaLaunchAttribute attribute = {};
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t launch = {};
  launch.gridDim = config.grid;
  launch.blockDim = config.block;
  launch.dynamicSmemBytes = config.shared_bytes;
  launch.stream = config.stream;
  launch.attrs = &attribute;
  launch.numAttrs = config.overlap_prior ? 1 : 0;
  CheckLaunch(cudaLaunchKernelEx(&launch, kernel, Params(std::forward<Args>(args))...),
              config.name);
}

#else

void Enqueue(Stream stream, std::function<void()> work);

template <typename... Params, typename... Args>
void Launch(void (*kernel)(Params...), const LaunchConfig& config, Args&&... args) {
  if (config.grid.x == 0 || config.grid.y == 0 || config.grid.z == 0) {
    return;
  }
  const simt::LaunchShape shape = {config.name, config.grid, config.block, config.shared_bytes};
  Enqueue(config.stream, [=, params = std::tuple<Params...>(std::forward<Args>(args)...)] {
    auto body = [&] { std::apply(kernel, params); };
    simt::Run(
        shape, [](void* run) { (*static_cast<decltype(body)*>(run))(); }, &body);
  });
}

#endif

}  // namespace alcca::ALCCA_GPU
