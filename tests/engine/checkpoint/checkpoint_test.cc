#include "engine/checkpoint/checkpoint.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <filesystem>
#include <ostream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/files.h"
#include "engine/model/tensor_table.h"
#include "gtest/gtest.h"
#include "tests/testing/checkpoint_writer.h"
#include "tools/checkpoint/safetensors_writer.h"

namespace alcca {
namespace {

using testing::ByteTensors;
using testing::ExpectError;
using testing::SafetensorsBytes;
using testing::TempDir;
using testing::TinyModelConfig;
using testing::WriteTinyCheckpoint;

constexpr char kIndex[] = "model.safetensors.index.json";

struct BadIndex {
  std::string what;
  std::string json;
  std::string says;
};

std::string Map(const std::string& inside) {
  return "{\"weight_map\":{" + inside + "}}";
}
std::string Shard(const std::string& name) {
  return Map("\"x\":\"" + name + "\"");
}

std::vector<BadIndex> BadIndices() {
  const std::string not_plain = "weight_map: tensor 'x': shard";
  return {
      {"empty", "", "not valid JSON"},
      {"nul", std::string("{}\0", 3), "not valid JSON at byte 2"},
      {"array", "[]", "expected a JSON object"},
      {"number", "1", "expected a JSON object"},
      {"no_map", "{}", "no weight_map"},
      {"nested_map", "{\"metadata\":{\"weight_map\":{\"x\":\"a.safetensors\"}}}", "no weight_map"},
      {"empty_map", "{\"weight_map\":{}}", "weight_map: is empty"},
      {"map_list", "{\"weight_map\":[]}", "weight_map: expected an object"},
      {"map_string", "{\"weight_map\":\"x\"}", "weight_map: expected an object"},
      {"map_null", "{\"weight_map\":null}", "weight_map: expected an object"},
      {"map_twice", "{\"weight_map\":{},\"weight_map\":{}}", "duplicate key 'weight_map'"},
      {"shard_number", Map("\"x\":1"), "tensor 'x': expected the name of a shard"},
      {"shard_null", Map("\"x\":null"), "tensor 'x': expected the name of a shard"},
      {"shard_list", Map("\"x\":[\"a.safetensors\"]"), "tensor 'x': expected the name of a shard"},
      {"shard_object", Map("\"x\":{}"), "tensor 'x': expected the name of a shard"},
      {"tensor_twice", Map("\"x\":\"a.safetensors\",\"x\":\"b.safetensors\""), "duplicate key 'x'"},
      {"tensor_twice_same", Map("\"x\":\"a.safetensors\",\"x\":\"a.safetensors\""),
       "duplicate key 'x'"},
      {"absolute", Shard("/etc/a.safetensors"), not_plain},
      {"parent", Shard("../a.safetensors"), not_plain},
      {"dots", Shard(".."), not_plain},
      {"subfolder", Shard("b/a.safetensors"), not_plain},
      {"backslash", Shard("b\\\\a.safetensors"), not_plain},
      {"space", Shard("a b.safetensors"), not_plain},
      {"newline", Shard("a\\n.safetensors"), not_plain},
      {"nul_escape", Shard("a\\u0000.safetensors"), not_plain},
      {"unicode", Shard("\\u00e9.safetensors"), not_plain},
      {"nothing", Shard(""), not_plain},
      {"other_kind", Shard("pytorch_model.bin"), not_plain},
      {"long_name", Shard(std::string(250, 'a') + ".safetensors"), not_plain},
      {"long_tensor", Map("\"" + std::string(513, 'n') + "\":\"a.safetensors\""),
       "name is too long"},
      {"deep", "{\"metadata\":" + std::string(100000, '['), "nested more than 32 deep"},
      {"trailing", Shard("a.safetensors") + "x", "not valid JSON"},
      {"bad_utf8", Map("\"\x80\":\"a.safetensors\""), "not valid JSON"},
  };
}

void PrintTo(const BadIndex& bad, std::ostream* os) {
  *os << bad.what;
}

class BadIndexTest : public ::testing::TestWithParam<BadIndex> {};

TEST_P(BadIndexTest, IsRefusedWithAnAddress) {
  TempDir dir;
  const std::string path = dir.Write(kIndex, GetParam().json);
  const absl::Status parsed = ParseCheckpointIndex(GetParam().json, path).status();
  ExpectError(parsed, absl::StatusCode::kInvalidArgument, {path + ": ", GetParam().says});
  EXPECT_EQ(Checkpoint::Open(dir.path()).status(), parsed);
}

INSTANTIATE_TEST_SUITE_P(Index, BadIndexTest, ::testing::ValuesIn(BadIndices()),
                         [](const auto& info) { return info.param.what; });

TEST(CheckpointIndexTest, SortsTensorsAndShards) {
  const auto index = ParseCheckpointIndex(
      "{\"metadata\":{\"total_size\":5,\"x\":[1,{\"y\":null}]},"
      "\"weight_map\":{\"b\":\"2.safetensors\",\"a\":\"1.safetensors\",\"c\":\"2.safetensors\"},"
      "\"more\":[true,-1,1.5]}",
      "i");
  ASSERT_TRUE(index.ok()) << index.status();
  EXPECT_EQ(index->shards, (std::vector<std::string>{"1.safetensors", "2.safetensors"}));
  EXPECT_EQ(index->weight_map,
            (std::vector<std::pair<std::string, size_t>>{{"a", 0}, {"b", 1}, {"c", 1}}));
}

TEST(CheckpointIndexTest, LimitsShardsAndTensors) {
  std::string shards, tensors;
  for (int i = 0; i < 1001; ++i) {
    absl::StrAppend(&shards, i ? "," : "", "\"", i, "\":\"", i, ".safetensors\"");
  }
  for (int i = 0; i < 100001; ++i) {
    absl::StrAppend(&tensors, i ? "," : "", "\"", i, "\":\"a.safetensors\"");
  }
  ExpectError(ParseCheckpointIndex(Map(shards), "i").status(), absl::StatusCode::kInvalidArgument,
              {"i: weight_map: 1001 shards, at most 1000"});
  ExpectError(ParseCheckpointIndex(Map(tensors), "i").status(), absl::StatusCode::kInvalidArgument,
              {"i: weight_map: more than 100000 tensors"});
}

TEST(CheckpointOpenTest, NamesTheMissingOrBrokenFile) {
  TempDir dir;
  ExpectError(Checkpoint::Open(dir.path()).status(), absl::StatusCode::kNotFound,
              {dir.path(), "neither model.safetensors nor model.safetensors.index.json"});
  ExpectError(Checkpoint::Open(dir.File("no")).status(), absl::StatusCode::kNotFound, {"no: has"});
  dir.Write(kIndex, Map("\"x\":\"a.safetensors\",\"y\":\"b.safetensors\""));
  dir.Write("a.safetensors", ByteTensors({"x"}));
  ExpectError(Checkpoint::Open(dir.path()).status(), absl::StatusCode::kNotFound,
              {"/b.safetensors: shard is missing", kIndex});
  dir.Write("b.safetensors", "short");
  ExpectError(Checkpoint::Open(dir.path()).status(), absl::StatusCode::kInvalidArgument,
              {"/b.safetensors: file of 5 bytes", "(rule 1)"});
  dir.Write("b.safetensors", ByteTensors({"z"}));
  ExpectError(Checkpoint::Open(dir.path()).status(), absl::StatusCode::kNotFound,
              {"/b.safetensors: tensor 'y': missing", kIndex});
  dir.Write("b.safetensors", ByteTensors({"y", "x"}));
  ExpectError(Checkpoint::Open(dir.path()).status(), absl::StatusCode::kInvalidArgument,
              {"/b.safetensors: tensor 'x': is also in", "/a.safetensors"});
  dir.Write("b.safetensors", ByteTensors({"y", "extra"}));
  const auto good = Checkpoint::Open(dir.path());
  ASSERT_TRUE(good.ok()) << good.status();
  EXPECT_EQ((*good)->TensorNames(), (std::vector<std::string_view>{"x", "y"}));
  std::filesystem::create_directory(dir.File("model.safetensors"));  // Taken before the index.
  ExpectError(Checkpoint::Open(dir.path()).status(), absl::StatusCode::kInvalidArgument,
              {"model.safetensors: not a regular file"});
}

TEST(CheckpointFindTest, ChecksShapeDTypeAndAlignment) {
  TempDir dir;
  const std::string header =
      R"({"f":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},)"
      R"("v":{"dtype":"BF16","shape":[4],"data_offsets":[24,32]},)"
      R"("s":{"dtype":"F16","shape":[],"data_offsets":[32,34]},)"
      R"("c":{"dtype":"F16","shape":[1,2,3],"data_offsets":[34,46]},)"
      R"("i":{"dtype":"I8","shape":[1],"data_offsets":[46,47]},)"
      R"("q":{"dtype":"Q4_K","shape":[1],"data_offsets":[47,48]},)"
      R"("n":{"dtype":"F32","shape":[0,9],"data_offsets":[48,48]},)"
      R"("w":{"dtype":"F32","shape":[0,3000000000],"data_offsets":[48,48]}})";
  std::string padded = header;
  while (padded.size() % 8 != 0) {
    padded += ' ';
  }
  dir.Write("model.safetensors", SafetensorsBytes(padded, 48));
  const auto made = Checkpoint::Open(dir.path());
  ASSERT_TRUE(made.ok()) << made.status();
  const Checkpoint& checkpoint = **made;

  const auto f = checkpoint.Find("f", {2, 3});
  ASSERT_TRUE(f.ok()) << f.status();
  EXPECT_EQ(f->rows, 2);
  EXPECT_EQ(f->cols, 3);
  EXPECT_EQ(f->bytes, 24u);
  EXPECT_EQ(f->dtype, DType::kF32);
  EXPECT_EQ(f->host().cols, 3);
  f->Release();
  EXPECT_EQ(checkpoint.Find("v", {4})->rows, 1);
  EXPECT_EQ(checkpoint.Find("v", {4})->cols, 4);
  EXPECT_EQ(checkpoint.Find("s", {})->cols, 1);
  EXPECT_EQ(checkpoint.Find("c", {1, 2, 3})->cols, 6);
  EXPECT_EQ(checkpoint.Find("n", {0, 9})->bytes, 0u);
  EXPECT_TRUE(checkpoint.Contains("q"));

  ExpectError(checkpoint.Find("g", {2, 3}).status(), absl::StatusCode::kNotFound,
              {dir.path(), "tensor 'g': missing, expected [2, 3]"});
  ExpectError(checkpoint.Find("f", {3, 2}).status(), absl::StatusCode::kInvalidArgument,
              {"model.safetensors: tensor 'f': shape [2, 3], expected [3, 2]"});
  ExpectError(checkpoint.Find("f", {6}).status(), absl::StatusCode::kInvalidArgument,
              {"shape [2, 3], expected [6]"});
  ExpectError(checkpoint.Find("i", {1}).status(), absl::StatusCode::kUnimplemented,
              {"tensor 'i': dtype I8, expected F32, F16 or BF16"});
  ExpectError(checkpoint.Find("q", {1}).status(), absl::StatusCode::kUnimplemented,
              {"tensor 'q': dtype unknown"});
  ExpectError(checkpoint.Find("w", {0, 3000000000}).status(), absl::StatusCode::kUnimplemented,
              {"tensor 'w': shape [0, 3000000000] has more than"});

  dir.Write("model.safetensors", SafetensorsBytes(padded + " ", 48));
  const auto odd = Checkpoint::Open(dir.path());
  ASSERT_TRUE(odd.ok()) << odd.status();
  const auto unaligned = (*odd)->Find("f", {2, 3});  // valid: backends read bytes, not elements
  ASSERT_TRUE(unaligned.ok()) << unaligned.status();
  EXPECT_NE(reinterpret_cast<uintptr_t>(unaligned->data) % 4, 0u);

  std::filesystem::remove(dir.File("model.safetensors"));
  std::filesystem::create_symlink("nowhere", dir.File("model.safetensors"));
  ExpectError(Checkpoint::Open(dir.path()).status(), absl::StatusCode::kNotFound,
              {"/model.safetensors: is a link to nothing"});
  std::filesystem::remove(dir.File("model.safetensors"));
  dir.Write("model.safetensors", "version https://git-lfs.example/spec/v1\noid sha256:0\nsize 9\n");
  ExpectError(Checkpoint::Open(dir.path()).status(), absl::StatusCode::kInvalidArgument,
              {"/model.safetensors: is a git-lfs pointer, not the file; fetch it"});
}

float Widen(const TensorRef& ref, int64_t i) {
  if (ref.dtype == DType::kF32) {
    return reinterpret_cast<const float*>(ref.data)[i];
  }
  const uint16_t bits = reinterpret_cast<const uint16_t*>(ref.data)[i];
  if (ref.dtype == DType::kBF16) {
    return std::bit_cast<float>(uint32_t{bits} << 16);
  }
  const int exponent = bits >> 10 & 31;
  const float fraction = static_cast<float>(bits & 1023) / 1024.0f;
  const float value =
      exponent == 0 ? std::ldexp(fraction, -14) : std::ldexp(1.0f + fraction, exponent - 15);
  return bits & 0x8000 ? -value : value;
}

TEST(RandomCheckpointTest, SameWeightsInEveryDTypeAndSharding) {
  ModelConfig config = TinyModelConfig();
  config.head_dim = 32;  // Not hidden / heads.
  TempDir wide, half, brain;
  WriteTinyCheckpoint(wide.path(), config, DType::kF32, 1, 7);
  WriteTinyCheckpoint(half.path(), config, DType::kF16, 3, 7);
  WriteTinyCheckpoint(brain.path(), config, DType::kBF16, 21, 7);  // One tensor per shard.
  const auto loaded = LoadModelConfig(half.path());
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  ModelConfig expected = config;
  expected.torch_dtype = "float16";
  EXPECT_EQ(*loaded, expected);
  const auto f32 = Checkpoint::Open(wide.path());
  const auto f16 = Checkpoint::Open(half.path());
  const auto bf16 = Checkpoint::Open(brain.path());
  ASSERT_TRUE(f32.ok() && f16.ok() && bf16.ok());
  const TensorTable table(config);
  EXPECT_TRUE(table.Validate(**f16).ok());
  for (const TensorSpec& spec : table.tensors()) {
    const auto a = (*f32)->Find(spec.name, spec.shape);
    const auto b = (*f16)->Find(spec.name, spec.shape);
    const auto c = (*bf16)->Find(spec.name, spec.shape);
    ASSERT_TRUE(a.ok() && b.ok() && c.ok()) << spec.name;
    double sum = 0.0, squares = 0.0;
    for (int64_t i = 0; i < a->rows * a->cols; ++i) {
      const float x = Widen(*a, i);
      // Half a unit in the last place: 2^-11 of f16 (2^-25 below its normals), 2^-8 of bf16.
      ASSERT_LE(std::abs(Widen(*b, i) - x), std::max(std::abs(x) * 0x1p-11f, 0x1p-25f));
      ASSERT_LE(std::abs(Widen(*c, i) - x), std::abs(x) * 0x1p-8f);
      sum += x;
      squares += x * x;
    }
    const double n = static_cast<double>(a->rows * a->cols);
    const bool norm = spec.shape.size() == 1;
    const double deviation = norm ? 0.05 : 1.0 / std::sqrt(static_cast<double>(a->cols));
    EXPECT_NEAR(sum / n, norm ? 1.0 : 0.0, 5 * deviation / std::sqrt(n)) << spec.name;
    EXPECT_NEAR(std::sqrt(squares / n - sum / n * sum / n), deviation,
                4 * deviation / std::sqrt(n));
  }
}

TEST(RandomCheckpointTest, RefusesWhatCannotBeWritten) {
  TempDir dir;
  RandomCheckpointOptions options;
  options.config = TinyModelConfig();
  options.shards = 22;  // Of 21 tensors.
  ExpectError(WriteRandomCheckpoint(dir.path(), options), absl::StatusCode::kInvalidArgument,
              {"22 shards for 21 tensors"});
  options.shards = 1;
  ExpectError(WriteRandomCheckpoint(dir.File("no/such"), options), absl::StatusCode::kNotFound,
              {"no/such: cannot make the folder"});
  options.config.head_dim = 15;
  ExpectError(WriteRandomCheckpoint(dir.path(), options), absl::StatusCode::kInvalidArgument,
              {"'head_dim' is odd"});
}

}  // namespace
}  // namespace alcca
