// grpc.health.v1 to the letter, on a real server with a real channel.

#include "server/health.h"

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <thread>

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

TEST_F(HealthTest, ListNamesEveryService) {
  HealthListResponse response;
  grpc::ClientContext context;
  ASSERT_TRUE(stub_->List(&context, {}, &response).ok());
  EXPECT_EQ(response.statuses_size(), 4);
  EXPECT_TRUE(response.statuses().contains("readiness"));
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

TEST_F(HealthTest, WatchOfAnUnknownServiceStaysOpen) {
  grpc::ClientContext context;
  const auto reader = Watch(&context, "nobody");
  HealthCheckResponse response;
  ASSERT_TRUE(reader->Read(&response));
  EXPECT_EQ(response.status(), HealthCheckResponse::SERVICE_UNKNOWN);
  context.TryCancel();
  EXPECT_FALSE(reader->Read(&response));
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

}  // namespace
}  // namespace alcca
