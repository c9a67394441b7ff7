// The state machine of an answer: what the engine says, what a client gets, and in which order. No
// server is needed; tests/e2e has the same over the wire.

#include "server/api/answer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace alcca {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;
using Next = Answer::Next;

TimePoint At(double seconds) {
  return TimePoint() +
         std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(100 + seconds));
}

// The answer of `n` sequences, and a client that reads when it is told to.
class Conversation {
 public:
  explicit Conversation(int32_t n = 1, bool stream = true, int64_t max_undelivered_bytes = 1 << 20)
      : answer_({.id = "me",
                 .arrival = At(0),
                 .n = n,
                 .stream = stream,
                 .max_undelivered_bytes = max_undelivered_bytes},
                &metrics_),
        tokens_(n) {}

  // A token of sequence `index`, and a text of its own.
  TokenNews Token(const std::string& text, int32_t index = 0) {
    TokenNews news;
    news.index = index;
    news.prompt_tokens = 3;
    news.first_token = tokens_[index] == 0;
    news.token_ids = {10 + tokens_[index]};
    news.completion_tokens = ++tokens_[index];
    news.text = text;
    return news;
  }
  // The last news of a sequence.
  TokenNews End(FinishReason reason, int32_t index = 0, absl::Status error = {}) {
    TokenNews news;
    news.index = index;
    news.prompt_tokens = 3;
    news.completion_tokens = tokens_[index];
    news.ending = std::make_unique<Ending>();
    news.ending->reason = reason;
    news.ending->error = std::move(error);
    return news;
  }
  Next Hear(TokenNews news, double seconds = 1) {
    return answer_.OnNews(std::move(news), At(seconds));
  }
  // All that a client which reads at once finds by now.
  std::vector<v1::GenerateResponse> ReadAll() {
    std::vector<v1::GenerateResponse> messages;
    while (const v1::GenerateResponse* message = answer_.NextMessage(At(2))) {
      messages.push_back(*message);
      answer_.Written(true);
    }
    return messages;
  }
  Answer& answer() { return answer_; }

 private:
  Metrics metrics_{"test"};
  Answer answer_;
  std::vector<int32_t> tokens_;
};

std::vector<std::string> Texts(const std::vector<v1::GenerateResponse>& messages) {
  std::vector<std::string> texts;
  for (const v1::GenerateResponse& message : messages) {
    texts.push_back(message.has_chunk() ? message.chunk().text()
                                        : "[" + message.complete().text() + "]");
  }
  return texts;
}

TEST(Answer, StreamsChunksThenTheWhole) {
  Conversation c;
  EXPECT_EQ(c.Hear(c.Token("one ")), Next::kGoOn);
  EXPECT_FALSE(c.answer().Complete());
  EXPECT_EQ(c.Hear(c.Token("two")), Next::kGoOn);
  EXPECT_EQ(c.Hear(c.End(FinishReason::kLength)), Next::kEnded);
  EXPECT_FALSE(c.answer().Complete());  // messages wait
  const auto messages = c.ReadAll();
  EXPECT_THAT(Texts(messages), ElementsAre("one ", "two", "[one two]"));
  EXPECT_THAT(messages[0].chunk().token_ids(), ElementsAre(10));
  EXPECT_EQ(messages[1].chunk().completion_tokens(), 2u);
  EXPECT_EQ(messages[1].chunk().prompt_tokens(), 3u);
  EXPECT_TRUE(c.answer().Complete());
  EXPECT_FALSE(c.answer().Complete());  // said once
  EXPECT_TRUE(c.answer().status().ok());
  EXPECT_EQ(c.answer().reason(), FinishReason::kLength);
  EXPECT_EQ(c.answer().output_tokens(), 2);
  EXPECT_EQ(c.answer().prompt_tokens(), 3);
}

TEST(Answer, TheWholeSaysEverything) {
  Conversation c(1, /*stream=*/false);
  TokenNews first = c.Token("a");
  first.logprobs = {{.token = 10, .logprob = -0.5f, .top = {{10, -0.5f}}}};
  first.prompt_logprobs = {{.token = 1, .logprob = 0, .top = {}},
                           {.token = 2, .logprob = -1, .top = {}}};
  c.Hear(std::move(first));
  TokenNews second = c.Token("b");
  second.logprobs = {{.token = 11, .logprob = -0.25f, .top = {}}};
  c.Hear(std::move(second));
  EXPECT_THAT(c.ReadAll(), SizeIs(0));  // nothing before the end
  TokenNews end = c.End(FinishReason::kStop);
  end.text = "c";  // held back until now
  end.ending->matched_stop = std::string("stop");
  end.ending->timings = {.queue_seconds = 0.25,
                         .prefill_seconds = 0.5,
                         .decode_seconds = 0.75,
                         .index_build_seconds = 0,
                         .preemptions = 4};
  end.ending->index_bytes = 99;
  EXPECT_EQ(c.Hear(std::move(end), 1.5), Next::kEnded);
  const auto messages = c.ReadAll();
  ASSERT_THAT(messages, SizeIs(1));
  const v1::GenerateComplete& whole = messages[0].complete();
  EXPECT_EQ(whole.text(), "abc");
  EXPECT_THAT(whole.output_ids(), ElementsAre(10, 11));
  EXPECT_EQ(whole.finish_reason(), "stop");
  EXPECT_EQ(whole.matched_stop_str(), "stop");
  EXPECT_EQ(whole.request_id(), "me");
  EXPECT_EQ(whole.usage().total_tokens(), 5u);
  EXPECT_THAT(whole.output_logprobs().token_logprobs(), ElementsAre(-0.5f, -0.25f));
  EXPECT_THAT(whole.output_logprobs().top_logprobs(), SizeIs(2));
  EXPECT_THAT(whole.input_logprobs().token_ids(), ElementsAre(1, 2));
  EXPECT_EQ(whole.timings().queue_seconds(), 0.25);
  EXPECT_EQ(whole.timings().total_seconds(), 1.5);
  EXPECT_EQ(whole.timings().preemptions(), 4u);
  EXPECT_EQ(whole.attention().index_bytes(), 99);
}

TEST(Answer, AMatchedTokenIsNamedAndAnEndTokenIsNot) {
  Conversation c(2);
  TokenNews end = c.End(FinishReason::kStop, 0);
  end.ending->matched_stop = int32_t{42};
  c.Hear(std::move(end));
  c.Hear(c.End(FinishReason::kStop, 1));
  const auto messages = c.ReadAll();
  ASSERT_THAT(messages, SizeIs(2));
  EXPECT_EQ(messages[0].complete().matched_token_id(), 42u);
  EXPECT_FALSE(messages[1].complete().has_matched_token_id() ||
               messages[1].complete().has_matched_stop_str());
  EXPECT_FALSE(messages[1].complete().has_output_logprobs());
}

TEST(Answer, SequencesAreToldApartAndTheLastOneEndsIt) {
  Conversation c(3);
  c.Hear(c.Token("a0 ", 0));
  c.Hear(c.Token("b0 ", 1));
  EXPECT_EQ(c.Hear(c.End(FinishReason::kStop, 1)), Next::kGoOn);
  c.Hear(c.Token("a1", 0));
  EXPECT_EQ(c.Hear(c.End(FinishReason::kLength, 0)), Next::kGoOn);
  EXPECT_EQ(Texts(c.ReadAll()).size(), 5u);
  EXPECT_FALSE(c.answer().Complete());
  c.Hear(c.Token("c", 2));
  EXPECT_EQ(c.Hear(c.End(FinishReason::kStop, 2)), Next::kEnded);
  const auto messages = c.ReadAll();
  EXPECT_THAT(Texts(messages), ElementsAre("c", "[c]"));
  EXPECT_EQ(messages[1].complete().index(), 2u);
  EXPECT_TRUE(c.answer().Complete());
  EXPECT_TRUE(c.answer().status().ok());
  EXPECT_EQ(c.answer().output_tokens(), 4);
}

// The worst end of a sequence names the request's.
TEST(Answer, AnErrorOfOneSequenceIsTheStatusAndTheOthersAnswersStand) {
  Conversation c(3);
  c.Hear(c.Token("fine", 0));
  c.Hear(c.End(FinishReason::kError, 1, absl::InternalError("not finite")));
  c.Hear(c.End(FinishReason::kDeadline, 2));
  EXPECT_EQ(c.Hear(c.End(FinishReason::kStop, 0)), Next::kEnded);
  EXPECT_THAT(Texts(c.ReadAll()), ElementsAre("fine", "[fine]"));
  EXPECT_TRUE(c.answer().Complete());
  EXPECT_EQ(c.answer().status(), absl::InternalError("not finite"));
  EXPECT_EQ(c.answer().reason(), FinishReason::kError);
}

TEST(Answer, ADeadlineKeepsWhatWasStreamed) {
  Conversation c;
  c.Hear(c.Token("some"));
  EXPECT_EQ(c.Hear(c.End(FinishReason::kDeadline)), Next::kEnded);
  EXPECT_THAT(Texts(c.ReadAll()), ElementsAre("some"));  // no whole answer
  EXPECT_EQ(c.answer().status().code(), absl::StatusCode::kDeadlineExceeded);
}

TEST(Answer, AnAbortHasItsTokensAndSaysWhy) {
  Conversation c;
  c.Hear(c.Token("some"));
  c.Hear(c.End(FinishReason::kAbort));
  EXPECT_THAT(Texts(c.ReadAll()), ElementsAre("some", "[some]"));
  EXPECT_EQ(c.answer().status().code(), absl::StatusCode::kCancelled);

  Conversation drained;
  drained.answer().EndAbortedWith(absl::UnavailableError("shut down"));
  drained.Hear(drained.End(FinishReason::kAbort));
  EXPECT_EQ(drained.answer().status(), absl::UnavailableError("shut down"));

  Conversation done;  // it ended by itself
  done.answer().EndAbortedWith(absl::UnavailableError("shut down"));
  done.Hear(done.End(FinishReason::kStop));
  EXPECT_TRUE(done.answer().status().ok());
}

TEST(Answer, ARefusalIsAStatusAlone) {
  Metrics metrics("test");
  Answer answer({.id = "", .arrival = At(0)}, &metrics);
  EXPECT_FALSE(answer.Complete());
  answer.Refuse(absl::InvalidArgumentError("n: no"));
  EXPECT_EQ(answer.NextMessage(At(1)), nullptr);
  EXPECT_TRUE(answer.Complete());
  EXPECT_EQ(answer.status(), absl::InvalidArgumentError("n: no"));
  EXPECT_EQ(answer.reason(), FinishReason::kNone);
}

TEST(Answer, OneMessageIsOnItsWayAtATime) {
  Conversation c;
  c.Hear(c.Token("one"));
  c.Hear(c.Token("two"));
  const v1::GenerateResponse* first = c.answer().NextMessage(At(1));
  ASSERT_NE(first, nullptr);
  EXPECT_EQ(c.answer().NextMessage(At(1)), nullptr);
  for (int i = 0; i < 100; ++i) {
    c.Hear(c.Token("more"));
  }
  EXPECT_EQ(first->chunk().text(), "one");  // it stays where it is
  c.answer().Written(true);
  EXPECT_EQ(c.answer().NextMessage(At(1))->chunk().text(), "two");
}

// The first chunk goes out whatever its size: it waits behind nothing.
TEST(Answer, AReaderThatIsTooSlowIsCutOff) {
  Conversation c(1, true, 100);
  const std::string large(150, 'x');
  EXPECT_EQ(c.Hear(c.Token(large)), Next::kGoOn);
  ASSERT_NE(c.answer().NextMessage(At(1)), nullptr);
  EXPECT_EQ(c.Hear(c.Token(std::string(60, 'x'))), Next::kGoOn);
  EXPECT_EQ(c.Hear(c.Token(std::string(60, 'x'))), Next::kCancel);
  EXPECT_EQ(c.Hear(c.Token("x")), Next::kGoOn);                    // said once
  c.answer().EndAbortedWith(absl::UnavailableError("shut down"));  // too late
  EXPECT_EQ(c.Hear(c.End(FinishReason::kAbort)), Next::kEnded);
  EXPECT_FALSE(c.answer().Complete());  // the first is still on its way
  c.answer().Written(true);
  EXPECT_EQ(c.answer().NextMessage(At(1)), nullptr);
  EXPECT_TRUE(c.answer().Complete());
  EXPECT_EQ(c.answer().status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(c.answer().status().message(), HasSubstr("max_undelivered_bytes"));
}

// What a reader takes makes room: never more than the bound waits behind the message on its way.
TEST(Answer, AReaderThatKeepsUpIsNever) {
  Conversation c(1, true, 100);
  for (int i = 0; i < 1000; ++i) {
    ASSERT_EQ(c.Hear(c.Token(std::string(60, 'x'))), Next::kGoOn);
    ASSERT_EQ(c.Hear(c.Token(std::string(60, 'x'))), Next::kGoOn);
    ASSERT_THAT(c.ReadAll(), SizeIs(2));
  }
}

// No step is left to cancel, and yet it is not OK.
TEST(Answer, TheLastChunkMayBeOneTooMany) {
  Conversation c(1, true, 100);
  c.Hear(c.Token("first"));
  c.answer().NextMessage(At(1));
  TokenNews last = c.Token(std::string(200, 'x'));
  last.ending = std::make_unique<Ending>();
  last.ending->reason = FinishReason::kStop;
  EXPECT_EQ(c.Hear(std::move(last)), Next::kEnded);
  c.answer().Written(true);
  EXPECT_EQ(c.answer().NextMessage(At(1)), nullptr);
  EXPECT_TRUE(c.answer().Complete());
  EXPECT_EQ(c.answer().reason(), FinishReason::kAbort);
  EXPECT_EQ(c.answer().status().code(), absl::StatusCode::kResourceExhausted);
}

// Whole answers are the last of their sequences: they wait as long as it takes.
TEST(Answer, WholeAnswersAreInNoBound) {
  Conversation c(4, /*stream=*/false, 100);
  for (int32_t i = 0; i < 4; ++i) {
    c.Hear(c.Token(std::string(500, 'x'), i));
  }
  for (int32_t i = 0; i < 4; ++i) {
    EXPECT_EQ(c.Hear(c.End(FinishReason::kStop, i)), i < 3 ? Next::kGoOn : Next::kEnded);
  }
  EXPECT_THAT(c.ReadAll(), SizeIs(4));
  EXPECT_TRUE(c.answer().status().ok());
}

TEST(Answer, AMessageThatNobodyTakesEndsTheCall) {
  Conversation c;
  EXPECT_FALSE(c.answer().GiveUpIfStuck(At(50)));  // nothing is on its way
  c.Hear(c.Token("one"));
  c.answer().NextMessage(At(10));
  EXPECT_FALSE(c.answer().GiveUpIfStuck(At(10)));
  EXPECT_TRUE(c.answer().GiveUpIfStuck(At(11)));
  EXPECT_FALSE(c.answer().GiveUpIfStuck(At(12)));  // said once
  c.Hear(c.End(FinishReason::kAbort));
  c.answer().Written(false);
  EXPECT_TRUE(c.answer().Complete());
  EXPECT_THAT(c.answer().status().message(), HasSubstr("undelivered_timeout_seconds"));

  Conversation late;  // all is said, and its last message is stuck
  late.Hear(late.End(FinishReason::kStop));
  late.answer().NextMessage(At(10));
  EXPECT_TRUE(late.answer().GiveUpIfStuck(At(11)));
  EXPECT_EQ(late.answer().status().code(), absl::StatusCode::kResourceExhausted);
}

TEST(Answer, AClientThatIsGoneGetsNothing) {
  Conversation c(1, true, 100);
  c.Hear(c.Token("one"));
  c.Hear(c.Token("two"));
  c.answer().NextMessage(At(1));
  c.answer().Disconnect();
  for (int i = 0; i < 10; ++i) {
    EXPECT_EQ(c.Hear(c.Token(std::string(60, 'x'))), Next::kGoOn);
  }
  c.answer().Written(false);
  EXPECT_EQ(c.Hear(c.End(FinishReason::kAbort)), Next::kEnded);
  EXPECT_EQ(c.answer().NextMessage(At(1)), nullptr);
  EXPECT_TRUE(c.answer().Complete());
  EXPECT_EQ(c.answer().status().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(c.answer().output_tokens(), 12);
}

TEST(Answer, AFailedWriteDropsTheRest) {
  Conversation c;
  c.Hear(c.Token("one"));
  c.Hear(c.Token("two"));
  c.answer().NextMessage(At(1));
  c.answer().Written(false);
  EXPECT_EQ(c.answer().NextMessage(At(1)), nullptr);
  EXPECT_FALSE(c.answer().Complete());  // its sequence still runs
  c.Hear(c.End(FinishReason::kAbort));
  EXPECT_TRUE(c.answer().Complete());
}

}  // namespace
}  // namespace alcca
