// A device that fails takes the process with it, but clients that watch health hear of it first.

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <memory>
#include <string>
#include <thread>

#include "grpc/health/v1/health.grpc.pb.h"
#include "kernels/device_fault.h"
#include "server/daemon.h"

namespace alcca {
namespace {

using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;

// In a child process: a real daemon, a client that watches it, and a fault.
void ServeAndFail() {
  ServerConfig config;
  config.model = ALCCA_MODEL_DIR;
  config.device = "cpu";
  config.listen = "127.0.0.1:0";
  config.metrics_listen = "";
  Daemon daemon(config);
  if (!daemon.Listen().ok() || !daemon.Load(PlanModel(config).value()).ok()) {
    std::exit(1);
  }
  daemon.Serve([] {});
  const auto stub = grpc::health::v1::Health::NewStub(grpc::CreateChannel(
      "127.0.0.1:" + std::to_string(daemon.grpc_port()), grpc::InsecureChannelCredentials()));
  grpc::ClientContext context;
  const auto watch = stub->Watch(&context, HealthCheckRequest());
  HealthCheckResponse response;
  while (watch->Read(&response) && response.status() != HealthCheckResponse::SERVING) {
  }
  std::thread fault([] { DeviceFault("an illegal memory access"); });
  while (watch->Read(&response)) {
    std::fprintf(stderr, "watched: %s\n",
                 HealthCheckResponse::ServingStatus_Name(response.status()).c_str());
  }
  fault.join();
}

TEST(DeviceFaultDeathTest, HealthSaysNotServingThenTheProcessEnds) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(ServeAndFail(), ::testing::ExitedWithCode(70),
              "device fault: an illegal memory access.*watched: NOT_SERVING");
}

TEST(DeviceFaultDeathTest, AFaultInTheHandlerEndsTheProcessToo) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(
      {
        SetDeviceFaultHandler([](std::string_view) { DeviceFault("again"); });
        DeviceFault("once");
      },
      ::testing::ExitedWithCode(70), "once.*again");
}

}  // namespace
}  // namespace alcca
