#include "engine/checkpoint/gguf_parser.h"

#include <algorithm>
#include <limits>
#include <string>
#include <vector>

#include "base/status_macros.h"
#include "engine/checkpoint/safetensors.h"

namespace alcca {
namespace {

constexpr uint32_t kMaxDimensions = 4;
constexpr uint64_t kMaxAlignment = 65'536;
constexpr int64_t kMaxWeights = int64_t{1} << 48;  // Of one tensor.
constexpr uint64_t kMaxKeyBytes = 65'535;
constexpr uint64_t kMinKeyBytes = 8 + 1 + 4 + 1;  // Length, text, type, value.
constexpr uint64_t kMinTensorBytes =
    8 + 1 + 4 + 8 + 4 + 8;  // Length, text, dimensions, type, place.

}  // namespace

uint64_t GgufScalarBytes(uint32_t type) {
  switch (static_cast<GgufValueType>(type)) {
    case GgufValueType::kUint8:
    case GgufValueType::kInt8:
    case GgufValueType::kBool:
      return 1;
    case GgufValueType::kUint16:
    case GgufValueType::kInt16:
      return 2;
    case GgufValueType::kUint32:
    case GgufValueType::kInt32:
    case GgufValueType::kFloat32:
      return 4;
    case GgufValueType::kUint64:
    case GgufValueType::kInt64:
    case GgufValueType::kFloat64:
      return 8;
    default:
      return 0;
  }
}

template <typename T>
absl::StatusOr<T> GgufParser::Read(std::string_view what) {
  if (Rest() < sizeof(T)) {
    return Bad("ends in ", std::string(what));
  }
  const T value = LoadLittleEndian<T>(bytes_.data() + at_);
  at_ += sizeof(T);
  return value;
}

absl::StatusOr<std::string_view> GgufParser::ReadString(std::string_view what, uint64_t most) {
  ASSIGN_OR_RETURN(const uint64_t size, Read<uint64_t>(what));
  if (size > most) {
    return Bad(std::string(what), " has ", size, " bytes, more than ", most);
  }
  if (size > Rest()) {
    return Bad(std::string(what), " has ", size, " bytes, the rest of the file ", Rest());
  }
  const std::string_view text = bytes_.substr(at_, size);
  at_ += size;
  return text;
}

absl::StatusOr<GgufHeader> GgufParser::Parse() {
  if (bytes_.size() < 4 || bytes_.substr(0, 4) != "GGUF") {
    return Bad("does not begin with 'GGUF'");
  }
  at_ = 4;
  ASSIGN_OR_RETURN(const uint32_t version, Read<uint32_t>("its version"));
  if (version != 2 && version != 3) {
    const bool swapped = version != 0 && (version & 0xFFFF) == 0;
    return absl::UnimplementedError(
        absl::StrCat(name_, ": GGUF version ", swapped ? "is big endian" : absl::StrCat(version),
                     ", only 2 and 3 in little endian are implemented; convert the model again"));
  }
  ASSIGN_OR_RETURN(const uint64_t tensors, Read<uint64_t>("its number of tensors"));
  ASSIGN_OR_RETURN(const uint64_t keys, Read<uint64_t>("its number of keys"));
  if (tensors > kMaxGgufTensors || tensors > Rest() / kMinTensorBytes) {
    return Bad("says that it has ", tensors, " tensors, more than ",
               tensors > kMaxGgufTensors ? kMaxGgufTensors : Rest() / kMinTensorBytes);
  }
  if (keys > kMaxGgufKeys || keys > Rest() / kMinKeyBytes) {
    return Bad("says that it has ", keys, " keys, more than ",
               keys > kMaxGgufKeys ? kMaxGgufKeys : Rest() / kMinKeyBytes);
  }
  GgufHeader header;
  header.name_ = name_;
  for (uint64_t i = 0; i < keys; ++i) {
    RETURN_IF_ERROR(ReadKey(&header));
  }
  for (uint64_t i = 0; i < tensors; ++i) {
    RETURN_IF_ERROR(ReadTensor(&header));
  }
  RETURN_IF_ERROR(PlaceTensors(&header));
  return header;
}

absl::Status GgufParser::ReadKey(GgufHeader* header) {
  ASSIGN_OR_RETURN(const std::string_view key, ReadString("a key", kMaxKeyBytes));
  if (key.empty()) {
    return Bad("has a key without a name");
  }
  ASSIGN_OR_RETURN(const GgufValue value, ReadValue(key));
  if (!header->values_.emplace(key, value).second) {
    return Bad("key ", QuoteName(key), ": occurs twice");
  }
  return absl::OkStatus();
}

absl::StatusOr<GgufValue> GgufParser::ReadValue(std::string_view key) {
  const std::string of = absl::StrCat("key ", QuoteName(key), ": ");
  ASSIGN_OR_RETURN(uint32_t type, Read<uint32_t>(of + "its type"));
  GgufValue value;
  value.array = type == static_cast<uint32_t>(GgufValueType::kArray);
  if (value.array) {
    ASSIGN_OR_RETURN(type, Read<uint32_t>(of + "the type of its list"));
    ASSIGN_OR_RETURN(value.count, Read<uint64_t>(of + "the length of its list"));
    if (value.count > kMaxGgufListItems) {
      return Bad(of, value.count, " items, more than ", kMaxGgufListItems);
    }
  }
  value.type = static_cast<GgufValueType>(type);
  const uint64_t size = GgufScalarBytes(type);
  const size_t begin = at_;
  if (value.type == GgufValueType::kString) {
    if (value.count > Rest() / 8) {
      return Bad(of, value.count, " strings, the rest of the file is ", Rest(), " bytes");
    }
    for (uint64_t i = 0; i < value.count; ++i) {
      RETURN_IF_ERROR(ReadString(of + "its text", std::numeric_limits<uint64_t>::max()).status());
    }
  } else if (size == 0) {
    return Bad(of, value.array ? "a list of type " : "type ", type, ", which is unknown");
  } else {
    if (value.count > Rest() / size) {
      return Bad(of, value.count, " values of ", size, " bytes, the rest of the file is ", Rest(),
                 " bytes");
    }
    at_ += value.count * size;
  }
  value.bytes = bytes_.substr(begin, at_ - begin);
  if (value.type == GgufValueType::kBool &&
      value.bytes.find_first_not_of(std::string_view("\0\1", 2)) != std::string_view::npos) {
    return Bad(of, "a bool that is neither 0 nor 1");
  }
  return value;
}

absl::Status GgufParser::ReadTensor(GgufHeader* header) {
  ASSIGN_OR_RETURN(const std::string_view name, ReadString("a tensor's name", kMaxGgufNameBytes));
  if (name.empty()) {
    return Bad("has a tensor without a name");
  }
  const std::string of = absl::StrCat("tensor ", QuoteName(name), ": ");
  GgufTensor tensor;
  tensor.name = std::string(name);
  ASSIGN_OR_RETURN(const uint32_t dimensions, Read<uint32_t>(of + "its number of dimensions"));
  if (dimensions == 0 || dimensions > kMaxDimensions) {
    return Bad(of, dimensions, " dimensions, expected 1 to ", kMaxDimensions);
  }
  int64_t weights = 1;
  for (uint32_t i = 0; i < dimensions; ++i) {
    ASSIGN_OR_RETURN(const uint64_t extent, Read<uint64_t>(of + "its dimensions"));
    if (extent == 0 || extent > static_cast<uint64_t>(kMaxWeights / weights)) {
      return Bad(of, "dimension ", i, " is ", extent, ", which is nothing or too much");
    }
    weights *= static_cast<int64_t>(extent);
    tensor.shape.insert(tensor.shape.begin(), static_cast<int64_t>(extent));
  }
  ASSIGN_OR_RETURN(const uint32_t type, Read<uint32_t>(of + "its type"));
  const GgufBlockFormat* format = FindGgufBlockFormat(type);
  if (format == nullptr) {
    const auto unread = UnreadGgufTypeName(type);
    return absl::UnimplementedError(
        absl::StrCat(name_, ": ", of, "type ", unread ? std::string(*unread) : absl::StrCat(type),
                     " is not implemented; take a file of type Q8_0, Q6_K, Q4_K_M or F16"));
  }
  tensor.type = format->type;
  if (static_cast<uint64_t>(tensor.shape.back()) % format->weights != 0) {
    return Bad(of, "rows of ", tensor.shape.back(), " weights, expected a multiple of ",
               format->weights, " for type ", std::string(format->name));
  }
  ASSIGN_OR_RETURN(tensor.begin, Read<uint64_t>(of + "its place"));
  tensor.end = static_cast<uint64_t>(weights) / format->weights * format->bytes;  // Its size yet.
  header->tensors_.push_back(std::move(tensor));
  return absl::OkStatus();
}

// From offsets in the data to bytes of the file.
absl::Status GgufParser::PlaceTensors(GgufHeader* header) {
  uint64_t alignment = 32;
  if (const GgufValue* value = header->FindValue("general.alignment")) {
    if (value->array || value->type != GgufValueType::kUint32) {
      return Bad("key 'general.alignment': expected an unsigned 32-bit integer");
    }
    alignment = LoadLittleEndian<uint32_t>(value->bytes.data());
    if (alignment == 0 || alignment > kMaxAlignment || (alignment & (alignment - 1)) != 0) {
      return Bad("key 'general.alignment': ", alignment, ", expected a power of two up to ",
                 kMaxAlignment);
    }
  }
  const uint64_t start = (at_ + alignment - 1) / alignment * alignment;
  for (GgufTensor& tensor : header->tensors_) {
    const uint64_t size = tensor.end;
    if (tensor.begin % alignment != 0) {
      return Bad("tensor ", QuoteName(tensor.name), ": begins at byte ", tensor.begin,
                 " of the data, expected a multiple of ", alignment);
    }
    if (start > bytes_.size() || tensor.begin > bytes_.size() - start ||
        size > bytes_.size() - start - tensor.begin) {
      return Bad("tensor ", QuoteName(tensor.name), ": ", size, " bytes at byte ", tensor.begin,
                 " of the data, the file has ", bytes_.size() < start ? 0 : bytes_.size() - start,
                 " bytes of data; download it again");
    }
    tensor.begin += start;
    tensor.end = tensor.begin + size;
  }
  std::sort(header->tensors_.begin(), header->tensors_.end(),
            [](const GgufTensor& a, const GgufTensor& b) { return a.name < b.name; });
  for (size_t i = 1; i < header->tensors_.size(); ++i) {
    if (header->tensors_[i].name == header->tensors_[i - 1].name) {
      return Bad("tensor ", QuoteName(header->tensors_[i].name), ": occurs twice");
    }
  }
  return CheckOverlaps(*header);
}

absl::Status GgufParser::CheckOverlaps(const GgufHeader& header) const {
  std::vector<const GgufTensor*> order;
  for (const GgufTensor& tensor : header.tensors_) {
    order.push_back(&tensor);
  }
  std::sort(order.begin(), order.end(),
            [](const GgufTensor* a, const GgufTensor* b) { return a->begin < b->begin; });
  for (size_t i = 1; i < order.size(); ++i) {
    if (order[i]->begin < order[i - 1]->end) {
      return Bad("tensor ", QuoteName(order[i]->name), ": overlaps ",
                 QuoteName(order[i - 1]->name));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<GgufHeader> GgufHeader::Parse(std::string_view bytes, std::string_view name) {
  return GgufParser(bytes, name).Parse();
}

}  // namespace alcca
