#include "engine/checkpoint/safetensors.h"

#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <ostream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/testing/checkpoint_writer.h"
#include "tools/checkpoint/safetensors_writer.h"

namespace alcca {
namespace {

using testing::LittleEndian64;
using testing::SafetensorsBytes;
using testing::TempDir;

// A tensor entry of a header.
std::string Entry(const std::string& name, const std::string& dtype, const std::string& shape,
                  const std::string& offsets) {
  return absl::StrCat("\"", name, "\":{\"dtype\":\"", dtype, "\",\"shape\":", shape,
                      ",\"data_offsets\":", offsets, "}");
}

std::string One(const std::string& dtype, const std::string& shape, const std::string& offsets,
                size_t data_bytes) {
  return SafetensorsBytes("{" + Entry("x", dtype, shape, offsets) + "}", data_bytes);
}

std::string Metadata(const std::string& value) {
  return SafetensorsBytes("{\"__metadata__\":" + value + "}");
}

struct BadFile {
  std::string what;   // Name of the case.
  std::string bytes;  // The file.
  std::string says;   // Part of the error that names tensor and problem.
  std::string rule;   // "(rule N)", or empty for our own limits.
};

std::vector<BadFile> FrameCases() {
  return {
      {"empty", "", "file of 0 bytes", "(rule 1)"},
      {"seven_bytes", std::string(7, '\0'), "file of 7 bytes", "(rule 1)"},
      {"no_header", LittleEndian64(0), "does not begin with '{'", "(rule 5)"},
      {"header_limit", LittleEndian64(100'000'001) + "{}", "header length 100000001", "(rule 2)"},
      {"header_huge", LittleEndian64(~uint64_t{0}) + "{}", "18446744073709551615", "(rule 2)"},
      {"header_2_63", LittleEndian64(uint64_t{1} << 63) + "{}", "9223372036854775808", "(rule 2)"},
      {"header_one_short", LittleEndian64(3) + "{}", "header length 3 in a file of 10", "(rule 3)"},
      {"header_at_limit", LittleEndian64(100'000'000) + "{}", "length 100000000", "(rule 3)"},
      {"utf8_lone", SafetensorsBytes("{\"\x80\":1}"), "not UTF-8 at byte 10", "(rule 4)"},
      {"utf8_overlong", SafetensorsBytes("{\"\xC0\xAF\":1}"), "not UTF-8", "(rule 4)"},
      {"utf8_overlong3", SafetensorsBytes("{\"\xE0\x80\x80\":1}"), "not UTF-8", "(rule 4)"},
      {"utf8_surrogate", SafetensorsBytes("{\"\xED\xA0\x80\":1}"), "not UTF-8", "(rule 4)"},
      {"utf8_past_end", SafetensorsBytes("{\"\xF4\x90\x80\x80\":1}"), "not UTF-8", "(rule 4)"},
      {"utf8_f5", SafetensorsBytes("{\"\xF5\x80\x80\x80\":1}"), "not UTF-8", "(rule 4)"},
      {"utf8_cut", SafetensorsBytes("{\"\xE2\x82"), "not UTF-8", "(rule 4)"},
      {"utf8_bad_tail", SafetensorsBytes("{\"\xE2\x82\x41\":1}"), "not UTF-8", "(rule 4)"},
      {"bom", SafetensorsBytes("\xEF\xBB\xBF{}"), "does not begin with '{'", "(rule 5)"},
      {"leading_space", SafetensorsBytes(" {}"), "does not begin with '{'", "(rule 5)"},
      {"array", SafetensorsBytes("[]"), "does not begin with '{'", "(rule 5)"},
      {"scalar", SafetensorsBytes("7"), "does not begin with '{'", "(rule 5)"},
      {"unclosed", SafetensorsBytes("{"), "not valid JSON", "(rule 5)"},
      {"unclosed_string", SafetensorsBytes("{\"x"), "not valid JSON", "(rule 5)"},
      {"trailing_text", SafetensorsBytes("{} x"), "not valid JSON at byte", "(rule 5)"},
      {"trailing_nul", SafetensorsBytes(std::string("{}\0\0", 4)), "NUL at byte 10", "(rule 5)"},
      {"two_documents", SafetensorsBytes("{}{}"), "not valid JSON", "(rule 5)"},
      {"trailing_comma", SafetensorsBytes("{\"x\":1,}"), "tensor 'x': is a number", "(rule 5)"},
      {"control_character", SafetensorsBytes("{\"\n\":1}"), "not valid JSON", "(rule 5)"},
      {"single_quotes", SafetensorsBytes("{'x':1}"), "not valid JSON", "(rule 5)"},
      {"lone_escape", SafetensorsBytes("{\"\\ud800\":1}"), "not valid JSON", "(rule 5)"},
      {"only_spaces", SafetensorsBytes("        "), "does not begin with '{'", "(rule 5)"},
  };
}

std::vector<BadFile> GrammarCases() {
  const std::string entry = Entry("x", "U8", "[1]", "[0,1]");
  return {
      {"tensor_number", SafetensorsBytes("{\"x\":1}"), "tensor 'x': is a number", "(rule 5)"},
      {"tensor_null", SafetensorsBytes("{\"x\":null}"), "tensor 'x': is null", "(rule 5)"},
      {"tensor_array", SafetensorsBytes("{\"x\":[]}"), "tensor 'x': is an array", "(rule 5)"},
      {"tensor_bool", SafetensorsBytes("{\"x\":true}"), "tensor 'x': is a boolean", "(rule 5)"},
      {"tensor_empty", SafetensorsBytes("{\"x\":{}}"), "tensor 'x': no dtype", "(rule 5)"},
      {"no_shape", SafetensorsBytes("{\"x\":{\"dtype\":\"U8\",\"data_offsets\":[0,0]}}"),
       "tensor 'x': no shape", "(rule 5)"},
      {"no_offsets", SafetensorsBytes("{\"x\":{\"dtype\":\"U8\",\"shape\":[1]}}"),
       "tensor 'x': no data_offsets", "(rule 5)"},
      {"unknown_field", SafetensorsBytes("{\"x\":{\"dtype\":\"U8\",\"extra\":1}}"),
       "tensor 'x': unknown key 'extra'", "(rule 5)"},
      {"duplicate_field", SafetensorsBytes("{\"x\":{\"dtype\":\"U8\",\"dtype\":\"U8\"}}"),
       "tensor 'x': duplicate key 'dtype'", "(rule 5)"},
      {"nested_object", SafetensorsBytes("{\"x\":{\"dtype\":{}}}"), "dtype is an object",
       "(rule 5)"},
      {"dtype_number", SafetensorsBytes("{\"x\":{\"dtype\":3}}"), "dtype is a number", "(rule 5)"},
      {"dtype_array", SafetensorsBytes("{\"x\":{\"dtype\":[]}}"), "dtype is an array", "(rule 5)"},
      {"duplicate_name", SafetensorsBytes("{" + entry + "," + entry + "}", 1),
       "tensor 'x': data_offsets [0, 1]: overlap", "(rule 6)"},
      {"duplicate_tiled",
       SafetensorsBytes("{" + entry + "," + Entry("x", "U8", "[1]", "[1,2]") + "}", 2),
       "tensor 'x': duplicate key", "(rule 5)"},
      {"duplicate_escaped",
       SafetensorsBytes("{" + entry + "," + Entry("\\u0078", "U8", "[1]", "[1,2]") + "}", 2),
       "tensor 'x': duplicate key", "(rule 5)"},
      {"metadata_list", Metadata("[]"), "__metadata__: found an array", "(rule 5)"},
      {"metadata_number", Metadata("{\"a\":1}"), "__metadata__: found a number", "(rule 5)"},
      {"metadata_null", Metadata("null"), "__metadata__: found null", "(rule 5)"},
      {"metadata_object", Metadata("{\"a\":{}}"), "__metadata__: found an object", "(rule 5)"},
      {"metadata_array", Metadata("{\"a\":[]}"), "__metadata__: found an array", "(rule 5)"},
      {"metadata_twins", Metadata("{\"a\":\"1\",\"a\":\"2\"}"), "__metadata__: duplicate key 'a'",
       "(rule 5)"},
      {"metadata_twice", SafetensorsBytes("{\"__metadata__\":{},\"__metadata__\":{}}"),
       "duplicate key '__metadata__'", "(rule 5)"},
      {"name_long", SafetensorsBytes("{\"" + std::string(513, 'n') + "\":{}}"),
       "name has 513 bytes, more than 512", ""},
      {"name_newline", SafetensorsBytes("{" + Entry("a\\nb", "U8", "[1]", "[0,2]") + "}", 2),
       "tensor 'a\\nb': data_offsets [0, 2] are 2 bytes", "(rule 8)"},
      {"shape_string", One("U8", "\"1\"", "[0,1]", 1), "shape: found a string", "(rule 7)"},
      {"shape_number", One("U8", "1", "[0,1]", 1), "shape: found a number", "(rule 7)"},
      {"shape_nested", One("U8", "[[1]]", "[0,1]", 1), "shape: found an array", "(rule 7)"},
      {"shape_negative", One("U8", "[-1]", "[0,1]", 1), "found a negative number", "(rule 7)"},
      {"shape_fraction", One("U8", "[1.0]", "[0,1]", 1), "shape: found a fraction", "(rule 7)"},
      {"shape_exponent", One("U8", "[1e0]", "[0,1]", 1), "shape: found a fraction", "(rule 7)"},
      {"shape_2_64", One("U8", "[18446744073709551616]", "[0,1]", 1), "shape: found a fraction",
       "(rule 7)"},
      {"shape_2_63", One("U8", "[9223372036854775808]", "[0,1]", 1),
       "tensor 'x': dimension 9223372036854775808", "(rule 7)"},
      {"digits", One("U8", "[" + std::string(5000, '1') + "]", "[0,1]", 1),
       "header has a number or blank of more than 4096 bytes", ""},
      {"blank", SafetensorsBytes("{" + std::string(5000, ' ') + "}"),
       "header has a number or blank of more than 4096 bytes", ""},
      {"long_string", Metadata("{\"a\":\"" + std::string(9 << 20, 'a') + "\"}"),
       "header has a string of more than 8388608 bytes", ""},
      {"rank_9", One("U8", "[1,1,1,1,1,1,1,1,1]", "[0,1]", 1), "more than 8 dimensions", ""},
  };
}

std::vector<BadFile> OffsetCases() {
  const auto two = [](const std::string& a, const std::string& b, size_t bytes) {
    return SafetensorsBytes(
        "{" + Entry("a", "U8", "[4]", a) + "," + Entry("b", "U8", "[4]", b) + "}", bytes);
  };
  return {
      {"offsets_none", One("U8", "[1]", "[]", 1), "data_offsets has 0 numbers", "(rule 6)"},
      {"offsets_one", One("U8", "[1]", "[0]", 1), "data_offsets has 1 numbers", "(rule 6)"},
      {"offsets_three", One("U8", "[1]", "[0,1,1]", 1), "more than 2 numbers", "(rule 6)"},
      {"offsets_string", One("U8", "[1]", "[\"0\",1]", 1), "found a string", "(rule 6)"},
      {"offsets_negative", One("U8", "[1]", "[-1,0]", 1), "found a negative number", "(rule 6)"},
      {"offsets_fraction", One("U8", "[1]", "[0,1.5]", 1), "found a fraction", "(rule 6)"},
      {"offsets_2_64", One("U8", "[1]", "[0,18446744073709551616]", 1), "found a fraction",
       "(rule 6)"},
      {"offsets_null", One("U8", "[1]", "null", 1), "data_offsets: found null", "(rule 6)"},
      {"end_before_begin", One("U8", "[4]", "[8,4]", 8),
       "tensor 'x': data_offsets [8, 4]: end before begin", "(rule 6)"},
      {"wraps_around", One("U8", "[4]", "[18446744073709551615,3]", 8), "end before begin",
       "(rule 6)"},
      {"starts_late", One("U8", "[4]", "[1,5]", 5), "tensor 'x': data_offsets [1, 5]: hole",
       "(rule 6)"},
      {"hole", two("[0,4]", "[5,9]", 9), "tensor 'b': data_offsets [5, 9]: hole", "(rule 6)"},
      {"overlap", two("[0,4]", "[3,7]", 7), "tensor 'b': data_offsets [3, 7]: overlap", "(rule 6)"},
      {"same_place", two("[0,4]", "[0,4]", 4), "data_offsets [0, 4]: overlap", "(rule 6)"},
      {"empty_inside",
       SafetensorsBytes(
           "{" + Entry("a", "U8", "[4]", "[0,4]") + "," + Entry("b", "U8", "[0]", "[2,2]") + "}",
           4),
       "tensor 'b': data_offsets [2, 2]: overlap", "(rule 6)"},
      {"far_away", One("U8", "[4]", "[18446744073709551611,18446744073709551615]", 4),
       "data_offsets [18446744073709551611, 18446744073709551615]: hole", "(rule 6)"},
      {"shape_overflow", One("U8", "[4294967296,4294967296]", "[0,4]", 4),
       "tensor 'x': shape [4294967296, 4294967296] of U8 overflows", "(rule 7)"},
      {"bits_overflow", One("F64", "[1152921504606846976]", "[0,8]", 8), "of F64 overflows",
       "(rule 7)"},
      {"wraps_to_right_size", One("F32", "[4611686018427387905]", "[0,4]", 4), "overflows",
       "(rule 7)"},
      {"half_byte", One("F4", "[3]", "[0,2]", 2), "shape [3] of F4 is not whole bytes", "(rule 7)"},
      {"six_bits", One("F6_E2M3", "[2]", "[0,2]", 2), "of F6_E2M3 is not whole bytes", "(rule 7)"},
      {"one_byte_short", One("F32", "[2]", "[0,7]", 7),
       "tensor 'x': data_offsets [0, 7] are 7 bytes, but F32 [2] needs 8", "(rule 8)"},
      {"one_byte_long", One("F32", "[2]", "[0,9]", 9), "needs 8", "(rule 8)"},
      {"scalar_empty", One("F32", "[]", "[0,0]", 0), "F32 [] needs 4", "(rule 8)"},
      {"empty_not_empty", One("F32", "[0]", "[0,4]", 4), "F32 [0] needs 0", "(rule 8)"},
      {"huge_claim", One("F32", "[1000000000000]", "[0,4]", 4), "needs 4000000000000", "(rule 8)"},
      {"truncated", One("F32", "[2]", "[0,8]", 7),
       "tensor 'x': data_offsets [0, 8]: file is truncated, it has 7", "(rule 9)"},
      {"truncated_wholly", One("F32", "[2]", "[0,8]", 0), "it has 0 bytes of data", "(rule 9)"},
      {"huge_truncated", One("F32", "[1000000000000]", "[0,4000000000000]", 4),
       "file is truncated, it has 4", "(rule 9)"},
      {"unknown_dtype_truncated", One("Q9", "[9]", "[0,8]", 7), "file is truncated", "(rule 9)"},
      {"trailing_byte", One("F32", "[2]", "[0,8]", 9), "1 bytes after the last tensor 'x'",
       "(rule 9)"},
      {"only_data", SafetensorsBytes("{}", 4), "4 bytes after the last tensor", "(rule 9)"},
  };
}

void PrintTo(const BadFile& bad, std::ostream* os) {
  *os << bad.what;
}

class BadFileTest : public ::testing::TestWithParam<BadFile> {};

// Twice: the pure parser, and Open() on the same bytes in a file.
TEST_P(BadFileTest, IsRefusedWithAnAddress) {
  const BadFile& bad = GetParam();
  TempDir dir;
  const std::string path = dir.Write("weights.safetensors", bad.bytes);
  const absl::Status parsed = ParseSafetensorsHeader(bad.bytes, bad.bytes.size(), path).status();
  const absl::Status opened = SafetensorsFile::Open(path).status();
  EXPECT_EQ(parsed, opened);
  EXPECT_EQ(parsed.code(), absl::StatusCode::kInvalidArgument);
  const std::string message(parsed.message());
  EXPECT_EQ(message.rfind(path + ": ", 0), 0u) << message;
  EXPECT_NE(message.find(bad.says), std::string::npos) << message;
  EXPECT_EQ(message.find('\n'), std::string::npos) << message;
  if (bad.rule.empty()) {
    EXPECT_EQ(message.find("(rule"), std::string::npos) << message;
  } else {
    EXPECT_TRUE(message.ends_with(bad.rule)) << message;
  }
}

std::string CaseName(const ::testing::TestParamInfo<BadFile>& info) {
  return info.param.what;
}
INSTANTIATE_TEST_SUITE_P(Frame, BadFileTest, ::testing::ValuesIn(FrameCases()), CaseName);
INSTANTIATE_TEST_SUITE_P(Grammar, BadFileTest, ::testing::ValuesIn(GrammarCases()), CaseName);
INSTANTIATE_TEST_SUITE_P(Offsets, BadFileTest, ::testing::ValuesIn(OffsetCases()), CaseName);

TEST(SafetensorsHeaderTest, TakesTheEmptyFile) {
  for (const char* header : {"{}", "{\"__metadata__\":{}}", "{}      ", "{} \n\t\r"}) {
    const std::string bytes = SafetensorsBytes(header);
    const auto parsed = ParseSafetensorsHeader(bytes, bytes.size(), "f");
    ASSERT_TRUE(parsed.ok()) << parsed.status();
    EXPECT_TRUE(parsed->tensors.empty());
  }
}

TEST(SafetensorsHeaderTest, ReadsTensorsMetadataAndUnusualShapes) {
  const std::string bytes = SafetensorsBytes(
      "{" + Entry("z", "F32", "[2,3]", "[0,24]") + "," +  // Not in the order of names.
          Entry("scalar", "BF16", "[]", "[24,26]") + "," +
          Entry("empty", "F32", "[0,7]", "[26,26]") + "," +
          Entry("empty2", "I64", "[3,0]", "[0,0]") + "," +
          Entry("nibbles", "F4", "[4]", "[26,28]") + "," +
          Entry("future", "Q3_K", "[1000]", "[28,30]") + "," +
          Entry("\\u00e9", "U8", "[1,1,1,1,1,1,1,2]", "[30,32]") +
          ",\"__metadata__\":{\"format\":\"pt\",\"a\":\"\"}}",
      32);
  const auto header = ParseSafetensorsHeader(bytes, bytes.size(), "f");
  ASSERT_TRUE(header.ok()) << header.status();
  EXPECT_EQ(header->tensors.size(), 7u);
  EXPECT_EQ(header->data_start, bytes.size() - 32);
  EXPECT_EQ(header->metadata,
            (std::vector<std::pair<std::string, std::string>>{{"a", ""}, {"format", "pt"}}));
  const TensorInfo* z = header->Find("z");
  ASSERT_NE(z, nullptr);
  EXPECT_EQ(z->shape, (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(z->dtype, SafetensorsDType::kF32);
  EXPECT_EQ(z->end, 24u);
  EXPECT_TRUE(header->Find("scalar")->shape.empty());
  EXPECT_EQ(header->Find("empty")->begin, header->Find("empty")->end);
  EXPECT_EQ(header->Find("future")->dtype, SafetensorsDType::kUnknown);
  EXPECT_NE(header->Find("\xC3\xA9"), nullptr);
  EXPECT_EQ(header->Find("y"), nullptr);
  EXPECT_EQ(header->Find(""), nullptr);
}

TEST(SafetensorsHeaderTest, TakesTheLimitsAndNotOneMore) {
  const auto with_tensors = [](size_t count) {
    std::string header = "{";
    for (size_t i = 0; i < count; ++i) {
      header += (i == 0 ? "" : ",") + Entry(absl::StrCat(i), "U8", "[0]", "[0,0]");
    }
    return SafetensorsBytes(header + "}");
  };
  const std::string most = with_tensors(kMaxSafetensorsTensors);
  EXPECT_TRUE(ParseSafetensorsHeader(most, most.size(), "f").ok());
  const std::string more = with_tensors(kMaxSafetensorsTensors + 1);
  EXPECT_EQ(ParseSafetensorsHeader(more, more.size(), "f").status().message(),
            "f: more than 100000 tensors");
  const std::string name =
      SafetensorsBytes("{" + Entry(std::string(512, 'n'), "U8", "[0]", "[0,0]") + "}");
  EXPECT_TRUE(ParseSafetensorsHeader(name, name.size(), "f").ok());
}

TEST(SafetensorsHeaderTest, EveryTruncationOfAGoodFileIsAnError) {
  const std::string whole = SafetensorsBytes(
      "{" + Entry("a", "F32", "[2]", "[0,8]") + "," + Entry("b", "F16", "[3]", "[8,14]") + "}", 14);
  ASSERT_TRUE(ParseSafetensorsHeader(whole, whole.size(), "f").ok());
  for (size_t size = 0; size < whole.size(); ++size) {
    EXPECT_FALSE(ParseSafetensorsHeader(whole.substr(0, size), size, "f").ok()) << size;
  }
}

TEST(SafetensorsHeaderTest, KnowsTwentyTwoDTypes) {
  int known = 0;
  for (const char* name :
       {"BOOL",    "F4",          "F6_E2M3",     "F6_E3M2", "U8",  "I8",  "F8_E5M2", "F8_E4M3",
        "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ", "I16",     "U16", "F16", "BF16",    "I32",
        "U32",     "F32",         "C64",         "F64",     "I64", "U64"}) {
    const SafetensorsDType dtype = SafetensorsDTypeFromName(name);
    EXPECT_STREQ(SafetensorsDTypeName(dtype), name);
    EXPECT_GT(SafetensorsDTypeBits(dtype), 0);
    known += dtype != SafetensorsDType::kUnknown;
  }
  EXPECT_EQ(known, 22);
  EXPECT_EQ(SafetensorsDTypeFromName("f32"), SafetensorsDType::kUnknown);
}

TEST(SafetensorsFileTest, RefusesWhatIsNotAFile) {
  TempDir dir;
  EXPECT_EQ(SafetensorsFile::Open(dir.File("none")).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(SafetensorsFile::Open(dir.path()).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(SafetensorsFileTest, ReadsBackWhatTheWriterWrote) {
  TempDir dir;
  const std::string path = dir.File("w.safetensors");
  const std::vector<float> wide = {1.5f, -2.0f, 0.0f, 3e38f};
  const std::vector<uint16_t> narrow = {0x3F80, 0x4000, 0xFFFF};
  auto writer = SafetensorsWriter::Create(path,
                                          {{"wide", SafetensorsDType::kF32, {2, 2}, 0, 0},
                                           {"narrow", SafetensorsDType::kBF16, {3}, 0, 0},
                                           {"none", SafetensorsDType::kF16, {0}, 0, 0}},
                                          {{"format", "pt"}});
  ASSERT_TRUE(writer.ok()) << writer.status();
  EXPECT_TRUE((*writer)->Append(wide.data(), 16).ok());
  EXPECT_EQ((*writer)->Finish().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE((*writer)->Append(narrow.data(), 6).ok());
  EXPECT_EQ((*writer)->Append(narrow.data(), 1).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE((*writer)->Finish().ok());

  const auto file = SafetensorsFile::Open(path);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ((*file)->path(), path);
  EXPECT_EQ((*file)->header().metadata.size(), 1u);
  EXPECT_EQ((*file)->header().data_start % 8, 0u);
  for (int pass = 0; pass < 2; ++pass) {  // Release() gives pages back, it does not lose data.
    const TensorInfo& info = *(*file)->Find("wide");
    EXPECT_EQ(std::memcmp((*file)->data(info), wide.data(), 16), 0);
    EXPECT_EQ(std::memcmp((*file)->data(*(*file)->Find("narrow")), narrow.data(), 6), 0);
    const uint64_t begin = static_cast<uint64_t>((*file)->data(info) - (*file)->mapped().data());
    (*file)->mapped().Release(begin, begin + (info.end - info.begin));
    (*file)->mapped().Release(begin, begin);
  }
  EXPECT_TRUE((*file)->CheckUnchanged().ok());
}

TEST(SafetensorsFileTest, NoticesThatTheFileShrankSinceOpen) {
  TempDir dir;
  const std::string path = dir.Write("w.safetensors", One("U8", "[4]", "[0,4]", 4));
  const auto file = SafetensorsFile::Open(path);
  ASSERT_TRUE(file.ok()) << file.status();
  std::filesystem::resize_file(path, 40);
  EXPECT_EQ((*file)->CheckUnchanged().code(), absl::StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace alcca
