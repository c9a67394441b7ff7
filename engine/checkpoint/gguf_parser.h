#pragma once

// Bytes of a GGUF file to a checked GgufHeader; for gguf.cc alone.

#include <cstdint>
#include <cstring>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "engine/checkpoint/gguf.h"

namespace alcca {

// Machines that we build for are little endian, as the format.
template <typename T>
T LoadLittleEndian(const char* bytes) {
  T value;
  std::memcpy(&value, bytes, sizeof(value));
  return value;
}

// Bytes of a value of a type without parts; 0 for strings, arrays and unknown types.
uint64_t GgufScalarBytes(uint32_t type);

class GgufParser {
 public:
  GgufParser(std::string_view bytes, std::string_view name) : bytes_(bytes), name_(name) {}

  absl::StatusOr<GgufHeader> Parse();

 private:
  template <typename... Args>
  absl::Status Bad(const Args&... args) const {
    return absl::InvalidArgumentError(absl::StrCat(name_, ": ", args...));
  }
  uint64_t Rest() const { return bytes_.size() - at_; }

  // Each moves on, or fails if the file ends before.
  template <typename T>
  absl::StatusOr<T> Read(std::string_view what);
  absl::StatusOr<std::string_view> ReadString(std::string_view what, uint64_t most);
  absl::Status ReadKey(GgufHeader* header);
  absl::StatusOr<GgufValue> ReadValue(std::string_view key);
  absl::Status ReadTensor(GgufHeader* header);
  absl::Status PlaceTensors(GgufHeader* header);
  absl::Status CheckOverlaps(const GgufHeader& header) const;

  const std::string_view bytes_;
  const std::string name_;
  size_t at_ = 0;
};

}  // namespace alcca
