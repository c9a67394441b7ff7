// From start to drain: health to the letter, signals, and starts that must fail with one clear
// line.

#include <gmock/gmock.h>
#include <grpcpp/generic/generic_stub.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "grpc/health/v1/health.grpc.pb.h"
#include "tests/e2e/client.h"
#include "tests/testing/checkpoint_writer.h"

namespace alcca::e2e {
namespace {

using grpc::health::v1::Health;
using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;
using testing::DaemonProcess;
using ::testing::HasSubstr;
using testing::ProgramResult;
using testing::RunProgram;

ProgramResult Alccad(std::vector<std::string> flags, const std::string& listen = "127.0.0.1:0",
                     const std::string& metrics = "127.0.0.1:0") {
  flags.insert(flags.begin(), {"--listen=" + listen, "--metrics-listen=" + metrics});
  return RunProgram(ALCCA_ALCCAD_PATH, flags);
}

TEST(Lifecycle, IdleDaemonEndsAtOnceOnSigterm) {
  DaemonProcess daemon;
  ASSERT_TRUE(daemon.serving());
  daemon.Signal(SIGTERM);
  EXPECT_EQ(daemon.Wait(10), 0);
}

TEST(Lifecycle, DrainFinishesWhatRunsAndRefusesTheRest) {
  DaemonProcess daemon({"--drain-timeout-seconds=300"});  // a sanitizer's daemon is slow
  ASSERT_TRUE(daemon.serving());
  Client client(daemon.grpc());
  const auto health = Health::NewStub(client.channel());
  grpc::ClientContext watch_context;
  const auto watch = health->Watch(&watch_context, {});
  HealthCheckResponse state;
  ASSERT_TRUE(watch->Read(&state));
  EXPECT_EQ(state.status(), HealthCheckResponse::SERVING);

  grpc::ClientContext context;
  auto running = client.stub().Generate(&context, Greedy("Once upon a time", 600));
  v1::GenerateResponse message;
  ASSERT_TRUE(running->Read(&message));
  daemon.Signal(SIGTERM);
  ASSERT_TRUE(watch->Read(&state));  // pushed, not polled
  EXPECT_EQ(state.status(), HealthCheckResponse::NOT_SERVING);
  EXPECT_EQ(client.Generate(Greedy("Too late", 4)).status.error_code(),
            grpc::StatusCode::UNAVAILABLE);
  const Reply reply = Client::Collect(running.get(), &context);
  EXPECT_TRUE(reply.status.ok()) << reply.status.error_message();
  EXPECT_EQ(reply.complete().completion_tokens(), 600u);
  EXPECT_FALSE(watch->Read(&state));
  EXPECT_EQ(daemon.Wait(20), 0);
}

TEST(Lifecycle, DrainTimesOutAndSaysSo) {
  DaemonProcess daemon({"--drain-timeout-seconds=0.1", "--threads=1"});
  ASSERT_TRUE(daemon.serving());
  Client client(daemon.grpc());
  v1::GenerateRequest request = Greedy("Once upon a time", 1000);
  request.mutable_sampling_params()->set_n(16);
  grpc::ClientContext context;
  auto running = client.stub().Generate(&context, request);
  v1::GenerateResponse message;
  ASSERT_TRUE(running->Read(&message));
  daemon.Signal(SIGTERM);
  const Reply reply = Client::Collect(running.get(), &context);
  EXPECT_EQ(reply.status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(daemon.Wait(20), 0);
}

TEST(Lifecycle, ASecondSignalEndsAtOnce) {
  DaemonProcess daemon;
  ASSERT_TRUE(daemon.serving());
  Client client(daemon.grpc());
  v1::GenerateRequest request = Greedy("Once upon a time", 1000);
  request.mutable_sampling_params()->set_n(16);
  grpc::ClientContext context;
  auto running = client.stub().Generate(&context, request);
  v1::GenerateResponse message;
  ASSERT_TRUE(running->Read(&message));
  daemon.Signal(SIGTERM);
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  daemon.Signal(SIGTERM);
  EXPECT_EQ(daemon.Wait(10), 128 + SIGTERM);
}

// A certificate that is a pipe holds it while it reads its files.
TEST(Lifecycle, ASignalBeforeItServesEndsAtOnce) {
  const std::string pipe = ::testing::TempDir() + "alcca_cert_" + std::to_string(getpid());
  const std::string script =
      "mkfifo $1 && { $0 --listen=127.0.0.1:0 --tls-cert=$1 --tls-key=$1 & } && exec 3>$1 && "
      "kill -TERM $!; wait $!";
  const ProgramResult result = RunProgram("sh", {"-c", script, ALCCA_ALCCAD_PATH, pipe}, "", 20);
  std::filesystem::remove(pipe);
  EXPECT_EQ(result.exit_code, 128 + SIGTERM) << result.err;
}

TEST(Lifecycle, HealthKnowsItsServices) {
  DaemonProcess daemon;
  ASSERT_TRUE(daemon.serving());
  const auto stub =
      Health::NewStub(grpc::CreateChannel(daemon.grpc(), grpc::InsecureChannelCredentials()));
  for (const char* service : {"", "alcca.v1.Inference", "readiness", "liveness"}) {
    HealthCheckRequest request;
    request.set_service(service);
    HealthCheckResponse response;
    grpc::ClientContext context;
    EXPECT_TRUE(stub->Check(&context, request, &response).ok()) << service;
    EXPECT_EQ(response.status(), HealthCheckResponse::SERVING) << service;
  }
  HealthCheckRequest request;
  request.set_service("no.such.Service");
  HealthCheckResponse response;
  grpc::ClientContext context;
  EXPECT_EQ(stub->Check(&context, request, &response).error_code(), grpc::StatusCode::NOT_FOUND);
}

// grpcurl and other tools ask reflection first.
TEST(Lifecycle, ReflectionListsTheService) {
  DaemonProcess daemon;
  ASSERT_TRUE(daemon.serving());
  grpc::GenericStub stub(grpc::CreateChannel(daemon.grpc(), grpc::InsecureChannelCredentials()));
  grpc::ClientContext context;
  Client::SetDeadline(&context, 60);
  grpc::CompletionQueue queue;
  void* tag = nullptr;
  bool ok = false;
  const auto stream = stub.PrepareCall(
      &context, "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", &queue);
  stream->StartCall(nullptr);
  ASSERT_TRUE(queue.Next(&tag, &ok) && ok);
  grpc::Slice slice(std::string("\x3A\x01*", 3));  // list_services = "*"
  stream->Write(grpc::ByteBuffer(&slice, 1), nullptr);
  ASSERT_TRUE(queue.Next(&tag, &ok) && ok);
  grpc::ByteBuffer reply;
  stream->Read(&reply, nullptr);
  ASSERT_TRUE(queue.Next(&tag, &ok) && ok);
  std::vector<grpc::Slice> slices;
  ASSERT_TRUE(reply.Dump(&slices).ok());
  std::string bytes;
  for (const grpc::Slice& part : slices) {
    bytes.append(reinterpret_cast<const char*>(part.begin()), part.size());
  }
  EXPECT_THAT(bytes, HasSubstr("alcca.v1.Inference"));
  EXPECT_THAT(bytes, HasSubstr("grpc.health.v1.Health"));
  context.TryCancel();
  grpc::Status status;
  stream->Finish(&status, nullptr);
  queue.Next(&tag, &ok);
}

TEST(BadStart, ExitCodesAndOneLineEach) {
  const testing::TempDir dir;
  struct Row {
    std::vector<std::string> flags;
    int exit_code;
    const char* says;
  };
  const std::string config = dir.Write("bad.yaml", "max_num_seqs: many\n");
  for (const Row& row : std::initializer_list<Row>{
           {{"--no-such-flag"}, 64, "no-such-flag"},
           {{"--max-num-seqs=0"}, 64, "max_num_seqs"},
           {{"--weight-dtype=int3"}, 64, "weight_dtype"},
           {{"--config=/no/such/file.yaml"}, 78, "/no/such/file.yaml"},
           {{"--config=" + config}, 64, "max_num_seqs"},
           {{"--model=/no/such/folder"}, 78, "/no/such/folder"},
           {{"--model=" + dir.path()}, 78, "config.json"},
           {{"--device=cuda", "--model=" ALCCA_MODEL_DIR}, 78, "CUDA"},
           {{"--max-context=99999999"}, 78, "max_context"},
           {{"--kv-cache-bytes=1"}, 64, "kv_cache_bytes"},
       }) {
    const ProgramResult result = Alccad(row.flags);
    EXPECT_EQ(result.exit_code, row.exit_code) << row.flags[0] << ": " << result.err;
    EXPECT_THAT(result.err, HasSubstr(row.says));
  }
}

TEST(BadStart, APortThatIsTaken) {
  DaemonProcess daemon;
  ASSERT_TRUE(daemon.serving());
  const ProgramResult result = Alccad({}, daemon.grpc());
  EXPECT_EQ(result.exit_code, 69) << result.err;
  EXPECT_THAT(result.err, HasSubstr(daemon.grpc()));
  const ProgramResult metrics = Alccad({}, "127.0.0.1:0", daemon.metrics());
  EXPECT_EQ(metrics.exit_code, 69) << metrics.err;
  EXPECT_THAT(metrics.err, HasSubstr(daemon.metrics()));
}

// Every way a download goes wrong: file and rule are named, no crash, exit code 78.
TEST(BadStart, BrokenCheckpoints) {
  namespace fs = std::filesystem;
  struct Row {
    const char* name;
    std::function<void(const std::string&)> spoil;
    const char* says;
  };
  const auto overwrite = [](const std::string& path, const std::string& content) {
    std::ofstream(path, std::ios::binary | std::ios::trunc) << content;
  };
  const Row rows[] = {
      {"no weights", [](const std::string& d) { fs::remove(d + "/model.safetensors"); },
       "model.safetensors"},
      {"cut off", [](const std::string& d) { fs::resize_file(d + "/model.safetensors", 1000000); },
       "model.safetensors"},
      {"empty", [&](const std::string& d) { overwrite(d + "/model.safetensors", ""); },
       "model.safetensors"},
      {"an error page",
       [&](const std::string& d) {
         overwrite(d + "/model.safetensors", "<html><body>403 Forbidden</body></html>");
       },
       "model.safetensors"},
      {"a pointer file",
       [&](const std::string& d) {
         overwrite(d + "/model.safetensors", "version https://git-lfs.github.com/spec/v1\n");
       },
       "model.safetensors"},
      {"no tokenizer", [](const std::string& d) { fs::remove(d + "/tokenizer.model"); },
       "tokenizer.model"},
      {"broken tokenizer",
       [&](const std::string& d) { overwrite(d + "/tokenizer.model", "\x0A\xFFnonsense"); },
       "tokenizer.model"},
      {"config is no JSON", [&](const std::string& d) { overwrite(d + "/config.json", "{"); },
       "config.json"},
      {"another architecture",
       [&](const std::string& d) {
         overwrite(d + "/config.json", R"({"architectures": ["GPT2LMHeadModel"]})");
       },
       "GPT2"},
      {"alcca.json with a typo",
       [&](const std::string& d) { overwrite(d + "/alcca.json", R"({"thetta": 1})"); }, "thetta"},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.name);
    const testing::TempDir dir;
    for (const auto& file : fs::directory_iterator(ALCCA_MODEL_DIR)) {
      if (file.is_regular_file()) {
        fs::copy(file.path(), dir.path());
      }
    }
    row.spoil(dir.path());
    const ProgramResult result = Alccad({"--model=" + dir.path()});
    EXPECT_EQ(result.exit_code, 78) << result.err;
    EXPECT_THAT(result.err, HasSubstr(row.says));
  }
}

// A folder as people download it, in shards, with weights in each precision.
TEST(Start, ShardedCheckpointInEveryWeightFormat) {
  const testing::TempDir dir;
  ModelConfig config = testing::TinyModelConfig();
  config.vocab_size = 4096;
  testing::WriteTinyCheckpoint(dir.path(), config, DType::kF16, 3);
  std::filesystem::copy(ALCCA_MODEL_DIR "/tokenizer.model", dir.path());
  for (const char* dtype : {"f32", "bf16", "int8"}) {
    DaemonProcess daemon({"--model=" + dir.path(), std::string("--weight-dtype=") + dtype});
    ASSERT_TRUE(daemon.serving()) << dtype;
    const Reply reply = Client(daemon.grpc()).Generate(Greedy("Once", 12));
    EXPECT_TRUE(reply.status.ok()) << reply.status.error_message();
    EXPECT_EQ(reply.complete().completion_tokens(), 12u);
  }
}

}  // namespace
}  // namespace alcca::e2e
