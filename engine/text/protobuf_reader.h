#pragma once

// The fields of one protobuf message from outside, without its schema. Every length is checked
// against the bytes that are there, and nothing is copied.

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "absl/status/status.h"

namespace alcca {

enum class ProtobufWire : uint8_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

struct ProtobufField {
  uint64_t number = 0;
  ProtobufWire wire = ProtobufWire::kVarint;
  uint64_t value = 0;      // of a varint, fixed32 or fixed64
  std::string_view bytes;  // of the rest; lives as long as the message

  // INVALID_ARGUMENT, naming `message` and the field, unless it has this wire type.
  absl::Status Expect(ProtobufWire wanted, std::string_view message) const;
};

// Every error is INVALID_ARGUMENT and one line that begins with "protobuf: ".
class ProtobufReader {
 public:
  explicit ProtobufReader(std::string_view message) : rest_(message) {}

  bool done() const { return rest_.empty(); }
  absl::Status Next(ProtobufField* field);  // not after done()

 private:
  absl::Status Varint(uint64_t* value);
  absl::Status Fixed(size_t size, uint64_t* value);

  std::string_view rest_;
};

}  // namespace alcca
