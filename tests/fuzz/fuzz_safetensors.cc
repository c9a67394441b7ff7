// libFuzzer: the safetensors header parser. The input is a file; the last byte says how much longer
// than its stored bytes it claims to be, so that both the exact and the truncated case are reached.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "engine/checkpoint/safetensors.h"

namespace {

void Require(bool condition) {
  if (!condition) {
    std::abort();
  }
}

// What every user of an accepted header relies on.
void CheckAccepted(const alcca::SafetensorsHeader& header, uint64_t file_size) {
  uint64_t bytes = 0;
  const std::string* previous = nullptr;
  for (const alcca::TensorInfo& info : header.tensors) {
    Require(info.begin <= info.end && info.end <= file_size - header.data_start);
    Require(info.shape.size() <= alcca::kMaxSafetensorsRank);
    Require(info.name.size() <= alcca::kMaxSafetensorsNameBytes);
    Require(previous == nullptr || *previous < info.name);
    Require(header.Find(info.name) == &info);
    previous = &info.name;
    bytes += info.end - info.begin;
  }
  Require(header.data_start + bytes == file_size);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const uint64_t beyond = size == 0 ? 0 : data[size - 1];
  for (const uint64_t file_size : {uint64_t{size}, size + beyond, size + (beyond << 56)}) {
    const auto header = alcca::ParseSafetensorsHeader(bytes, file_size, "f");
    if (header.ok()) {
      CheckAccepted(*header, file_size);
    } else {
      Require(header.status().message().find('\n') == std::string_view::npos);
    }
  }
  return 0;
}
