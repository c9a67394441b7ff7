// The prefix cache of a real daemon: answers are the same bits with it and without, and it is told
// what was found.

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/e2e/client.h"

namespace alcca::e2e {
namespace {

using testing::DaemonProcess;

const char kStory[] =
    "Once upon a time there was a little fox who lived in a hole under an old oak tree. Every "
    "morning the fox ran down to the river, because the water was cold and the fish were quick. "
    "One day a bear came to the river too, and the bear said:";

v1::GenerateRequest Sampled(const std::string& prompt, v1::AttentionMode mode) {
  v1::GenerateRequest request = Greedy(prompt, 24);
  request.mutable_sampling_params()->set_temperature(0.8f);
  request.mutable_sampling_params()->set_seed(7);
  request.mutable_sampling_params()->set_logprobs(3);
  request.mutable_attention()->set_mode(mode);
  return request;
}

std::string Bits(const v1::GenerateComplete& complete) {
  return complete.text() + complete.output_logprobs().SerializeAsString();
}

TEST(PrefixCache, AnswersAreTheSameBits) {
  DaemonProcess daemon({"--page-tokens=16", "--max-prefill-chunk=24"});
  ASSERT_TRUE(daemon.serving());
  Client client(daemon.grpc());
  for (int mode = v1::ATTENTION_MODE_DENSE; mode <= v1::ATTENTION_MODE_TOPK; ++mode) {
    SCOPED_TRACE(mode);
    const bool forks = mode == v1::ATTENTION_MODE_MULTIPOLE;  // 256 tokens and more
    v1::GenerateRequest request = Sampled(kStory, static_cast<v1::AttentionMode>(mode));
    request.set_bypass_prefix_cache(true);
    const v1::GenerateComplete without = client.Generate(request).complete();
    EXPECT_EQ(without.cached_tokens(), 0u);
    request.set_bypass_prefix_cache(false);
    const v1::GenerateComplete first = client.Generate(request).complete();
    EXPECT_EQ(first.cached_tokens(), 0u);
    const v1::GenerateComplete second = client.Generate(request).complete();
    EXPECT_EQ(second.cached_tokens(), forks ? 0 : (second.prompt_tokens() - 1) / 16 * 16);
    EXPECT_EQ(Bits(first), Bits(without));
    EXPECT_EQ(Bits(second), Bits(without));
    if (!forks) {
      EXPECT_LT(second.attention().prefill().queries(), without.attention().prefill().queries());
    }
    request.set_cache_salt("another tenant");
    EXPECT_EQ(client.Generate(request).complete().cached_tokens(), 0u);
  }
}

TEST(PrefixCache, NAnswersAndTheNextTurn) {
  DaemonProcess daemon({"--page-tokens=16"});
  ASSERT_TRUE(daemon.serving());
  Client client(daemon.grpc());
  v1::GenerateRequest request = Sampled(kStory, v1::ATTENTION_MODE_DENSE);
  request.mutable_sampling_params()->set_n(3);
  const Reply reply = client.Generate(request);
  ASSERT_EQ(reply.completes.size(), 3u);
  const uint32_t whole = (reply.completes[0].prompt_tokens() - 1) / 16 * 16;
  for (const v1::GenerateComplete& complete : reply.completes) {
    EXPECT_EQ(complete.cached_tokens(), complete.index() == 0 ? 0 : whole);
  }
  request = Sampled(std::string(kStory) + reply.completes[0].text(), v1::ATTENTION_MODE_DENSE);
  EXPECT_GE(client.Generate(request).complete().cached_tokens(), whole);

  v1::GetLoadsResponse loads;
  grpc::ClientContext context;
  ASSERT_TRUE(client.stub().GetLoads(&context, {}, &loads).ok());
  EXPECT_GT(loads.loads(0).cache_hit_rate(), 0.3);
  EXPECT_LT(loads.loads(0).cache_hit_rate(), 1);
  EXPECT_EQ(loads.loads(0).num_used_tokens(), 0u) << "kept pages are not in use";
}

TEST(PrefixCache, MultipoleForks) {
  DaemonProcess daemon({"--page-tokens=16", "--max-prefill-chunk=200"});
  ASSERT_TRUE(daemon.serving());
  Client client(daemon.grpc());
  std::string story = kStory;
  for (int i = 0; i < 8; ++i) {
    story += std::string(" ") + kStory;
  }
  v1::GenerateRequest request = Sampled(story, v1::ATTENTION_MODE_MULTIPOLE);
  request.mutable_attention()->set_dense_below(100);
  request.mutable_attention()->set_sinks(4);
  request.mutable_attention()->set_recent(32);
  request.mutable_attention()->set_max_keys(96);
  request.set_bypass_prefix_cache(true);
  const v1::GenerateComplete without = client.Generate(request).complete();
  ASSERT_GT(without.prompt_tokens(), 256u);
  ASSERT_GT(without.attention().prefill().qk_centroid(), 0u);
  request.set_bypass_prefix_cache(false);
  EXPECT_EQ(Bits(client.Generate(request).complete()), Bits(without));
  const v1::GenerateComplete second = client.Generate(request).complete();
  EXPECT_EQ(second.cached_tokens(), (without.prompt_tokens() - 1) / 256 * 256);
  EXPECT_EQ(Bits(second), Bits(without));
  // The next turn goes on from the answer, and n answers compute what is left once.
  request.set_text(story + without.text() + " " + kStory);
  request.mutable_sampling_params()->set_n(3);
  request.set_cache_salt("");
  const Reply reply = client.Generate(request);
  ASSERT_EQ(reply.completes.size(), 3u);
  for (const v1::GenerateComplete& complete : reply.completes) {
    EXPECT_GE(complete.cached_tokens(), second.cached_tokens());
  }
  EXPECT_EQ(reply.completes[2].cached_tokens(),
            (reply.completes[2].prompt_tokens() - 1) / 256 * 256);
}

TEST(PrefixCache, OffFindsNothing) {
  DaemonProcess daemon({"--prefix-cache-bytes=0"});
  ASSERT_TRUE(daemon.serving());
  Client client(daemon.grpc());
  const v1::GenerateRequest request = Sampled(kStory, v1::ATTENTION_MODE_DENSE);
  client.Generate(request);
  EXPECT_EQ(client.Generate(request).complete().cached_tokens(), 0u);
}

}  // namespace
}  // namespace alcca::e2e
