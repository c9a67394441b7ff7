// grpc.health.v1 to the letter, on a real server with a real channel.

#include "server/process/health.h"

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

namespace alcca {
namespace {

using grpc::health::v1::Health;
using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;
using grpc::health::v1::HealthListResponse;

class HealthTest : public ::testing::Test {
 protected:
  void SetUp() override {
    int port = 0;
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(&health_);
    server_ = builder.BuildAndStart();
    ASSERT_NE(server_, nullptr);
    stub_ = Health::NewStub(grpc::CreateChannel("127.0.0.1:" + std::to_string(port),
                                                grpc::InsecureChannelCredentials()));
  }
  void TearDown() override {
    health_.Shutdown();
    server_->Shutdown();
  }
  grpc::Status Check(const std::string& service, HealthCheckResponse* response) {
    grpc::ClientContext context;
    HealthCheckRequest request;
    request.set_service(service);
    return stub_->Check(&context, request, response);
  }
  std::unique_ptr<grpc::ClientReader<HealthCheckResponse>> Watch(grpc::ClientContext* context,
                                                                 const std::string& service) {
    context->set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(60));
    HealthCheckRequest request;
    request.set_service(service);
    return stub_->Watch(context, request);
  }

  HealthService health_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<Health::Stub> stub_;
};

TEST_F(HealthTest, CheckSaysReadyAndLiveApart) {
  HealthCheckResponse response;
  ASSERT_TRUE(Check("", &response).ok());
  EXPECT_EQ(response.status(), HealthCheckResponse::NOT_SERVING);
  health_.SetReady(true);
  ASSERT_TRUE(Check("alcca.v1.Inference", &response).ok());
  EXPECT_EQ(response.status(), HealthCheckResponse::SERVING);
  ASSERT_TRUE(Check("liveness", &response).ok());
  EXPECT_EQ(response.status(), HealthCheckResponse::NOT_SERVING);
  health_.SetLive(true);
  health_.SetReady(false);
  ASSERT_TRUE(Check("liveness", &response).ok());
  EXPECT_EQ(response.status(), HealthCheckResponse::SERVING);
  ASSERT_TRUE(Check("readiness", &response).ok());
  EXPECT_EQ(response.status(), HealthCheckResponse::NOT_SERVING);
  EXPECT_EQ(Check("nobody", &response).error_code(), grpc::StatusCode::NOT_FOUND);
}

TEST_F(HealthTest, AFullQueueIsHeardInReadinessAlone) {
  HealthCheckResponse response;
  health_.SetAdmitting(false);
  health_.SetReady(true);
  ASSERT_TRUE(Check("readiness", &response).ok());
  EXPECT_EQ(response.status(), HealthCheckResponse::NOT_SERVING);
  for (const char* service : {"", "alcca.v1.Inference"}) {
    ASSERT_TRUE(Check(service, &response).ok());
    EXPECT_EQ(response.status(), HealthCheckResponse::SERVING) << service;
  }
  health_.SetAdmitting(true);
  ASSERT_TRUE(Check("readiness", &response).ok());
  EXPECT_EQ(response.status(), HealthCheckResponse::SERVING);
  health_.SetReady(false);  // draining wins
  health_.SetAdmitting(true);
  ASSERT_TRUE(Check("readiness", &response).ok());
  EXPECT_EQ(response.status(), HealthCheckResponse::NOT_SERVING);
}

TEST_F(HealthTest, ListNamesEveryService) {
  HealthListResponse response;
  grpc::ClientContext context;
  ASSERT_TRUE(stub_->List(&context, {}, &response).ok());
  EXPECT_EQ(response.statuses_size(), 4);
  health_.SetReady(true);
  grpc::ClientContext again;
  ASSERT_TRUE(stub_->List(&again, {}, &response).ok());
  for (const char* name : {"", "alcca.v1.Inference", "readiness"}) {
    ASSERT_TRUE(response.statuses().contains(name)) << name;
    EXPECT_EQ(response.statuses().at(name).status(), HealthCheckResponse::SERVING) << name;
  }
  EXPECT_EQ(response.statuses().at("liveness").status(), HealthCheckResponse::NOT_SERVING);
}

TEST_F(HealthTest, WatchPushesTheStateAndEveryChange) {
  grpc::ClientContext context;
  const auto reader = Watch(&context, "");
  HealthCheckResponse response;
  ASSERT_TRUE(reader->Read(&response));
  EXPECT_EQ(response.status(), HealthCheckResponse::NOT_SERVING);
  for (const bool ready : {true, false, true}) {
    health_.SetReady(ready);
    ASSERT_TRUE(reader->Read(&response));
    EXPECT_EQ(response.status(),
              ready ? HealthCheckResponse::SERVING : HealthCheckResponse::NOT_SERVING);
  }
  health_.SetReady(true);  // no change: nothing is sent
  health_.Shutdown();
  EXPECT_FALSE(reader->Read(&response));
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
}

// Nobody hears of a service that he does not watch.
TEST_F(HealthTest, WatchOfLivenessIsNotToldOfReadiness) {
  grpc::ClientContext context;
  const auto reader = Watch(&context, "liveness");
  HealthCheckResponse response;
  ASSERT_TRUE(reader->Read(&response));
  EXPECT_EQ(response.status(), HealthCheckResponse::NOT_SERVING);
  health_.SetReady(true);
  health_.SetReady(false);
  health_.SetLive(true);
  ASSERT_TRUE(reader->Read(&response));
  EXPECT_EQ(response.status(), HealthCheckResponse::SERVING);
}

TEST_F(HealthTest, WatchAfterShutdownEndsAtOnce) {
  health_.Shutdown();
  grpc::ClientContext context;
  const auto reader = Watch(&context, "");
  HealthCheckResponse response;
  EXPECT_FALSE(reader->Read(&response));
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
}

TEST_F(HealthTest, ShutdownEndsEveryWatch) {
  constexpr int kWatchers = 8;
  std::vector<grpc::ClientContext> contexts(kWatchers);
  std::vector<std::unique_ptr<grpc::ClientReader<HealthCheckResponse>>> readers;
  HealthCheckResponse response;
  for (int i = 0; i < kWatchers; ++i) {
    readers.push_back(Watch(&contexts[i], i % 2 == 0 ? "" : "nobody"));
    ASSERT_TRUE(readers.back()->Read(&response));
  }
  health_.Shutdown();
  health_.Shutdown();      // twice is once
  health_.SetReady(true);  // too late to be heard
  for (const auto& reader : readers) {
    EXPECT_FALSE(reader->Read(&response));
    EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
  }
}

// A drain sets NOT_SERVING and shuts down right behind it, maybe with an older state on its way.
TEST_F(HealthTest, TheLastStateIsHeardBeforeShutdown) {
  constexpr int kWatchers = 8;
  std::vector<grpc::ClientContext> contexts(kWatchers);
  std::vector<std::unique_ptr<grpc::ClientReader<HealthCheckResponse>>> readers;
  HealthCheckResponse response;
  for (grpc::ClientContext& context : contexts) {
    readers.push_back(Watch(&context, ""));
    ASSERT_TRUE(readers.back()->Read(&response));
  }
  for (int i = 0; i < 20; ++i) {
    health_.SetReady(i % 2 == 0);
  }
  health_.SetReady(true);
  health_.Shutdown();
  for (const auto& reader : readers) {
    while (reader->Read(&response)) {
    }
    EXPECT_EQ(response.status(), HealthCheckResponse::SERVING);
    EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
  }
}

// Clients leave while states change: the sanitizers' case.
TEST_F(HealthTest, CancelledWatchersLeaveNothingBehind) {
  std::atomic<bool> done = false;
  std::thread flips([&] {
    for (bool ready = false; !done; ready = !ready) {
      health_.SetReady(ready);
    }
  });
  int cancelled = 0;
  for (int i = 0; i < 100; ++i) {
    grpc::ClientContext context;
    const auto reader = Watch(&context, "");
    HealthCheckResponse response;
    EXPECT_TRUE(i % 2 == 0 || reader->Read(&response));
    context.TryCancel();
    cancelled += reader->Finish().error_code() == grpc::StatusCode::CANCELLED;
  }
  done = true;
  flips.join();
  EXPECT_EQ(cancelled, 100);
  health_.SetReady(true);
  HealthCheckResponse response;
  ASSERT_TRUE(Check("", &response).ok());
  EXPECT_EQ(response.status(), HealthCheckResponse::SERVING);
}

TEST_F(HealthTest, WatchOfAnUnknownServiceStaysOpen) {
  grpc::ClientContext context;
  const auto reader = Watch(&context, "nobody");
  HealthCheckResponse response;
  ASSERT_TRUE(reader->Read(&response));
  EXPECT_EQ(response.status(), HealthCheckResponse::SERVICE_UNKNOWN);
  std::atomic<bool> ended = false;
  std::thread next([&] {
    HealthCheckResponse another;
    EXPECT_FALSE(reader->Read(&another));
    ended = true;
  });
  health_.SetReady(true);
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  EXPECT_FALSE(ended);
  context.TryCancel();
  next.join();
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
}

// The last state always arrives, whatever is merged on the way.
TEST_F(HealthTest, ManyWatchersSeeTheLastState) {
  std::vector<std::thread> threads;
  std::atomic<int> right = 0;
  for (int i = 0; i < 16; ++i) {
    threads.emplace_back([&] {
      grpc::ClientContext context;
      const auto reader = Watch(&context, "readiness");
      HealthCheckResponse response;
      while (reader->Read(&response) && response.status() != HealthCheckResponse::SERVING) {
      }
      right += response.status() == HealthCheckResponse::SERVING;
      context.TryCancel();
      reader->Finish();
    });
  }
  for (int i = 0; i < 50; ++i) {
    health_.SetReady(i % 2 == 0);
  }
  health_.SetReady(true);
  for (std::thread& thread : threads) {
    thread.join();
  }
  EXPECT_EQ(right, 16);
}

// The metric must say what the probe says, at every change and before the first.
TEST_F(HealthTest, AListenerHearsEveryServiceNowAndAtEachChange) {
  std::map<std::string, bool> heard;
  health_.SetListener([&](const std::string& service, bool serving) { heard[service] = serving; });
  EXPECT_EQ(heard.size(), 4u);
  EXPECT_FALSE(heard.at("readiness"));
  health_.SetReady(true);
  EXPECT_TRUE(heard.at("readiness"));
  EXPECT_TRUE(heard.at("alcca.v1.Inference"));
  EXPECT_FALSE(heard.at("liveness"));
  health_.SetLive(true);
  health_.SetReady(false);
  EXPECT_FALSE(heard.at("readiness"));
  EXPECT_TRUE(heard.at("liveness"));
  health_.SetListener(nullptr);
}

}  // namespace
}  // namespace alcca
