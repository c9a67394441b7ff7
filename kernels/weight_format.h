#pragma once

// The formats that weight matrices are kept in: one table. A format is added by a row here and by a
// kernel of each backend that multiplies it; flags, their help, and sizes follow from the row.

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace alcca {

enum class WeightDType : uint8_t { kF32, kBF16, kInt8, kFp8 };

struct WeightFormat {
  WeightDType dtype;
  const char* name;  // as flags, configuration and wire say it
  int32_t bits;      // per element, scales not counted
  bool row_scales;   // one f32 scale per row of the matrix
  // What the output head of such a model is kept in. LLM.int8() leaves it at full precision: the
  // rounding of 8 bits would reach the logits undamped.
  WeightDType head;
  bool on_cpu, on_cuda;  // which backends multiply it; the reference backend multiplies all
  const char* needs;     // of the device, for help and errors; or null
};

inline constexpr WeightFormat kWeightFormats[] = {
    {WeightDType::kF32, "f32", 32, false, WeightDType::kF32, true, true, nullptr},
    {WeightDType::kBF16, "bf16", 16, false, WeightDType::kBF16, true, true, nullptr},
    {WeightDType::kInt8, "int8", 8, true, WeightDType::kBF16, true, true, nullptr},
    {WeightDType::kFp8, "fp8", 8, true, WeightDType::kBF16, false, true,
     "CUDA from compute capability 9.0 on"},
};

// The table's row of `dtype`; rows stand in the order of the enumerators.
constexpr const WeightFormat& FormatOf(WeightDType dtype) {
  return kWeightFormats[static_cast<size_t>(dtype)];
}
static_assert([] {
  for (size_t i = 0; i < std::size(kWeightFormats); ++i) {
    if (kWeightFormats[i].dtype != static_cast<WeightDType>(i)) {
      return false;
    }
  }
  return true;
}());

// The format of this name, if there is one.
constexpr std::optional<WeightDType> WeightDTypeOf(std::string_view name) {
  for (const WeightFormat& format : kWeightFormats) {
    if (name == format.name) {
      return format.dtype;
    }
  }
  return std::nullopt;
}

// Bytes of so many elements in one dense run, scales not counted.
constexpr size_t WeightBytes(WeightDType dtype, int64_t elements) {
  return (static_cast<size_t>(elements) * static_cast<size_t>(FormatOf(dtype).bits) + 7) / 8;
}

// The choices of a flag: `first`, then every name, or the names that a CPU multiplies.
inline std::vector<std::string> WeightFormatNames(std::vector<std::string> first = {},
                                                  bool cpu_only = false) {
  for (const WeightFormat& format : kWeightFormats) {
    if (format.on_cpu || !cpu_only) {
      first.emplace_back(format.name);
    }
  }
  return first;
}

}  // namespace alcca
