#pragma once

// The types of GGUF tensors: blocks of weights that share scales, and their values as f32.
// Source: ggml's ggml-quants.c; values are those of the Python package gguf, bit for bit.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace alcca {

// Numbers are those of the format; types that we cannot read are not among them.
enum class GgufBlockType : uint32_t {
  kF32 = 0,
  kF16 = 1,
  kQ4_0 = 2,
  kQ4_1 = 3,
  kQ5_0 = 6,
  kQ5_1 = 7,
  kQ8_0 = 8,
  kQ2_K = 10,
  kQ3_K = 11,
  kQ4_K = 12,
  kQ5_K = 13,
  kQ6_K = 14,
  kBF16 = 30,
};

struct GgufBlockFormat {
  GgufBlockType type;
  std::string_view name;  // "Q4_K"
  uint64_t weights;       // Of one block.
  uint64_t bytes;         // Of one block.
  void (*dequantize)(const uint8_t* block, float* out);
};

// nullptr for a type that is not in the table.
const GgufBlockFormat* FindGgufBlockFormat(uint32_t type);

// "IQ2_XXS" for types of the format that we do not read; "type 99" is for the caller to say.
std::optional<std::string_view> UnreadGgufTypeName(uint32_t type);

// `blocks` blocks at `data`, which needs no alignment, to blocks * format.weights values.
void DequantizeGguf(const GgufBlockFormat& format, const std::byte* data, uint64_t blocks,
                    float* out);

}  // namespace alcca
