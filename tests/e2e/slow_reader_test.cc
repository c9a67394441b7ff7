// Clients that do not read their answers: told so, or reset; never a wrong OK, never in the way of
// a drain.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <chrono>
#include <thread>

#include "tests/e2e/client.h"

namespace alcca::e2e {
namespace {

using testing::DaemonProcess;

// A connection that takes little on its own account: what is not read stays with the daemon.
class UnreadClient {
 public:
  explicit UnreadClient(const std::string& target) {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
    arguments.SetInt(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, 1024);
    stub_ = v1::Inference::NewStub(
        grpc::CreateCustomChannel(target, grpc::InsecureChannelCredentials(), arguments));
  }
  void Send(const v1::GenerateRequest& request) { reader_ = stub_->Generate(&context_, request); }
  Reply ReadAll() { return Client::Collect(reader_.get(), &context_); }
  void TryCancel() { context_.TryCancel(); }

 private:
  std::unique_ptr<v1::Inference::Stub> stub_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReader<v1::GenerateResponse>> reader_;
};

// Some hundred kilobytes of answer.
v1::GenerateRequest Wordy(bool stream) {
  v1::GenerateRequest request = Greedy("Once upon a time", 400);
  request.set_stream(stream);
  request.mutable_sampling_params()->set_n(4);
  request.mutable_sampling_params()->set_logprobs(20);
  return request;
}

void AwaitFinished(const DaemonProcess& daemon, const std::string& reason) {
  const std::string name = "alcca_requests_finished_total{reason=\"" + reason + "\"}";
  for (int i = 0; i < 3000 && Total(Scrape(daemon.metrics()), name) == 0; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  EXPECT_EQ(Total(Scrape(daemon.metrics()), name), 1) << reason;
}

uint32_t ActiveRequests(Client* client) {
  grpc::ClientContext context;
  v1::GetServerInfoResponse info;
  EXPECT_TRUE(client->stub().GetServerInfo(&context, {}, &info).ok());
  return static_cast<uint32_t>(info.active_requests());
}

TEST(SlowReader, IsTold) {
  DaemonProcess daemon({"--max-undelivered-bytes=10000"});
  ASSERT_TRUE(daemon.serving());
  UnreadClient unread(daemon.grpc());
  unread.Send(Wordy(true));
  AwaitFinished(daemon, "abort");
  const Reply reply = unread.ReadAll();
  EXPECT_EQ(reply.status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(reply.status.error_message(), ::testing::HasSubstr("max_undelivered_bytes"));
  EXPECT_TRUE(reply.completes.empty());
}

// The limit is met by the last chunk: no step is left to cancel, and yet it is not OK.
TEST(SlowReader, IsToldAtTheLastChunkToo) {
  DaemonProcess daemon({"--max-undelivered-bytes=1024", "--max-logprobs=200"});
  ASSERT_TRUE(daemon.serving());
  std::string prompt;
  for (int i = 0; i < 40; ++i) {
    prompt += "Once there was a bear who walked over the hill to see the sea. ";
  }
  v1::GenerateRequest request = Greedy(prompt, 1);
  request.mutable_sampling_params()->set_n(2);
  // The first chunk stays unread, and the second is too much.
  request.mutable_sampling_params()->set_prompt_logprobs(20);
  request.mutable_sampling_params()->set_logprobs(200);
  UnreadClient unread(daemon.grpc());
  unread.Send(request);
  AwaitFinished(daemon, "abort");
  const Reply reply = unread.ReadAll();
  EXPECT_EQ(reply.status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(reply.chunks, 1);
}

TEST(SlowReader, WholeAnswersWaitForTheirReader) {
  DaemonProcess daemon({"--max-undelivered-bytes=1024"});
  ASSERT_TRUE(daemon.serving());
  UnreadClient late(daemon.grpc());
  late.Send(Wordy(false));
  AwaitFinished(daemon, "length");
  const Reply reply = late.ReadAll();
  ASSERT_TRUE(reply.status.ok()) << reply.status.error_message();
  ASSERT_EQ(reply.completes.size(), 4u);
  for (const v1::GenerateComplete& complete : reply.completes) {
    EXPECT_GT(complete.ByteSizeLong(), 10000u);
    EXPECT_EQ(complete.output_logprobs().token_logprobs_size(), 400);
  }
}

TEST(SlowReader, WhoNeverReadsIsReset) {
  DaemonProcess daemon({"--undelivered-timeout-seconds=1", "--drain-timeout-seconds=60"});
  ASSERT_TRUE(daemon.serving());
  Client client(daemon.grpc());
  UnreadClient never(daemon.grpc());
  never.Send(Wordy(true));
  const auto await = [&](uint32_t active) {
    for (int i = 0; i < 3000 && ActiveRequests(&client) != active; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    EXPECT_EQ(ActiveRequests(&client), active);
  };
  await(1);
  await(0);
  EXPECT_FALSE(never.ReadAll().status.ok());
  daemon.Signal(SIGTERM);
  EXPECT_EQ(daemon.Wait(20), 0);
  EXPECT_THAT(daemon.Log(), ::testing::HasSubstr("\"code\":8,"));  // RESOURCE_EXHAUSTED
}

}  // namespace
}  // namespace alcca::e2e
