#include "engine/checkpoint/gguf_blocks.h"

#include <bit>

#include "kernels/half.h"

namespace alcca {
namespace {

constexpr int kSmallBlock = 32;
constexpr int kSuperBlock = 256;

float F32(uint32_t bits) {
  return std::bit_cast<float>(bits);
}

uint32_t Load16(const uint8_t* p) {
  return p[0] | uint32_t{p[1]} << 8;
}

uint32_t Load32(const uint8_t* p) {
  return Load16(p) | Load16(p + 2) << 16;
}

float Half(const uint8_t* p) {
  return HalfToFloat(static_cast<uint16_t>(Load16(p)));
}

// d * q + m, rounded twice: this file is compiled without fused multiply-adds, which would give
// other bits on some machines.
float Scaled(float d, int q, float m) {
  return d * static_cast<float>(q) + m;
}

void ReadF32(const uint8_t* p, float* out) {
  *out = F32(Load32(p));
}

void ReadF16(const uint8_t* p, float* out) {
  *out = Half(p);
}

void ReadBf16(const uint8_t* p, float* out) {
  *out = F32(Load16(p) << 16);
}

void ReadQ8_0(const uint8_t* p, float* out) {
  const float d = Half(p);
  for (int i = 0; i < kSmallBlock; ++i) {
    out[i] = static_cast<float>(static_cast<int8_t>(p[2 + i])) * d;
  }
}

// Low nibbles are the first half of a block, high nibbles the second.
int Nibble(const uint8_t* q, int i) {
  return i < 16 ? q[i] & 0xF : q[i - 16] >> 4;
}

void ReadQ4_0(const uint8_t* p, float* out) {
  const float d = Half(p);
  for (int i = 0; i < kSmallBlock; ++i) {
    out[i] = d * static_cast<float>(Nibble(p + 2, i) - 8);
  }
}

void ReadQ4_1(const uint8_t* p, float* out) {
  const float d = Half(p), m = Half(p + 2);
  for (int i = 0; i < kSmallBlock; ++i) {
    out[i] = Scaled(d, Nibble(p + 4, i), m);
  }
}

// The fifth bits of a block stand in 32 bits in front of the nibbles.
int FiveBits(const uint8_t* high, int i) {
  return Nibble(high + 4, i) | static_cast<int>(Load32(high) >> i & 1) << 4;
}

void ReadQ5_0(const uint8_t* p, float* out) {
  const float d = Half(p);
  for (int i = 0; i < kSmallBlock; ++i) {
    out[i] = d * static_cast<float>(FiveBits(p + 2, i) - 16);
  }
}

void ReadQ5_1(const uint8_t* p, float* out) {
  const float d = Half(p), m = Half(p + 2);
  for (int i = 0; i < kSmallBlock; ++i) {
    out[i] = Scaled(d, FiveBits(p + 4, i), m);
  }
}

// Two bits of weight i: of each 32 bytes, all the lowest pairs come first.
int TwoBits(const uint8_t* q, int i) {
  return q[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3;
}

// scales[16], two bits[64], d, dmin; 16 weights share a scale and a minimum.
void ReadQ2_K(const uint8_t* p, float* out) {
  const float d = Half(p + 80), dmin = Half(p + 82);
  for (int i = 0; i < kSuperBlock; ++i) {
    const int scale = p[i / 16];
    const float dl = d * static_cast<float>(scale & 0xF);
    const float ml = dmin * static_cast<float>(scale >> 4);
    out[i] = Scaled(dl, TwoBits(p + 16, i), -ml);
  }
}

// third bits[32], two bits[64], 16 scales of 6 bits[12], d.
void ReadQ3_K(const uint8_t* p, float* out) {
  const uint8_t* scales = p + 96;
  const float d = Half(p + 108);
  for (int i = 0; i < kSuperBlock; ++i) {
    const int s = i / 16;
    const int low = s < 8 ? scales[s] & 0xF : scales[s - 8] >> 4;
    const int high = scales[8 + s % 4] >> (s / 4 * 2) & 3;
    const float dl = d * static_cast<float>((low | high << 4) - 32);
    const int third = p[i % 32] >> (i / 32) & 1;
    out[i] = dl * static_cast<float>(TwoBits(p + 32, i) - (third == 1 ? 0 : 4));
  }
}

// Scale and minimum number j of the 8 that stand in 12 bytes, 6 bits each.
struct ScaleMin {
  int scale, min;
};

ScaleMin SixBits(const uint8_t* s, int j) {
  if (j < 4) {
    return {s[j] & 63, s[j + 4] & 63};
  }
  return {(s[j + 4] & 0xF) | (s[j - 4] >> 2 & 0x30), s[j + 4] >> 4 | (s[j] >> 2 & 0x30)};
}

// d, dmin, scales[12], with `fifths` fifth bits[32], nibbles[128]; 32 weights share a scale and a
// minimum.
template <bool fifths>
void ReadGroups(const uint8_t* p, float* out) {
  const float d = Half(p), dmin = Half(p + 2);
  for (int group = 0; group < kSuperBlock / 32; ++group, out += 32) {
    const ScaleMin s = SixBits(p + 4, group);
    const float dl = d * static_cast<float>(s.scale), ml = dmin * static_cast<float>(s.min);
    const uint8_t* nibbles = p + (fifths ? 48 : 16) + group / 2 * 32;
    const int shift = group % 2 * 4;
    for (int i = 0; i < 32; ++i) {
      const int fifth = fifths ? p[16 + i] >> group & 1 : 0;
      out[i] = Scaled(dl, (nibbles[i] >> shift & 0xF) | fifth << 4, -ml);
    }
  }
}

// low nibbles[128], high pairs[64], scales[16] (signed), d.
void ReadQ6_K(const uint8_t* p, float* out) {
  const float d = Half(p + 208);
  for (int i = 0; i < kSuperBlock; ++i) {
    const float dl = d * static_cast<float>(static_cast<int8_t>(p[192 + i / 16]));
    const uint8_t byte = p[i / 128 * 64 + i % 64];
    const int low = i % 128 < 64 ? byte & 0xF : byte >> 4;
    out[i] = dl * static_cast<float>((low | TwoBits(p + 128, i) << 4) - 32);
  }
}

constexpr GgufBlockFormat kFormats[] = {
    {GgufBlockType::kF32, "F32", 1, 4, ReadF32},
    {GgufBlockType::kF16, "F16", 1, 2, ReadF16},
    {GgufBlockType::kQ4_0, "Q4_0", 32, 18, ReadQ4_0},
    {GgufBlockType::kQ4_1, "Q4_1", 32, 20, ReadQ4_1},
    {GgufBlockType::kQ5_0, "Q5_0", 32, 22, ReadQ5_0},
    {GgufBlockType::kQ5_1, "Q5_1", 32, 24, ReadQ5_1},
    {GgufBlockType::kQ8_0, "Q8_0", 32, 34, ReadQ8_0},
    {GgufBlockType::kQ2_K, "Q2_K", 256, 84, ReadQ2_K},
    {GgufBlockType::kQ3_K, "Q3_K", 256, 110, ReadQ3_K},
    {GgufBlockType::kQ4_K, "Q4_K", 256, 144, ReadGroups<false>},
    {GgufBlockType::kQ5_K, "Q5_K", 256, 176, ReadGroups<true>},
    {GgufBlockType::kQ6_K, "Q6_K", 256, 210, ReadQ6_K},
    {GgufBlockType::kBF16, "BF16", 1, 2, ReadBf16},
};

struct UnreadType {
  uint32_t type;
  std::string_view name;
};

constexpr UnreadType kUnread[] = {
    {9, "Q8_1"},   {15, "Q8_K"},   {16, "IQ2_XXS"}, {17, "IQ2_XS"}, {18, "IQ3_XXS"},
    {19, "IQ1_S"}, {20, "IQ4_NL"}, {21, "IQ3_S"},   {22, "IQ2_S"},  {23, "IQ4_XS"},
    {24, "I8"},    {25, "I16"},    {26, "I32"},     {27, "I64"},    {28, "F64"},
    {29, "IQ1_M"}, {34, "TQ1_0"},  {35, "TQ2_0"},   {39, "MXFP4"},
};

}  // namespace

const GgufBlockFormat* FindGgufBlockFormat(uint32_t type) {
  for (const GgufBlockFormat& format : kFormats) {
    if (static_cast<uint32_t>(format.type) == type) {
      return &format;
    }
  }
  return nullptr;
}

std::optional<std::string_view> UnreadGgufTypeName(uint32_t type) {
  for (const UnreadType& unread : kUnread) {
    if (unread.type == type) {
      return unread.name;
    }
  }
  return std::nullopt;
}

void DequantizeGguf(const GgufBlockFormat& format, const std::byte* data, uint64_t blocks,
                    float* out) {
  const auto* block = reinterpret_cast<const uint8_t*>(data);
  for (uint64_t i = 0; i < blocks; ++i) {
    format.dequantize(block + i * format.bytes, out + i * format.weights);
  }
}

}  // namespace alcca
