// What Kubernetes' probes hear when the real daemon is stuck or full.

#include <dirent.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#include <chrono>
#include <fstream>
#include <thread>

#include "grpc/health/v1/health.grpc.pb.h"
#include "tests/e2e/client.h"

namespace alcca::e2e {
namespace {

using grpc::health::v1::Health;
using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;
using testing::DaemonProcess;
using ::testing::HasSubstr;

// A watch: each change is read, none is polled for.
class Watch {
 public:
  Watch(const std::shared_ptr<grpc::Channel>& channel, const std::string& service)
      : stub_(Health::NewStub(channel)) {
    Client::SetDeadline(&context_, 240);
    HealthCheckRequest request;
    request.set_service(service);
    reader_ = stub_->Watch(&context_, request);
  }
  ~Watch() {
    context_.TryCancel();
    reader_->Finish();
  }
  HealthCheckResponse::ServingStatus Next() {
    HealthCheckResponse response;
    return reader_->Read(&response) ? response.status() : HealthCheckResponse::UNKNOWN;
  }

 private:
  std::unique_ptr<Health::Stub> stub_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReader<HealthCheckResponse>> reader_;
};

pid_t ThreadOf(pid_t process, const std::string& name) {
  const std::string tasks = "/proc/" + std::to_string(process) + "/task";
  pid_t found = 0;
  DIR* dir = opendir(tasks.c_str());
  for (dirent* entry; dir != nullptr && (entry = readdir(dir)) != nullptr;) {
    std::ifstream comm(tasks + "/" + entry->d_name + "/comm");
    if (std::string line; std::getline(comm, line) && line == name) {
      found = std::atoi(entry->d_name);
    }
  }
  closedir(dir);
  return found;
}

// Stops the step loop's thread alone, as a hung device call would, and lets it go.
TEST(Probes, LivenessFailsWhileTheStepLoopIsStuckAndReadinessDoesNot) {
  DaemonProcess daemon({"--watchdog-seconds=1"});
  ASSERT_TRUE(daemon.serving());
  Client client(daemon.grpc());
  Watch liveness(client.channel(), "liveness");
  EXPECT_EQ(liveness.Next(), HealthCheckResponse::SERVING);
  pid_t engine = 0;
  for (int i = 0; i < 500 && engine == 0; ++i) {  // it has that name once it has run
    engine = ThreadOf(daemon.pid(), "alcca-step");
    std::this_thread::sleep_for(std::chrono::milliseconds(engine == 0 ? 10 : 0));
  }
  ASSERT_NE(engine, 0);
  if (ptrace(PTRACE_SEIZE, engine, nullptr, nullptr) != 0) {
    GTEST_SKIP() << "this machine does not let us stop a thread (ptrace)";
  }
  ASSERT_EQ(ptrace(PTRACE_INTERRUPT, engine, nullptr, nullptr), 0);
  int status = 0;
  ASSERT_EQ(waitpid(engine, &status, __WALL), engine);
  EXPECT_EQ(liveness.Next(), HealthCheckResponse::NOT_SERVING);
  Watch readiness(client.channel(), "readiness");
  EXPECT_EQ(readiness.Next(), HealthCheckResponse::SERVING);
  ASSERT_EQ(ptrace(PTRACE_DETACH, engine, nullptr, nullptr), 0);
  EXPECT_EQ(liveness.Next(), HealthCheckResponse::SERVING);
  EXPECT_THAT(daemon.Log(), HasSubstr("makes no progress"));
  EXPECT_TRUE(client.Generate(Greedy("Once", 4)).status.ok());
}

// One long sequence runs, one waits: the queue of one is full, so readiness ends, alone.
TEST(Probes, ReadinessFollowsAQueueThatStaysFull) {
  DaemonProcess daemon({"--max-num-seqs=1", "--max-queued-requests=1", "--threads=1",
                        "--unready-after-full-seconds=0.5"});
  ASSERT_TRUE(daemon.serving());
  Client client(daemon.grpc());
  Watch readiness(client.channel(), "readiness");
  EXPECT_EQ(readiness.Next(), HealthCheckResponse::SERVING);
  std::atomic<bool> stop = false;
  std::vector<std::thread> callers;
  for (int i = 0; i < 6; ++i) {  // more than run and wait: the place in the queue is taken again
    callers.emplace_back([&] {
      while (!stop) {
        if (!client.Generate(Greedy("Once upon a time", 600)).status.ok()) {
          std::this_thread::sleep_for(std::chrono::milliseconds(5));  // no tight loop
        }
      }
    });
  }
  EXPECT_EQ(readiness.Next(), HealthCheckResponse::NOT_SERVING);
  Watch serving(client.channel(), "alcca.v1.Inference");
  EXPECT_EQ(serving.Next(), HealthCheckResponse::SERVING);
  stop = true;
  EXPECT_EQ(readiness.Next(), HealthCheckResponse::SERVING);
  for (std::thread& caller : callers) {
    caller.join();
  }
}

}  // namespace
}  // namespace alcca::e2e
