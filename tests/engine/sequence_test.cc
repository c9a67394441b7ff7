// How a completion ends and what text comes out of it, through the scheduler.

#include "engine/sequence.h"

#include <gtest/gtest.h>

#include <string>
#include <variant>
#include <vector>

#include "tests/testing/fake_model.h"
#include "tests/testing/scheduler_harness.h"

namespace alcca {
namespace {

using testing::Completion;
using testing::FakeModel;
using testing::MakeByteTokenizer;
using testing::MakeRequest;
using testing::SchedulerHarness;

constexpr int32_t kEos = 2;
constexpr int32_t Byte(uint8_t byte) {
  return 3 + byte;
}
constexpr int32_t kHello = 259, kAb = 261, kC = 262, kWorld = 263;  // 260: "STOP"

const Tokenizer& TestTokenizer() {
  static const SentencePieceTokenizer tokenizer =
      MakeByteTokenizer({"hello", "STOP", "ab", "c", "\xE2\x96\x81world"});
  return tokenizer;
}

// What follows a prompt of one token when the model says `script`.
Completion Complete(const std::vector<int32_t>& script, const SamplingParams& params) {
  EngineOptions options;
  options.max_context = 100;
  options.eos_token_ids = {kEos, 0};
  SchedulerHarness h(options, {.vocab_size = 264, .script = script}, &TestTokenizer());
  Request request = MakeRequest(1, 1, 10);
  request.prompt = {1};
  request.sampling = params;
  request.sampling.temperature = 0;
  h.Submit(request);
  h.Finish();
  return h.completions().at(1);
}

Completion Complete(const std::vector<int32_t>& script) {
  return Complete(script, {});
}

TEST(Sequence, RunsToMaxTokens) {
  SamplingParams params;
  params.max_tokens = 3;
  const Completion c = Complete({kHello, kWorld, kC, kC}, params);
  EXPECT_EQ(c.finish(), FinishReason::kLength);
  EXPECT_EQ(c.tokens, (std::vector<int32_t>{kHello, kWorld, kC}));
  EXPECT_EQ(c.text, "hello worldc");
  EXPECT_EQ(c.prompt_tokens, 1);
}

TEST(Sequence, AnEndTokenIsNotPartOfTheOutput) {
  for (const int32_t eos : {kEos, 0}) {
    SamplingParams params;
    params.stop_token_ids = {eos};  // an end token first of all
    const Completion c = Complete({kHello, eos}, params);
    EXPECT_EQ(c.finish(), FinishReason::kStop);
    EXPECT_TRUE(std::holds_alternative<std::monostate>(c.ending.matched_stop));
    EXPECT_EQ(c.tokens, (std::vector<int32_t>{kHello}));
    EXPECT_EQ(c.text, "hello");
  }
}

TEST(Sequence, AnEndTokenAtOnce) {
  const Completion c = Complete({kEos});
  EXPECT_EQ(c.finish(), FinishReason::kStop);
  EXPECT_TRUE(c.tokens.empty());
  EXPECT_EQ(c.first_tokens, 1);
}

TEST(Sequence, IgnoresEos) {
  SamplingParams params;
  params.ignore_eos = true;
  params.max_tokens = 4;
  EXPECT_EQ(Complete({kHello, kEos}, params).text, "hellohello");
  params.skip_special_tokens = false;
  const Completion c = Complete({kHello, kEos}, params);
  EXPECT_EQ(c.text, "hello</s>hello</s>");
  EXPECT_EQ(c.tokens.size(), 4u);
}

TEST(Sequence, StopTokenIds) {
  SamplingParams params;
  params.stop_token_ids = {kC};
  const Completion c = Complete({kHello, kAb, kC}, params);
  EXPECT_EQ(c.finish(), FinishReason::kStop);
  EXPECT_EQ(std::get<int32_t>(c.ending.matched_stop), kC);
  EXPECT_EQ(c.tokens, (std::vector<int32_t>{kHello, kAb}));
  EXPECT_EQ(c.text, "helloab");
}

TEST(Sequence, StopStringAcrossTokens) {
  SamplingParams params;
  params.stop = {"never", "oabc"};
  Completion c = Complete({kHello, kAb, kC, kC}, params);
  EXPECT_EQ(c.finish(), FinishReason::kStop);
  EXPECT_EQ(std::get<std::string>(c.ending.matched_stop), "oabc");
  EXPECT_EQ(c.text, "hell");
  EXPECT_EQ(c.tokens, (std::vector<int32_t>{kHello, kAb, kC}));  // all that were drawn
  params.include_stop_str_in_output = true;
  EXPECT_EQ(Complete({kHello, kAb, kC, kC}, params).text, "helloabc");
}

TEST(Sequence, HeldBackTextComesOutAtTheEnd) {
  SamplingParams params;
  params.stop = {"ohno"};
  params.max_tokens = 1;
  const Completion c = Complete({kHello}, params);
  EXPECT_EQ(c.finish(), FinishReason::kLength);
  EXPECT_EQ(c.text, "hello");
}

TEST(Sequence, MinTokensComesBeforeEveryStop) {
  SamplingParams params;
  params.min_tokens = 3;
  params.stop = {"hello"};
  params.stop_token_ids = {kC};
  const Completion c = Complete({kHello, kHello, kHello, kHello}, params);
  EXPECT_EQ(c.finish(), FinishReason::kStop);
  EXPECT_EQ(c.tokens.size(), 3u);
  EXPECT_EQ(c.text, "hellohello");
  EXPECT_EQ(Complete({kEos}, params).tokens.size() >= 3u, true);
  EXPECT_EQ(Complete({kC}, params).tokens.size() >= 3u, true);
}

TEST(Sequence, CharactersComeOutWhole) {
  SamplingParams params;
  params.stop = {"\xC3\xA9!"};
  params.max_tokens = 4;
  Completion c = Complete({Byte(0xC3), Byte(0xA9), kC, Byte(0xC3)}, params);
  EXPECT_EQ(c.text,
            "\xC3\xA9"
            "c\xEF\xBF\xBD");  // the last one never became a character
  c = Complete({kHello, Byte(0xC3), Byte(0xA9), Byte('!')}, params);
  EXPECT_EQ(c.text, "hello");
  EXPECT_EQ(c.finish(), FinishReason::kStop);
}

TEST(Sequence, AStopStringMayEndInTheFlush) {
  SamplingParams params;
  params.stop = {"c\xEF\xBF\xBD"};
  params.max_tokens = 3;
  const Completion c = Complete({kHello, kC, Byte(0xC3)}, params);
  EXPECT_EQ(c.text, "hello");
  EXPECT_EQ(c.finish(), FinishReason::kStop);
  EXPECT_EQ(std::get<std::string>(c.ending.matched_stop), params.stop[0]);
}

TEST(Sequence, TextFollowsThePrompt) {
  EngineOptions options;
  options.max_context = 100;
  SchedulerHarness h(options, {.vocab_size = 264, .script = {kWorld}}, &TestTokenizer());
  Request request = MakeRequest(1, 2, 1);
  request.prompt = {1, kHello};
  h.Submit(request);
  request.key = 2;
  request.prompt = {1};
  h.Submit(request);
  h.Finish();
  EXPECT_EQ(h.completions().at(1).text, " world");
  EXPECT_EQ(h.completions().at(2).text, " world");  // this vocabulary adds no dummy prefix
}

TEST(Sequence, LogprobsAreOfTheTokensThatComeOut) {
  SamplingParams params;
  params.logprobs = 2;
  const Completion c = Complete({kHello, kC, kEos}, params);
  ASSERT_EQ(c.logprobs.size(), 2u);
  EXPECT_EQ(c.logprobs[1].token, kC);
  EXPECT_EQ(c.logprobs[1].top[0].first, kC);
  EXPECT_NEAR(c.logprobs[1].logprob, 0, 1e-6);
}

TEST(Sequence, CompletionsOfARequestDiffer) {
  EngineOptions options;
  options.max_context = 100;
  const auto run = [&](uint64_t seed, int32_t n) {
    SchedulerHarness h(options, {});
    Request request = MakeRequest(1, 5, 40);
    request.sampling.temperature = 1;
    request.sampling.seed = seed;
    request.sampling.n = n;
    h.Submit(request);
    h.Finish();
    std::vector<std::vector<int32_t>> tokens;
    for (const auto& [key, completion] : h.completions().all()) {
      tokens.push_back(completion.tokens);
    }
    return tokens;
  };
  const auto three = run(7, 3);
  EXPECT_NE(three[0], three[1]);
  EXPECT_NE(three[1], three[2]);
  EXPECT_EQ(run(7, 1)[0], three[0]);
  EXPECT_EQ(run(7, 2)[1], three[1]);
  EXPECT_NE(run(8, 1)[0], three[0]);
}

}  // namespace
}  // namespace alcca
