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
  // Streamed, and whole answers that all come with the last step.
  for (const bool stream : {true, false}) {
    UnreadClient unread(daemon.grpc());
    unread.Send(Wordy(stream));
    if (stream) {
      AwaitFinished(daemon, "abort");
    } else {
      Client client(daemon.grpc());
      while (Total(Scrape(daemon.metrics()), "alcca_requests_finished_total") < 2) {
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
      }
      EXPECT_EQ(Total(Scrape(daemon.metrics()), "alcca_requests_finished_total{reason=\"abort\"}"),
                2);
    }
    const Reply reply = unread.ReadAll();
    EXPECT_EQ(reply.status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED) << stream;
    EXPECT_THAT(reply.status.error_message(), ::testing::HasSubstr("max_undelivered_bytes"));
  }
}

TEST(SlowReader, OneLargeMessageAloneIsNotSlow) {
  DaemonProcess daemon({"--max-undelivered-bytes=1024"});
  ASSERT_TRUE(daemon.serving());
  v1::GenerateRequest request = Wordy(false);
  request.mutable_sampling_params()->set_n(1);
  const Reply reply = Client(daemon.grpc()).Generate(request);
  ASSERT_TRUE(reply.status.ok()) << reply.status.error_message();
  EXPECT_GT(reply.complete().ByteSizeLong(), 10000u);
}

TEST(SlowReader, WhoNeverReadsIsReset) {
  DaemonProcess daemon({"--undelivered-timeout-seconds=1", "--drain-timeout-seconds=60"});
  ASSERT_TRUE(daemon.serving());
  Client client(daemon.grpc());
  UnreadClient never(daemon.grpc());
  never.Send(Wordy(true));
  AwaitFinished(daemon, "length");  // all is said, little of it is sent
  for (int i = 0; i < 2000 && ActiveRequests(&client) > 0; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  EXPECT_EQ(ActiveRequests(&client), 0u);
  EXPECT_FALSE(never.ReadAll().status.ok());
  daemon.Signal(SIGTERM);
  EXPECT_EQ(daemon.Wait(20), 0);
}

}  // namespace
}  // namespace alcca::e2e
