// The table of weight formats: that names lead back to their rows, and sizes are whole bytes.

#include "kernels/weight_format.h"

#include "gtest/gtest.h"

namespace alcca {
namespace {

TEST(WeightFormatTest, NamesAreTheirOwn) {
  for (const WeightFormat& format : kWeightFormats) {
    EXPECT_EQ(WeightDTypeOf(format.name), format.dtype);
    EXPECT_STREQ(FormatOf(format.dtype).name, format.name);
    EXPECT_TRUE(format.on_cpu || format.on_cuda) << format.name;
  }
  EXPECT_EQ(WeightDTypeOf("auto"), std::nullopt);
  EXPECT_EQ(WeightDTypeOf(""), std::nullopt);
  EXPECT_EQ(WeightDTypeOf("INT8"), std::nullopt);
}

// A head is wider than 8 bits, runs wherever its format does, and is its own head.
TEST(WeightFormatTest, HeadsAreKeptWide) {
  for (const WeightFormat& format : kWeightFormats) {
    const WeightFormat& head = FormatOf(format.head);
    EXPECT_GE(head.bits, 16) << format.name;
    EXPECT_EQ(head.head, head.dtype) << format.name;
    EXPECT_GE(head.on_cpu, format.on_cpu) << format.name;
    EXPECT_GE(head.on_cuda, format.on_cuda) << format.name;
  }
}

TEST(WeightFormatTest, SizesComeFromBits) {
  EXPECT_EQ(WeightBytes(WeightDType::kF32, 3), 12u);
  EXPECT_EQ(WeightBytes(WeightDType::kBF16, 3), 6u);
  EXPECT_EQ(WeightBytes(WeightDType::kInt8, 3), 3u);
  EXPECT_EQ(WeightBytes(WeightDType::kFp8, int64_t{1} << 40), size_t{1} << 40);
}

TEST(WeightFormatTest, ChoicesOfAFlag) {
  EXPECT_EQ(WeightFormatNames({"auto"}),
            (std::vector<std::string>{"auto", "f32", "bf16", "int8", "fp8"}));
  EXPECT_EQ(WeightFormatNames({}, /*cpu_only=*/true),
            (std::vector<std::string>{"f32", "bf16", "int8"}));
}

}  // namespace
}  // namespace alcca
