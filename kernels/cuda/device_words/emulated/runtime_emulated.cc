// The runtime on the host: a stream is a queue of work that runs when somebody waits for it.

#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "base/check.h"
#include "kernels/cuda/device_words/runtime.h"
#include "kernels/cuda/device_words/runtime_memory.h"

namespace alcca::cuda_emulated {

struct RecordedWork {
  std::vector<std::function<void()>> work;
};

struct StreamQueue {
  std::deque<std::function<void()>> work;
  std::unique_ptr<RecordedWork> recording;  // or null
};

namespace {

// Streams of this thread: freeing memory waits for all of them, as cudaFree does.
thread_local std::vector<Stream> streams;

// A device refuses to take or give back memory while the thread records.
void CheckNobodyRecords() {
  for (const Stream stream : streams) {
    ALCCA_CHECK(stream->recording == nullptr);
  }
}

}  // namespace

absl::StatusOr<DeviceInfo> OpenDevice() {
  return DeviceInfo{.name = "emulated",
                    .major = 9,
                    .minor = 0,
                    .sm_count = 4,  // few, so that splits happen in small tests
                    .total_bytes = size_t{4} << 30,
                    .free_bytes = size_t{4} << 30};
}

Stream MakeStream() {
  streams.push_back(new StreamQueue);
  return streams.back();
}

void DestroyStream(Stream stream) {
  Synchronize(stream);
  std::erase(streams, stream);
  delete stream;
}

void Synchronize(Stream stream) {
  ALCCA_CHECK(stream->recording == nullptr);
  while (!stream->work.empty()) {
    stream->work.front()();
    stream->work.pop_front();
  }
}

void Enqueue(Stream stream, std::function<void()> work) {
  if (stream->recording != nullptr) {
    stream->recording->work.push_back(std::move(work));
  } else {
    stream->work.push_back(std::move(work));
  }
}

void BeginRecording(Stream stream) {
  ALCCA_CHECK(stream->recording == nullptr);
  stream->recording = std::make_unique<RecordedWork>();
}

LaunchGraph EndRecording(Stream stream) {
  ALCCA_CHECK(stream->recording != nullptr);
  return stream->recording.release();
}

void Replay(Stream stream, LaunchGraph graph) {
  for (const std::function<void()>& work : graph->work) {
    Enqueue(stream, work);
  }
}

void DestroyGraph(LaunchGraph graph) {
  delete graph;
}

void CopyIn(Stream stream, void* device, const void* host, size_t bytes) {
  Enqueue(stream, [=] { std::memcpy(device, host, bytes); });
}

void CopyOut(Stream stream, void* host, const void* device, size_t bytes) {
  Enqueue(stream, [=] { std::memcpy(host, device, bytes); });
}

void CopyOnDevice(Stream stream, void* to, const void* from, size_t bytes) {
  Enqueue(stream, [=] { std::memcpy(to, from, bytes); });
}

void FillBytes(Stream stream, void* device, uint8_t value, size_t bytes) {
  Enqueue(stream, [=] { std::memset(device, value, bytes); });
}

void* AllocateDevice(size_t bytes) {
  CheckNobodyRecords();
  void* data = nullptr;
  if (posix_memalign(&data, 256, bytes) != 0) {
    return nullptr;
  }
  std::memset(data, 0xff, bytes);  // what no kernel has written is NaN
  return data;
}

void FreeDevice(void* data) {
  for (const Stream stream : streams) {
    Synchronize(stream);
  }
  std::free(data);
}

void* AllocatePinned(size_t bytes) {
  CheckNobodyRecords();
  void* data = std::malloc(bytes);
  if (data != nullptr) {
    std::memset(data, 0xff, bytes);
  }
  return data;
}

void FreePinned(void* data) {
  for (const Stream stream : streams) {
    Synchronize(stream);
  }
  std::free(data);
}

}  // namespace alcca::cuda_emulated
