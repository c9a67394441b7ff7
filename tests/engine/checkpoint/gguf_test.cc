#include "engine/checkpoint/gguf.h"

#include <unistd.h>

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

namespace alcca {
namespace {

const std::string kGolden = ALCCA_TEST_DATA_DIR "/gguf/";

template <typename T>
std::string Little(T value) {
  std::string bytes(sizeof(value), '\0');
  std::memcpy(bytes.data(), &value, sizeof(value));
  return bytes;
}
std::string U32(uint32_t value) {
  return Little(value);
}
std::string U64(uint64_t value) {
  return Little(value);
}
std::string Str(const std::string& text) {
  return U64(text.size()) + text;
}

std::string Key(const std::string& name, uint32_t type, const std::string& value) {
  return Str(name) + U32(type) + value;
}

struct TensorEntry {
  std::string name = "x";
  std::vector<uint64_t> extents = {32};  // Innermost first, as the file has them.
  uint32_t type = 0;
  uint64_t offset = 0;
};

std::string Tensor(const TensorEntry& t) {
  std::string bytes = Str(t.name) + U32(static_cast<uint32_t>(t.extents.size()));
  for (const uint64_t extent : t.extents) {
    bytes += U64(extent);
  }
  return bytes + U32(t.type) + U64(t.offset);
}

// A whole file: counts as given, data of `data_bytes` after the padding.
std::string File(const std::vector<std::string>& keys, const std::vector<std::string>& tensors,
                 size_t data_bytes = 0) {
  std::string bytes = "GGUF" + U32(3) + U64(tensors.size()) + U64(keys.size());
  for (const std::string& part : keys) {
    bytes += part;
  }
  for (const std::string& part : tensors) {
    bytes += part;
  }
  if (data_bytes > 0) {
    bytes.resize((bytes.size() + 31) / 32 * 32 + data_bytes);
  }
  return bytes;
}

struct BadGguf {
  std::string what;
  std::string bytes;
  std::string says;
};

std::vector<BadGguf> GgufFrameCases() {
  const std::string head = "GGUF" + U32(3);
  return {
      {"empty", "", "does not begin with 'GGUF'"},
      {"three_bytes", "GGU", "does not begin with 'GGUF'"},
      {"html", "<html>", "does not begin with 'GGUF'"},
      {"magic_alone", "GGUF", "ends in its version"},
      {"version_cut", "GGUF\3\0", "ends in its version"},
      {"version_0", "GGUF" + U32(0), "GGUF version 0"},
      {"version_1", "GGUF" + U32(1), "GGUF version 1"},
      {"version_4", "GGUF" + U32(4), "GGUF version 4"},
      {"big_endian", "GGUF" + U32(0x03000000), "is big endian"},
      {"no_counts", head, "ends in its number of tensors"},
      {"one_count", head + U64(0), "ends in its number of keys"},
      {"tensors_huge", head + U64(~uint64_t{0}) + U64(0), "18446744073709551615 tensors"},
      {"tensors_many", head + U64(100'001) + U64(0), "100001 tensors, more than 100000"},
      {"tensors_none", head + U64(1) + U64(0), "1 tensors, more than 0"},
      {"keys_huge", head + U64(0) + U64(~uint64_t{0}), "18446744073709551615 keys"},
      {"keys_many", head + U64(0) + U64(65'537), "65537 keys, more than 65536"},
      {"keys_none", head + U64(0) + U64(1), "1 keys, more than 0"},
  };
}

std::vector<BadGguf> KeyCases() {
  const std::string pad(32, '\0');
  const auto one = [](const std::string& key) { return File({key}, {}) + std::string(16, '\0'); };
  return {
      {"key_long", one(U64(65'536) + "k"), "a key has 65536 bytes, more than 65535"},
      {"key_past_end", one(U64(999) + "k"), "a key has 999 bytes, the rest of the file"},
      {"key_2_63", one(U64(uint64_t{1} << 63)), "a key has 9223372036854775808 bytes"},
      {"key_empty", one(Key("", 0, "\1")), "a key without a name"},
      {"key_twice", File({Key("k", 0, "\1"), Key("k", 0, "\2")}, {}), "key 'k': occurs twice"},
      {"key_newline", File({Key("a\nb", 0, "\1"), Key("a\nb", 0, "\2")}, {}), "'a\\nb'"},
      {"type_13", one(Key("k", 13, "")), "key 'k': type 13, which is unknown"},
      {"type_huge", one(Key("k", ~uint32_t{0}, "")), "type 4294967295, which is unknown"},
      {"value_cut", File({Key("key-long-enough", 12, "abc")}, {}), "1 values of 8 bytes"},
      {"bool_2", one(Key("k", 7, "\2")), "neither 0 nor 1"},
      {"string_past_end", one(Key("k", 8, U64(99))), "its text has 99 bytes, the rest"},
      {"string_2_64", one(Key("k", 8, U64(~uint64_t{0}))), "18446744073709551615 bytes"},
      {"list_of_lists", one(Key("k", 9, U32(9) + U64(1))), "a list of type 9"},
      {"list_of_13", one(Key("k", 9, U32(13) + U64(1))), "a list of type 13"},
      {"list_huge", one(Key("k", 9, U32(0) + U64(~uint64_t{0}))), "more than 4000000"},
      {"list_overflow", one(Key("k", 9, U32(12) + U64((uint64_t{1} << 61) + 1))), "more than"},
      {"list_past_end", one(Key("k", 9, U32(4) + U64(5))), "5 values of 4 bytes"},
      {"strings_past_end", one(Key("k", 9, U32(8) + U64(3))), "3 strings, the rest"},
      {"strings_cut", one(Key("k", 9, U32(8) + U64(2) + Str("a") + U64(77))), "has 77 bytes"},
      {"list_cut", File({Str("key-long-enough") + U32(9)}, {}), "ends in key"},
      {"alignment_0", one(Key("general.alignment", 4, U32(0))), "general.alignment': 0"},
      {"alignment_24", one(Key("general.alignment", 4, U32(24))), "expected a power of two"},
      {"alignment_huge", one(Key("general.alignment", 4, U32(1U << 31))), "power of two up to"},
      {"alignment_text", one(Key("general.alignment", 8, Str("32"))), "unsigned 32-bit"},
  };
}

std::vector<BadGguf> TensorCases() {
  const auto one = [](const TensorEntry& t, size_t data = 128) {
    return File({}, {Tensor(t)}, data);
  };
  const std::string two = Tensor({std::string(30, 'a')}) + Tensor({"b", {32}, 0, 128});
  return {
      {"name_empty", one({""}), "a tensor without a name"},
      {"name_long", one({std::string(513, 'n')}), "name has 513 bytes, more than 512"},
      {"name_past_end", File({}, {U64(400) + std::string(40, 'x')}),
       "name has 400 bytes, the rest"},
      {"no_dimensions", one({"x", {}}), "tensor 'x': 0 dimensions"},
      {"five_dimensions", one({"x", {1, 1, 1, 1, 1}}), "5 dimensions, expected 1 to 4"},
      {"dimensions_huge", File({}, {Str("x") + U32(~uint32_t{0}) + std::string(40, '\0')}),
       "4294967295 dimensions"},
      {"extent_0", one({"x", {32, 0}}), "dimension 1 is 0"},
      {"extent_2_64", one({"x", {~uint64_t{0}}}), "dimension 0 is 18446744073709551615"},
      {"product_overflow", one({"x", {uint64_t{1} << 32, uint64_t{1} << 32}}), "dimension 1 is"},
      {"product_wraps", one({"x", {uint64_t{1} << 33, uint64_t{1} << 31}}), "dimension 1 is"},
      {"type_unread", one({"x", {256}, 16}), "type IQ2_XXS is not implemented"},
      {"type_unknown", one({"x", {32}, 99}), "type 99 is not implemented"},
      {"type_removed", one({"x", {32}, 4}), "type 4 is not implemented"},
      {"half_a_block", one({"x", {48}, 8}), "rows of 48 weights, expected a multiple of 32"},
      {"half_a_super_block", one({"x", {128, 2}, 12}), "multiple of 256 for type Q4_K"},
      {"unaligned", one({"x", {32}, 0, 8}, 512), "begins at byte 8 of the data"},
      {"past_end", one({"x", {33}}), "132 bytes at byte 0 of the data, the file has 128"},
      {"offset_past_end", one({"x", {32}, 0, 32}), "128 bytes at byte 32 of the data"},
      {"offset_2_64", one({"x", {32}, 0, ~uint64_t{31}}), "at byte 18446744073709551584"},
      {"no_data", File({}, {Tensor({"x"})}), "the file has 0 bytes of data"},
      {"twice", File({}, {Tensor({"a"}), Tensor({"a", {32}, 0, 128})}, 256), "'a': occurs twice"},
      {"overlap", File({}, {Tensor({"a"}), Tensor({"b", {32}, 0, 96})}, 256), "'b': overlaps 'a'"},
      {"same_place", File({}, {Tensor({"a"}), Tensor({"b"})}, 256), "overlaps"},
      {"table_cut", "GGUF" + U32(3) + U64(2) + U64(0) + two.substr(0, two.size() - 4),
       "ends in tensor 'b': its place"},
  };
}

TEST(GgufTest, BadFilesAreRefusedByName) {
  size_t count = 0;
  for (const std::vector<BadGguf>& cases : {GgufFrameCases(), KeyCases(), TensorCases()}) {
    for (const BadGguf& bad : cases) {
      const auto header = GgufHeader::Parse(bad.bytes, "m.gguf");
      ASSERT_FALSE(header.ok()) << bad.what;
      const std::string message(header.status().message());
      EXPECT_TRUE(message.starts_with("m.gguf: ")) << bad.what << ": " << message;
      EXPECT_NE(message.find(bad.says), std::string::npos) << bad.what << ": " << message;
      EXPECT_EQ(message.find('\n'), std::string::npos) << bad.what;
      EXPECT_LT(message.size(), 900U) << bad.what;
      ++count;
    }
  }
  EXPECT_GE(count, 60U);
}

// Every file that is a good one cut short, or with one byte changed, is refused or read; no more.
TEST(GgufTest, CutAndChangedFilesDoNoHarm) {
  std::ifstream in(kGolden + "tiny.gguf", std::ios::binary);
  const std::string good((std::istreambuf_iterator<char>(in)), {});
  ASSERT_TRUE(GgufHeader::Parse(good, "g").ok());
  for (size_t size = 0; size < good.size(); ++size) {
    EXPECT_FALSE(GgufHeader::Parse(std::string(good, 0, size), "g").ok()) << size;
  }
  for (size_t at = 0; at < good.size(); ++at) {
    for (const char flip : {'\x01', '\x80', '\xFF'}) {
      std::string changed = good;
      changed[at] = static_cast<char>(changed[at] ^ flip);
      (void)GgufHeader::Parse(changed, "g");
    }
  }
}

TEST(GgufTest, BlocksHaveTheValuesOfTheGgufPackage) {
  std::ifstream in(kGolden + "blocks.jsonl");
  int types = 0;
  for (std::string line; std::getline(in, line); ++types) {
    const auto entry = nlohmann::json::parse(line);
    const std::string name = entry["type"];
    const std::string blocks = absl::HexStringToBytes(std::string(entry["blocks"]));
    const std::string values = absl::HexStringToBytes(std::string(entry["values"]));
    const GgufBlockFormat* format = nullptr;
    for (uint32_t type = 0; type < 64 && (format == nullptr || format->name != name); ++type) {
      format = FindGgufBlockFormat(type);
    }
    ASSERT_NE(format, nullptr) << name;
    const uint64_t count = blocks.size() / format->bytes;
    ASSERT_EQ(count * format->bytes, blocks.size()) << name;
    std::vector<float> out(count * format->weights);
    ASSERT_EQ(out.size() * sizeof(float), values.size()) << name;
    const std::string shifted = "x" + blocks;  // Blocks need no alignment.
    DequantizeGguf(*format, reinterpret_cast<const std::byte*>(shifted.data()) + 1, count,
                   out.data());
    for (size_t i = 0; i < out.size(); ++i) {
      EXPECT_EQ(std::memcmp(&out[i], values.data() + i * sizeof(float), sizeof(float)), 0)
          << name << " value " << i << ": " << out[i];
    }
  }
  EXPECT_EQ(types, 13);
}

TEST(GgufTest, KeysOfEveryType) {
  const auto model = GgufModel::Open(kGolden + "tiny.gguf");
  ASSERT_TRUE(model.ok()) << model.status();
  const GgufHeader& header = model->header();
  EXPECT_EQ(**header.Integer("t.u8"), 255);
  EXPECT_EQ(**header.Integer("t.i8"), -128);
  EXPECT_EQ(**header.Integer("t.u16"), 65535);
  EXPECT_EQ(**header.Integer("t.i16"), -32768);
  EXPECT_EQ(**header.Integer("t.u32"), 4294967295);
  EXPECT_EQ(**header.Integer("t.i32"), -2147483648);
  EXPECT_EQ(**header.Integer("t.u64"), INT64_MAX);
  EXPECT_EQ(**header.Integer("t.i64"), INT64_MIN);
  EXPECT_EQ(**header.Number("t.f32"), 0.1F);
  EXPECT_EQ(**header.Number("t.f64"), 0.1);
  EXPECT_EQ(**header.Number("t.i8"), -128);
  EXPECT_EQ(**header.Bool("t.bool"), true);
  EXPECT_EQ(**header.String("t.string"), "Grüße");
  EXPECT_EQ(**header.Strings("t.strings"), (std::vector<std::string_view>{"a", "", "çé"}));
  EXPECT_EQ(**header.Integers("t.ints"), (std::vector<int64_t>{1, -2, 3}));
  EXPECT_EQ(**header.Floats("t.floats"), (std::vector<float>{1.5F, -0.25F}));
  EXPECT_FALSE(header.String("t.absent")->has_value());
  for (const absl::Status& status :
       {header.String("t.u8").status(), header.Integer("t.f32").status(),
        header.Integer("t.bool").status(), header.Bool("t.u8").status(),
        header.Number("t.string").status(), header.Strings("t.string").status(),
        header.Integers("t.floats").status(), header.Floats("t.ints").status()}) {
    EXPECT_NE(status.message().find("tiny.gguf: key 't."), std::string::npos) << status;
    EXPECT_NE(status.message().find(": expected "), std::string::npos) << status;
  }
}

TEST(GgufTest, TensorsOfOneFileAndOfSeveral) {
  std::ifstream in(kGolden + "tiny.json");
  const auto described = nlohmann::json::parse(in);
  for (const std::string file : {"tiny.gguf", "part-00001-of-00002.gguf"}) {
    const auto model = GgufModel::Open(kGolden + file);
    ASSERT_TRUE(model.ok()) << model.status();
    EXPECT_EQ(model->parts().size(), file == "tiny.gguf" ? 1U : 2U);
    for (const auto& [name, tensor] : described.items()) {
      const std::vector<int64_t> shape = tensor["shape"];
      const std::string values = absl::HexStringToBytes(std::string(tensor["values"]));
      std::vector<float> out(values.size() / sizeof(float));
      const absl::Status status = model->Read(name, shape, out);
      ASSERT_TRUE(status.ok()) << status;
      EXPECT_EQ(std::memcmp(out.data(), values.data(), values.size()), 0) << name;
      EXPECT_NE(model->Read(name, {1}, out).message().find("expected [1]"), std::string::npos);
    }
    std::vector<float> none(1);
    EXPECT_NE(model->Read("nosuch", {1}, none).message().find("'nosuch': is missing"),
              std::string::npos);
  }
}

TEST(GgufTest, FilesOfAModelMustFitTogether) {
  namespace fs = std::filesystem;
  const fs::path dir = fs::path(::testing::TempDir()) / absl::StrCat("gguf_", getpid());
  fs::create_directories(dir);
  const auto error = [](const fs::path& path) {
    return std::string(GgufModel::Open(path.string()).status().message());
  };
  const fs::path first = dir / "part-00001-of-00002.gguf",
                 second = dir / "part-00002-of-00002.gguf";
  fs::copy_file(kGolden + "part-00001-of-00002.gguf", first);
  EXPECT_NE(error(first).find("part-00002-of-00002.gguf: cannot open"), std::string::npos);
  fs::copy_file(kGolden + "part-00001-of-00002.gguf", second);
  EXPECT_NE(error(first).find("is not file 2 of 2"), std::string::npos) << error(first);
  EXPECT_NE(error(kGolden + "part-00002-of-00002.gguf").find("open the first"), std::string::npos);
  fs::copy_file(first, dir / "renamed.gguf");
  EXPECT_NE(error(dir / "renamed.gguf").find("open the first"), std::string::npos);
  EXPECT_NE(error(dir).find("not a regular file"), std::string::npos) << error(dir);
  EXPECT_NE(error(dir / "absent.gguf").find("cannot open"), std::string::npos);
  fs::remove_all(dir);
}

}  // namespace
}  // namespace alcca
