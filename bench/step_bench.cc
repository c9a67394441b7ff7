// What the engine thread does between two steps of a device: it decides, makes text, and hands out
// tokens. The model here has no arithmetic, everything else is the daemon's own: engine, service
// and gRPC, with one client per stream on the loopback. Times are the CPU time of the engine
// thread, so that other load on the machine is in no figure.
//
//   step_bench [--streams 32] [--tokens 512] [--step-ms 4] [--logprobs 0] [--stream true]
//
// To compare two commits, run both in turns and compare the medians.

#include <grpcpp/grpcpp.h>
#include <time.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "CLI/CLI.hpp"
#include "alcca/v1/inference.grpc.pb.h"
#include "engine/engine.h"
#include "engine/text/load_tokenizer.h"
#include "server/api/service.h"

namespace alcca {
namespace {

struct Args {
  std::string model = "models/afia-5m";
  int32_t streams = 32;
  int32_t tokens = 512;  // of each stream
  double step_ms = 4;    // the device's time, in which clients are served
  int32_t logprobs = 0;  // alternatives; 0: none are asked for
  bool stream = true;    // false: gRPC writes once per stream, and the rest of the cost remains
};

constexpr int32_t kVocab = 4096;
constexpr int32_t kPrompt = 8;

template <typename T>
T Must(absl::StatusOr<T> value) {
  if (!value.ok()) {
    std::fprintf(stderr, "step_bench: %s\n", value.status().ToString().c_str());
    std::exit(2);
  }
  return *std::move(value);
}

double ThreadMicroseconds() {
  timespec time = {};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return 1e6 * static_cast<double>(time.tv_sec) + 1e-3 * static_cast<double>(time.tv_nsec);
}

// Per step of all streams, in microseconds of the engine thread.
struct Samples {
  std::vector<double> decide;    // from one step's answers to the next step's plan
  std::vector<double> hand_out;  // EventSink::OnStep
};

class NoState final : public AttentionState {
 public:
  size_t bytes() const override { return 0; }
  double build_seconds() const override { return 0; }
};

class NoModel final : public Model {
 public:
  NoModel(const Args& args, Samples* samples) : args_(args), samples_(samples) {}

  int32_t vocab_size() const override { return kVocab; }
  const KvShape& kv_shape() const override { return shape_; }

  std::span<SampledRow> Forward(const Batch& batch, std::span<const SamplingRow> rows,
                                absl::FunctionRef<void()> meanwhile) override {
    const double planned = ThreadMicroseconds();
    meanwhile();
    const double handed_out = ThreadMicroseconds();
    const bool whole = batch.tokens() == args_.streams && std::ssize(rows) == args_.streams;
    if (whole && whole_before_) {
      samples_->decide.push_back(planned - answered_);
      samples_->hand_out.push_back(handed_out - planned);
    }
    whole_before_ = whole;
    std::this_thread::sleep_for(std::chrono::duration<double, std::milli>(args_.step_ms));
    sampled_.resize(rows.size());
    for (size_t i = 0; i < rows.size(); ++i) {
      next_ = (next_ * 5 + 1) % kVocab;
      sampled_[i] = {.failed = false, .choice = {.token = next_, .logprob = -1, .top = {}}};
      for (int32_t k = 0; k < rows[i].top_logprobs; ++k) {
        sampled_[i].choice.top.emplace_back(k, -1.0f);
      }
    }
    answered_ = ThreadMicroseconds();
    return sampled_;
  }
  std::span<const float> Logits(const Batch&) override { return {}; }
  size_t weight_bytes() const override { return 0; }
  size_t kv_bytes() const override { return 0; }
  std::string Describe() const override { return "none"; }

  absl::StatusOr<std::unique_ptr<AttentionState>> MakeAttentionState(
      const AttentionParams&) override {
    return std::make_unique<NoState>();
  }

 private:
  const Args args_;
  Samples* const samples_;
  const KvShape shape_{
      .layers = 1, .kv_heads = 1, .head_dim = 1, .page_tokens = 16, .pages = 1 << 14};
  std::vector<SampledRow> sampled_;
  int32_t next_ = 7;
  bool whole_before_ = false;
  double answered_ = 0;
};

void Read(const Args& args, const std::string& target) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);  // a connection of its own
  const auto stub = v1::Inference::NewStub(
      grpc::CreateCustomChannel(target, grpc::InsecureChannelCredentials(), arguments));
  v1::GenerateRequest request;
  request.set_stream(args.stream);
  for (int32_t i = 0; i < kPrompt; ++i) {
    request.mutable_tokenized()->add_input_ids(100 + i);
  }
  v1::SamplingParams& sampling = *request.mutable_sampling_params();
  sampling.set_max_tokens(args.tokens);
  sampling.set_ignore_eos(true);
  if (args.logprobs > 0) {
    sampling.set_logprobs(args.logprobs);
  }
  grpc::ClientContext context;
  const auto reader = stub->Generate(&context, request);
  v1::GenerateResponse message;
  int32_t messages = 0;
  while (reader->Read(&message)) {
    ++messages;
  }
  const grpc::Status status = reader->Finish();
  if (!status.ok() || messages < (args.stream ? args.tokens : 1)) {
    std::fprintf(stderr, "step_bench: %d messages for %d tokens, then: %s\n", messages, args.tokens,
                 status.error_message().c_str());
    std::exit(2);
  }
}

double Median(std::vector<double> values) {
  if (values.empty()) {
    std::fprintf(stderr, "step_bench: no step had all streams; raise --tokens\n");
    std::exit(2);
  }
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

void Run(const Args& args) {
  const std::unique_ptr<Tokenizer> tokenizer = Must(LoadTokenizer(args.model));
  Metrics metrics("bench");
  Delivery delivery(&metrics);
  Intake intake(&delivery, &metrics, 1 << 20);
  InferenceService service(&intake, &delivery);
  const int32_t context = kPrompt + args.tokens;
  Samples samples;
  const std::unique_ptr<Engine> engine = Must(
      Engine::Create({.max_num_seqs = args.streams, .max_context = context, .eos_token_ids = {2}},
                     std::make_unique<NoModel>(args, &samples), tokenizer.get(), &delivery));
  Serving serving;
  serving.engine = engine.get();
  serving.rules.tokenizer = tokenizer.get();
  serving.rules.vocab_size = kVocab;
  serving.rules.max_context = context;
  serving.rules.attention.mode = AttentionMode::kAlcca;  // with a table, as the embedded model has
  serving.rules.attention.head_theta = std::make_shared<const std::vector<float>>(64, 1.0f);
  intake.Serve(&serving);
  int port = 0;
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(&service);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  std::vector<std::thread> clients;
  for (int32_t i = 0; i < args.streams; ++i) {
    clients.emplace_back([&] { Read(args, "127.0.0.1:" + std::to_string(port)); });
  }
  for (std::thread& client : clients) {
    client.join();
  }
  engine->Stop();
  server->Shutdown();
  const double decide = Median(samples.decide), hand_out = Median(samples.hand_out);
  std::printf(
      "%d streams, %zu steps, median us of the engine thread per step: "
      "decide and make text %.1f, hand out %.1f, together %.1f\n",
      args.streams, samples.decide.size(), decide, hand_out, decide + hand_out);
}

}  // namespace
}  // namespace alcca

int main(int argc, char** argv) {
  alcca::Args args;
  CLI::App app("The engine thread between two steps");
  app.add_option("--model", args.model, "folder of the tokenizer")->capture_default_str();
  app.add_option("--streams", args.streams, "clients")->capture_default_str();
  app.add_option("--tokens", args.tokens, "of each stream")->capture_default_str();
  app.add_option("--step-ms", args.step_ms, "the device's time per step")->capture_default_str();
  app.add_option("--logprobs", args.logprobs, "alternatives per token; 0: none")
      ->capture_default_str();
  app.add_option("--stream", args.stream, "false: whole answers alone")->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  alcca::Run(args);
  return 0;
}
