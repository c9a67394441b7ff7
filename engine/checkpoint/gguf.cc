#include "engine/checkpoint/gguf.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <unordered_set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/status_macros.h"
#include "engine/checkpoint/gguf_parser.h"
#include "engine/checkpoint/safetensors.h"

namespace alcca {
namespace {

// The number at `bytes`, of an integer type or bool; nullopt for other types and beyond int64.
std::optional<int64_t> IntegerAt(GgufValueType type, const char* bytes) {
  switch (type) {
    case GgufValueType::kUint8:
    case GgufValueType::kBool:
      return LoadLittleEndian<uint8_t>(bytes);
    case GgufValueType::kInt8:
      return LoadLittleEndian<int8_t>(bytes);
    case GgufValueType::kUint16:
      return LoadLittleEndian<uint16_t>(bytes);
    case GgufValueType::kInt16:
      return LoadLittleEndian<int16_t>(bytes);
    case GgufValueType::kUint32:
      return LoadLittleEndian<uint32_t>(bytes);
    case GgufValueType::kInt32:
      return LoadLittleEndian<int32_t>(bytes);
    case GgufValueType::kInt64:
      return LoadLittleEndian<int64_t>(bytes);
    case GgufValueType::kUint64: {
      const uint64_t value = LoadLittleEndian<uint64_t>(bytes);
      return value <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max())
                 ? std::optional<int64_t>(static_cast<int64_t>(value))
                 : std::nullopt;
    }
    default:
      return std::nullopt;
  }
}

// Strings stand behind their lengths; the parser has checked them.
std::vector<std::string_view> StringsAt(const GgufValue& value) {
  std::vector<std::string_view> strings;
  strings.reserve(value.count);
  std::string_view rest = value.bytes;
  for (uint64_t i = 0; i < value.count; ++i) {
    const uint64_t size = LoadLittleEndian<uint64_t>(rest.data());
    strings.push_back(rest.substr(8, size));
    rest.remove_prefix(8 + size);
  }
  return strings;
}

}  // namespace

const GgufTensor* GgufHeader::FindTensor(std::string_view name) const {
  const auto it = std::lower_bound(
      tensors_.begin(), tensors_.end(), name,
      [](const GgufTensor& tensor, std::string_view wanted) { return tensor.name < wanted; });
  return it != tensors_.end() && it->name == name ? &*it : nullptr;
}

const GgufValue* GgufHeader::FindValue(std::string_view key) const {
  const auto it = values_.find(key);
  return it == values_.end() ? nullptr : &it->second;
}

absl::Status GgufHeader::Mistyped(std::string_view key, std::string_view wanted) const {
  return absl::InvalidArgumentError(
      absl::StrCat(name_, ": key ", QuoteName(key), ": expected ", std::string(wanted)));
}

absl::StatusOr<std::optional<std::string_view>> GgufHeader::String(std::string_view key) const {
  const GgufValue* value = FindValue(key);
  if (value == nullptr) {
    return std::nullopt;
  }
  if (value->array || value->type != GgufValueType::kString) {
    return Mistyped(key, "a string");
  }
  return StringsAt(*value)[0];
}

absl::StatusOr<std::optional<int64_t>> GgufHeader::Integer(std::string_view key) const {
  const GgufValue* value = FindValue(key);
  if (value == nullptr) {
    return std::nullopt;
  }
  const std::optional<int64_t> number = value->array || value->type == GgufValueType::kBool
                                            ? std::nullopt
                                            : IntegerAt(value->type, value->bytes.data());
  if (!number) {
    return Mistyped(key, "an integer");
  }
  return number;
}

absl::StatusOr<std::optional<double>> GgufHeader::Number(std::string_view key) const {
  const GgufValue* value = FindValue(key);
  if (value == nullptr) {
    return std::nullopt;
  }
  if (!value->array && value->type == GgufValueType::kFloat32) {
    return std::bit_cast<float>(LoadLittleEndian<uint32_t>(value->bytes.data()));
  }
  if (!value->array && value->type == GgufValueType::kFloat64) {
    return std::bit_cast<double>(LoadLittleEndian<uint64_t>(value->bytes.data()));
  }
  const absl::StatusOr<std::optional<int64_t>> integer = Integer(key);
  if (!integer.ok()) {
    return Mistyped(key, "a number");
  }
  return static_cast<double>(**integer);
}

absl::StatusOr<std::optional<bool>> GgufHeader::Bool(std::string_view key) const {
  const GgufValue* value = FindValue(key);
  if (value == nullptr) {
    return std::nullopt;
  }
  if (value->array || value->type != GgufValueType::kBool) {
    return Mistyped(key, "true or false");
  }
  return value->bytes[0] != 0;
}

absl::StatusOr<std::optional<std::vector<std::string_view>>> GgufHeader::Strings(
    std::string_view key) const {
  const GgufValue* value = FindValue(key);
  if (value == nullptr) {
    return std::nullopt;
  }
  if (!value->array || value->type != GgufValueType::kString) {
    return Mistyped(key, "a list of strings");
  }
  return StringsAt(*value);
}

absl::StatusOr<std::optional<std::vector<int64_t>>> GgufHeader::Integers(
    std::string_view key) const {
  const GgufValue* value = FindValue(key);
  if (value == nullptr) {
    return std::nullopt;
  }
  const uint64_t size = GgufScalarBytes(static_cast<uint32_t>(value->type));
  std::vector<int64_t> numbers;
  for (uint64_t i = 0; value->array && size > 0 && i < value->count; ++i) {
    const std::optional<int64_t> number = IntegerAt(value->type, value->bytes.data() + i * size);
    if (!number) {
      return Mistyped(key, "a list of integers");
    }
    numbers.push_back(*number);
  }
  if (!value->array || numbers.size() != value->count) {
    return Mistyped(key, "a list of integers");
  }
  return numbers;
}

absl::StatusOr<std::optional<std::vector<float>>> GgufHeader::Floats(std::string_view key) const {
  const GgufValue* value = FindValue(key);
  if (value == nullptr) {
    return std::nullopt;
  }
  if (!value->array || value->type != GgufValueType::kFloat32) {
    return Mistyped(key, "a list of 32-bit floats");
  }
  std::vector<float> numbers(value->count);
  for (uint64_t i = 0; i < value->count; ++i) {
    numbers[i] = std::bit_cast<float>(LoadLittleEndian<uint32_t>(value->bytes.data() + i * 4));
  }
  return numbers;
}

namespace {

constexpr std::string_view kSuffix = "-00001-of-";

absl::StatusOr<GgufModel::Part> OpenPart(const std::string& path) {
  GgufModel::Part part;
  ASSIGN_OR_RETURN(part.file, MappedFile::Open(path));
  ASSIGN_OR_RETURN(part.header, GgufHeader::Parse(part.file->bytes(), path));
  return part;
}

// Checks that a part says that it is number `i` of `count`.
absl::Status CheckPart(const GgufModel::Part& part, int64_t i, int64_t count) {
  ASSIGN_OR_RETURN(const auto number, part.header.Integer("split.no"));
  ASSIGN_OR_RETURN(const auto parts, part.header.Integer("split.count"));
  if (number != i || parts != count) {
    return absl::InvalidArgumentError(
        absl::StrFormat("%s: is not file %d of %d of its model: split.no %d, split.count %d",
                        part.file->path(), i + 1, count, number.value_or(-1), parts.value_or(-1)));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<GgufModel> GgufModel::Open(const std::string& path) {
  GgufModel model;
  ASSIGN_OR_RETURN(Part first, OpenPart(path));
  ASSIGN_OR_RETURN(const auto split, first.header.Integer("split.count"));
  ASSIGN_OR_RETURN(const auto total, first.header.Integer("split.tensors.count"));
  model.parts_.push_back(std::move(first));
  const int64_t count = std::max<int64_t>(split.value_or(1), 1);
  if (count > static_cast<int64_t>(kMaxGgufFiles)) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": key 'split.count': ", count, ", more than ", kMaxGgufFiles));
  }
  if (count == 1) {
    return model;
  }
  const std::string end = absl::StrFormat("%s%05d.gguf", std::string(kSuffix), count);
  if (!path.ends_with(end)) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": is one of ", count,
                     " files of a model; open the first, whose name ends in ", end));
  }
  RETURN_IF_ERROR(CheckPart(model.parts_[0], 0, count));
  std::unordered_set<std::string_view> names;
  size_t tensors = 0;
  for (int64_t i = 0; i < count; ++i) {
    if (i > 0) {
      ASSIGN_OR_RETURN(Part part, OpenPart(absl::StrFormat("%s-%05d-of-%05d.gguf",
                                                           path.substr(0, path.size() - end.size()),
                                                           i + 1, count)));
      RETURN_IF_ERROR(CheckPart(part, i, count));
      model.parts_.push_back(std::move(part));
    }
    const Part& part = model.parts_.back();
    tensors += part.header.tensors().size();
    if (tensors > kMaxGgufTensors) {
      return absl::InvalidArgumentError(
          absl::StrCat(path, ": more than ", kMaxGgufTensors, " tensors"));
    }
    for (const GgufTensor& tensor : part.header.tensors()) {
      if (!names.insert(tensor.name).second) {
        return absl::InvalidArgumentError(absl::StrCat(part.file->path(), ": tensor ",
                                                       QuoteName(tensor.name),
                                                       ": is in another file as well"));
      }
    }
  }
  if (total && *total != static_cast<int64_t>(tensors)) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": key 'split.tensors.count': ", *total, ", the files have ", tensors));
  }
  return model;
}

std::pair<const GgufTensor*, const MappedFile*> GgufModel::Find(std::string_view name) const {
  for (const Part& part : parts_) {
    if (const GgufTensor* tensor = part.header.FindTensor(name)) {
      return {tensor, part.file.get()};
    }
  }
  return {nullptr, nullptr};
}

absl::Status GgufModel::Read(std::string_view name, const std::vector<int64_t>& shape,
                             std::span<float> out) const {
  const auto [tensor, file] = Find(name);
  const std::string& path = parts_[0].file->path();
  if (tensor == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": tensor ", QuoteName(name), ": is missing"));
  }
  uint64_t weights = 1;
  for (const int64_t extent : tensor->shape) {
    weights *= static_cast<uint64_t>(extent);  // The parser has checked that it fits.
  }
  if (tensor->shape != shape || weights != out.size()) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": tensor ", QuoteName(name), ": shape ",
                                                   ShapeToString(tensor->shape), ", expected ",
                                                   ShapeToString(shape)));
  }
  RETURN_IF_ERROR(file->CheckUnchanged());
  const GgufBlockFormat& format = *FindGgufBlockFormat(static_cast<uint32_t>(tensor->type));
  DequantizeGguf(format, file->data() + tensor->begin, weights / format.weights, out.data());
  return absl::OkStatus();
}

}  // namespace alcca
