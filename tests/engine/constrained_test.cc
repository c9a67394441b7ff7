// Constraints in the loop: what is drawn, when an answer ends, and that neither batch nor
// preemption changes it. The model is a stand-in whose logits are a hash of the context.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <regex>
#include <set>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "engine/constraint/compiler.h"
#include "engine/text/vocabulary_bytes.h"
#include "tests/testing/scheduler_harness.h"

namespace alcca {
namespace {

using Kind = ConstraintSpec::Kind;
using testing::Completion;
using testing::MakeByteTokenizer;
using testing::MakeRequest;
using testing::SchedulerHarness;

constexpr int32_t kEndId = 2, kFirstByte = 3;
int32_t Id(char c) {
  return kFirstByte + static_cast<uint8_t>(c);
}

class Constrained : public ::testing::Test {
 protected:
  Constrained()
      : tokenizer_(MakeByteTokenizer({"ab", "\xE2\x96\x81yes", "12", "\"}", "{\""},
                                     /*dummy_prefix=*/true)) {
    auto vocabulary = ConstraintVocabulary::Build(
        BytesOf(tokenizer_, tokenizer_.vocab_size(), std::vector<int32_t>{kEndId}));
    EXPECT_TRUE(vocabulary.ok()) << vocabulary.status();
    vocabulary_ = *std::move(vocabulary);
  }

  std::shared_ptr<const CompiledConstraint> Compile(Kind kind, const std::string& text,
                                                    const ConstraintLimits& limits = {}) {
    ConstraintSpec spec;
    spec.kind = kind;
    spec.text = text;
    auto constraint = CompileConstraint(spec, vocabulary_, limits);
    EXPECT_TRUE(constraint.ok()) << constraint.status();
    return *std::move(constraint);
  }

  // Sampled at temperature 1, so that seeds differ.
  Request Asks(uint64_t key, std::shared_ptr<const CompiledConstraint> constraint,
               int32_t max_tokens = 60) {
    Request request = MakeRequest(key, 5, max_tokens);
    request.sampling.temperature = 1;
    request.sampling.seed = key;
    request.constraint = std::move(constraint);
    return request;
  }

  testing::FakeModelOptions Model(int32_t pages = 64) const {
    return {.vocab_size = tokenizer_.vocab_size(), .pages = pages};
  }
  static EngineOptions Options() {
    return {
        .max_num_seqs = 8, .max_batch_tokens = 64, .max_context = 200, .eos_token_ids = {kEndId}};
  }

  Completion Run(Request request, testing::FakeModelOptions model) {
    SchedulerHarness harness(Options(), std::move(model), &tokenizer_);
    const uint64_t key = request.key;
    harness.Submit(std::move(request));
    harness.Finish();
    return harness.completions().at(key);
  }
  Completion Run(Request request) { return Run(std::move(request), Model()); }

  const SentencePieceTokenizer tokenizer_;
  std::shared_ptr<const ConstraintVocabulary> vocabulary_;
};

TEST_F(Constrained, EveryAnswerSatisfiesItsExpression) {
  const std::string text = "[a-c]{2,5}(12|yes)";
  const auto constraint = Compile(Kind::kRegex, text);
  std::set<std::string> answers;
  for (uint64_t key = 1; key <= 40; ++key) {
    const Completion done = Run(Asks(key, constraint));
    EXPECT_EQ(done.finish(), FinishReason::kStop);
    EXPECT_TRUE(std::regex_match(done.text, std::regex(text))) << done.text;
    answers.insert(done.text);
  }
  EXPECT_GT(answers.size(), 20u);
}

// An answer is done when nothing can follow: no end token is waited for.
TEST_F(Constrained, EndsWhereNothingCanFollow) {
  const Completion done = Run(Asks(1, Compile(Kind::kRegex, "abab"), 60));
  EXPECT_EQ(done.text, "abab");
  EXPECT_EQ(done.finish(), FinishReason::kStop);
  EXPECT_TRUE(std::holds_alternative<std::monostate>(done.ending.matched_stop));
  // Even on the last token that max_tokens allows.
  Request exact = Asks(1, Compile(Kind::kRegex, "xyz"), 3);
  const Completion last = Run(std::move(exact));
  EXPECT_EQ(last.text, "xyz");
  EXPECT_EQ(last.finish(), FinishReason::kStop);
  const Completion cut = Run(Asks(1, Compile(Kind::kRegex, "xyz"), 2));
  EXPECT_EQ(cut.text, "xy");
  EXPECT_EQ(cut.finish(), FinishReason::kLength);
}

// The model wants its end token before all: it gets it where the text may end, not before.
TEST_F(Constrained, EndTokensWhereTheTextMayEnd) {
  testing::FakeModelOptions model = Model();
  Request request = Asks(1, Compile(Kind::kRegex, "x{3,50}"));
  request.sampling.temperature = 0;
  request.sampling.logit_bias = {{kEndId, 50.0f}};
  const Completion done = Run(request, model);
  EXPECT_EQ(done.text, "xxx");
  EXPECT_EQ(done.finish(), FinishReason::kStop);
  request.sampling.min_tokens = 7;
  EXPECT_EQ(Run(request, model).text, std::string(7, 'x'));
  request.sampling.min_tokens = 0;
  request.sampling.ignore_eos = true;  // as long as anything else may come
  EXPECT_EQ(Run(request, model).text, std::string(50, 'x'));
}

TEST_F(Constrained, ACompleteConstraintEndsBeforeMinTokens) {
  Request request = Asks(1, Compile(Kind::kRegex, "ok"), 30);
  request.sampling.min_tokens = 20;
  const Completion done = Run(std::move(request));
  EXPECT_EQ(done.text, "ok");
  EXPECT_EQ(done.finish(), FinishReason::kStop);
}

TEST_F(Constrained, StopStringsAndStopTokensEndEarlierAndAreNamed) {
  Request request = Asks(1, Compile(Kind::kRegex, "x{3}STOPx{9}"));
  request.sampling.stop = {"TOP"};
  const Completion text = Run(std::move(request));
  EXPECT_EQ(text.text, "xxxS");
  EXPECT_EQ(std::get<std::string>(text.ending.matched_stop), "TOP");
  Request by_id = Asks(1, Compile(Kind::kRegex, "x{3}yz"));
  by_id.sampling.stop_token_ids = {Id('y')};
  const Completion token = Run(std::move(by_id));
  EXPECT_EQ(token.text, "xxx");
  EXPECT_EQ(std::get<int32_t>(token.ending.matched_stop), Id('y'));
  // A stop token without text ends where the text may end.
  Request control = Asks(1, Compile(Kind::kRegex, "x{2,9}"));
  control.sampling.stop_token_ids = {1};
  control.sampling.logit_bias = {{1, 100.0f}};
  control.sampling.temperature = 0;
  const Completion by_control = Run(std::move(control));
  EXPECT_EQ(by_control.text, "xx");
  EXPECT_EQ(std::get<int32_t>(by_control.ending.matched_stop), 1);
}

TEST_F(Constrained, BiasAndPenaltiesChooseAmongWhatIsAllowed) {
  Request request = Asks(1, Compile(Kind::kRegex, "[xyz]{6}"));
  request.sampling.temperature = 0;
  request.sampling.logit_bias = {{Id('q'), 100.0f}, {Id('y'), 90.0f}};
  EXPECT_EQ(Run(request).text, "yyyyyy");
  request.sampling.logit_bias = {{Id('x'), 30.0f}, {Id('y'), 30.0f}, {Id('z'), 30.0f}};
  request.sampling.presence_penalty = 100;  // wider than the wire allows: once each, then again
  std::string letters = Run(request).text.substr(0, 3);
  std::sort(letters.begin(), letters.end());
  EXPECT_EQ(letters, "xyz");
}

// Of the raw logits, as vLLM's default: what the model thought, not what was left of it.
TEST_F(Constrained, LogprobsAreOfTheRawLogits) {
  Request request = Asks(1, Compile(Kind::kRegex, "x"), 4);
  request.sampling.logprobs = 3;
  const Completion done = Run(std::move(request));
  ASSERT_EQ(done.logprobs.size(), 1u);
  EXPECT_LT(done.logprobs[0].logprob, -0.5f);  // alone, it would be 0
  ASSERT_EQ(done.logprobs[0].top.size(), 3u);
  EXPECT_GE(done.logprobs[0].top[0].second, done.logprobs[0].logprob);
}

TEST_F(Constrained, CompletionsOfOneRequestGoTheirOwnWays) {
  Request request = Asks(9, Compile(Kind::kRegex, "[a-h]{12}"));
  request.sampling.n = 4;
  SchedulerHarness harness(Options(), Model(), &tokenizer_);
  harness.Submit(std::move(request));
  harness.Finish();
  std::set<std::string> texts;
  for (int32_t index = 0; index < 4; ++index) {
    const Completion& done = harness.completions().at(9, index);
    EXPECT_EQ(done.text.size(), 12u);
    texts.insert(done.text);
  }
  EXPECT_EQ(texts.size(), 4u);
}

// One constraint that all of them learn together, next to free requests, in a cache that holds half
// of them.
TEST_F(Constrained, TokensDependOnTheRequestAlone) {
  const auto constraint = Compile(
      Kind::kJsonSchema,
      R"({"type":"object","properties":{"ab":{"type":"string","maxLength":20},"n":{"type":"integer"}},"required":["ab","n"]})");
  std::vector<std::vector<int32_t>> alone;
  for (uint64_t key = 1; key <= 8; ++key) {
    alone.push_back(Run(Asks(key, key % 3 == 0 ? nullptr : constraint)).tokens);
  }
  SchedulerHarness harness(Options(), Model(40), &tokenizer_);
  for (uint64_t key = 1; key <= 8; ++key) {
    harness.Submit(Asks(key, key % 3 == 0 ? nullptr : constraint));
  }
  harness.Finish();
  int32_t preemptions = 0;
  for (uint64_t key = 1; key <= 8; ++key) {
    const Completion& done = harness.completions().at(key);
    EXPECT_EQ(done.tokens, alone[key - 1]) << key;
    preemptions += done.ending.timings.preemptions;
  }
  EXPECT_GT(preemptions, 0);
}

// Only the request whose constraint needs too much ends, and it says why.
TEST_F(Constrained, ALimitMetEndsItsRequestAlone) {
  ConstraintLimits limits;
  limits.automaton.work = 40;
  const auto harsh = Compile(Kind::kRegex, "(a|b)*(a|b){30}", limits);
  SchedulerHarness harness(Options(), Model(), &tokenizer_);
  harness.Submit(Asks(1, harsh));
  harness.Submit(Asks(2, Compile(Kind::kRegex, "abc")));
  harness.Finish();
  const Completion& over = harness.completions().at(1);
  EXPECT_EQ(over.finish(), FinishReason::kError);
  EXPECT_TRUE(absl::IsResourceExhausted(over.ending.error)) << over.ending.error;
  EXPECT_EQ(harness.completions().at(2).text, "abc");
}

// A token that loses its space at the beginning is the same text as one without.
TEST_F(Constrained, WhatIsDeliveredSatisfiesIt) {
  const int32_t yes = tokenizer_.PieceToId("\xE2\x96\x81yes");
  for (const bool begins : {true, false}) {
    Request request = Asks(1, Compile(Kind::kRegex, "yes( yes){2}"));
    request.prompt = begins ? std::vector<int32_t>{1} : std::vector<int32_t>{1, Id('x')};
    request.sampling.temperature = 0;
    request.sampling.logit_bias = {{yes, 100.0f}};
    const Completion done = Run(std::move(request));
    EXPECT_EQ(done.text, "yes yes yes");
    EXPECT_EQ(done.tokens.size(), begins ? 3u : 5u);
  }
}

}  // namespace
}  // namespace alcca
