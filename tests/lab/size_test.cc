// The arithmetic of `alcca size`, against sums done by hand for Mistral-7B. That its memory is the
// daemon's: tests/e2e/size_test.cc.

#include "tools/lab/size.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/testing/process.h"

namespace alcca::lab {
namespace {

using ::testing::HasSubstr;

ModelConfig Mistral7B() {
  ModelConfig c;
  c.hidden_size = 4096;
  c.intermediate_size = 14336;
  c.num_layers = 32;
  c.num_heads = 32;
  c.num_kv_heads = 8;
  c.head_dim = 128;
  c.vocab_size = 32768;
  c.max_position_embeddings = 32768;
  c.torch_dtype = "bfloat16";
  return c;
}

SizeQuestion Question(int64_t context, int64_t concurrency) {
  SizeQuestion q;
  q.limits.weight_dtype = "int8";
  q.limits.kv_cache_bytes = 0;
  q.limits.max_context = context;
  q.limits.max_num_seqs = concurrency;
  return q;
}

TEST(Size, CountsMistral7B) {
  const auto answer = AnswerSize(Mistral7B(), Question(4096, 4));
  ASSERT_TRUE(answer.ok()) << answer.status();
  // Keys and values of 8 heads of 128 floats in 32 layers.
  EXPECT_EQ(answer->kv_bytes_per_token, 2 * 32 * 8 * 128 * 4);
  EXPECT_EQ(answer->plan.footprint.kv_bytes, 4 * (int64_t{1} << 30));
  EXPECT_EQ(answer->plan.kv_tokens(), 4 * 4096);
  EXPECT_EQ(answer->plan.max_context, 4096);
  // Known as 7.25e9 parameters; 0.134e9 of them are the embedding, which no token multiplies.
  const double head = 32768. * 4096;
  const double layers = 32 * (4096. * (4096 + 2 * 1024) + 4096. * 4096 + 3. * 4096 * 14336);
  EXPECT_DOUBLE_EQ(answer->parameters, layers + head);
  EXPECT_NEAR(answer->parameters + head, 7.25e9, .01e9);
  // int8 layers, bf16 head; and each sequence's keys and values at half of its context.
  EXPECT_DOUBLE_EQ(answer->decode.bytes, layers + 2 * head + 4 * 2048. * 262144);
  EXPECT_DOUBLE_EQ(answer->decode.flops, 4 * (2 * (layers + head) + 4. * 128 * 32 * 32 * 2048));
  EXPECT_FALSE(answer->decode.seconds.has_value());
  EXPECT_FALSE(answer->decode_tokens_per_second.has_value());
}

TEST(Size, TheNearerRoofDecides) {
  SizeQuestion q = Question(2, 1);
  q.bytes_per_second = 36e9;
  q.flops_per_second = 890e9;
  const auto one = AnswerSize(Mistral7B(), q);
  ASSERT_TRUE(one.ok());
  EXPECT_TRUE(one->decode.by_bandwidth);
  // docs/performance.md: 7.26 GB a step; at 36 GB/s that is 4.96 tokens/s, and 4.93 were measured.
  EXPECT_NEAR(*one->decode_tokens_per_second, 36e9 / 7.26e9, .03);
  q = Question(512, 512);
  q.bytes_per_second = 36e9;
  q.flops_per_second = 890e9;
  const auto many = AnswerSize(Mistral7B(), q);
  ASSERT_TRUE(many.ok());
  EXPECT_FALSE(many->decode.by_bandwidth);
  EXPECT_GT(*many->decode_tokens_per_second, *one->decode_tokens_per_second);
  EXPECT_LT(*many->decode_tokens_per_second_each, *one->decode_tokens_per_second_each);
  // 512 prompt tokens: 45.8 to 51.0 tokens/s were measured below this roof.
  EXPECT_FALSE(many->prefill.by_bandwidth);
  EXPECT_GT(*many->prefill_tokens_per_second, 51);
  EXPECT_LT(*many->prefill_tokens_per_second, 70);
}

TEST(Size, ImpossibleLoadsAreNamed) {
  const auto says = [](SizeQuestion q) {
    return std::string(AnswerSize(Mistral7B(), q).status().message());
  };
  EXPECT_THAT(says(Question(40000, 1)), HasSubstr("max_context (40000) is above the model's"));
  EXPECT_THAT(says(Question(64, 513)), HasSubstr("max_batch_tokens (512)"));
  SizeQuestion q = Question(4096, 1);
  q.limits.kv_cache_bytes = 1 << 20;
  EXPECT_THAT(says(q), HasSubstr("holds no page"));
  EXPECT_EQ(AnswerSize(Mistral7B(), Question(0, 1)).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(Size, TheCommandPrintsTheFlagsToStartWith) {
  const auto result =
      testing::RunProgram(ALCCA_CLI_PATH, {"size", "--model=" ALCCA_MODEL_DIR, "--context=512",
                                           "--concurrency=8", "--bandwidth=36", "--gflops=200"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("--max-context 512 --max-num-seqs 8 --kv-cache-bytes "));
  EXPECT_THAT(result.out, HasSubstr("bound by"));
  EXPECT_EQ(testing::RunProgram(ALCCA_CLI_PATH, {"size", "--model=/nowhere"}).exit_code, 5);
  EXPECT_EQ(testing::RunProgram(ALCCA_CLI_PATH, {"size", "--model=/", "--concurrency=0"}).exit_code,
            64);
}

}  // namespace
}  // namespace alcca::lab
