#include "engine/text/protobuf_reader.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace alcca {
namespace {

absl::Status BadProtobuf(std::string_view rule) {
  return absl::InvalidArgumentError(absl::StrCat("protobuf: ", std::string(rule)));
}

}  // namespace

absl::Status ProtobufField::Expect(ProtobufWire wanted, std::string_view message) const {
  if (wire == wanted) {
    return absl::OkStatus();
  }
  return BadProtobuf(absl::StrCat(std::string(message), " field ", number, " has wire type ",
                                  static_cast<int>(wire)));
}

absl::Status ProtobufReader::Next(ProtobufField* field) {
  uint64_t tag = 0;
  RETURN_IF_ERROR(Varint(&tag));
  *field = ProtobufField();
  field->number = tag >> 3;
  field->wire = static_cast<ProtobufWire>(tag & 7);
  if (field->number == 0) {
    return BadProtobuf("field number 0");
  }
  switch (field->wire) {
    case ProtobufWire::kVarint:
      return Varint(&field->value);
    case ProtobufWire::kFixed64:
      return Fixed(8, &field->value);
    case ProtobufWire::kFixed32:
      return Fixed(4, &field->value);
    case ProtobufWire::kBytes: {
      uint64_t size = 0;
      RETURN_IF_ERROR(Varint(&size));
      if (size > rest_.size()) {
        return BadProtobuf("field runs past the end");
      }
      field->bytes = rest_.substr(0, size);
      rest_.remove_prefix(size);
      return absl::OkStatus();
    }
  }
  return BadProtobuf("unknown wire type");  // 3 and 4 are groups, which no file of ours has
}

absl::Status ProtobufReader::Varint(uint64_t* value) {
  *value = 0;
  for (size_t i = 0; i < 10; ++i) {
    if (i >= rest_.size()) {
      return BadProtobuf("number cut off");
    }
    const uint64_t byte = static_cast<uint8_t>(rest_[i]);
    *value |= (byte & 0x7F) << (7 * i);
    if (byte < 0x80) {
      rest_.remove_prefix(i + 1);
      return absl::OkStatus();
    }
  }
  return BadProtobuf("number longer than 10 bytes");
}

absl::Status ProtobufReader::Fixed(size_t size, uint64_t* value) {
  if (size > rest_.size()) {
    return BadProtobuf("number cut off");
  }
  *value = 0;
  for (size_t i = 0; i < size; ++i) {
    *value |= uint64_t{static_cast<uint8_t>(rest_[i])} << (8 * i);
  }
  rest_.remove_prefix(size);
  return absl::OkStatus();
}

}  // namespace alcca
