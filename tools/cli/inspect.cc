// tokenize, detokenize, info, health: unary calls.

#include <google/protobuf/util/json_util.h>

#include <chrono>
#include <cstdio>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "CLI/CLI.hpp"
#include "grpc/health/v1/health.grpc.pb.h"
#include "tools/cli/commands.h"
#include "tools/cli/options.h"

namespace alcca::cli {
namespace {

using grpc::health::v1::Health;
using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;

void PrintJson(const google::protobuf::Message& message) {
  std::string text;
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  options.add_whitespace = true;
  options.always_print_primitive_fields = true;
  (void)google::protobuf::util::MessageToJsonString(message, &text, options);
  std::fputs(text.c_str(), stdout);
}

int Tokenize(const ConnectionOptions& connection, const std::string& text, bool bos) {
  v1::TokenizeRequest request;
  request.set_text(TextOrStdin(text));
  request.set_add_bos(bos);
  v1::TokenizeResponse response;
  const grpc::Status status =
      connection.Stub()->Tokenize(connection.Context().get(), request, &response);
  for (int i = 0; i < response.token_ids_size(); ++i) {
    std::printf("%6u  %s\n", response.token_ids(i), response.pieces(i).c_str());
  }
  return Report(status);
}

int Detokenize(const ConnectionOptions& connection, const std::vector<uint32_t>& ids, bool keep) {
  v1::DetokenizeRequest request;
  request.mutable_token_ids()->Assign(ids.begin(), ids.end());
  request.set_keep_special_tokens(keep);
  v1::DetokenizeResponse response;
  const grpc::Status status =
      connection.Stub()->Detokenize(connection.Context().get(), request, &response);
  if (status.ok()) {
    std::printf("%s\n", response.text().c_str());
  }
  return Report(status);
}

int Info(const ConnectionOptions& connection) {
  const auto stub = connection.Stub();
  v1::GetModelInfoResponse model;
  v1::GetServerInfoResponse server;
  v1::GetLoadsResponse loads;
  grpc::Status status = stub->GetModelInfo(connection.Context().get(), {}, &model);
  if (status.ok()) {
    status = stub->GetServerInfo(connection.Context().get(), {}, &server);
  }
  if (status.ok()) {
    status = stub->GetLoads(connection.Context().get(), {}, &loads);
  }
  if (!status.ok()) {
    return Report(status);
  }
  for (const google::protobuf::Message* message :
       std::initializer_list<const google::protobuf::Message*>{&model, &server, &loads}) {
    PrintJson(*message);
  }
  return 0;
}

struct HealthOptions {
  ConnectionOptions connection;
  std::string service;
  double wait_seconds = 0;
  bool watch = false;
};

grpc::Status CheckOnce(const HealthOptions& options, Health::Stub* stub, double timeout_seconds,
                       HealthCheckResponse* response) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() +
                       std::chrono::milliseconds(int64_t(1e3 * timeout_seconds)));
  HealthCheckRequest request;
  request.set_service(options.service);
  return stub->Check(&context, request, response);
}

int WatchHealth(const HealthOptions& options, Health::Stub* stub) {
  HealthCheckRequest request;
  request.set_service(options.service);
  const auto context = options.connection.Context();
  const auto reader = stub->Watch(context.get(), request);
  for (HealthCheckResponse response; reader->Read(&response);) {
    std::printf("%s\n", HealthCheckResponse::ServingStatus_Name(response.status()).c_str());
    std::fflush(stdout);
  }
  return Report(reader->Finish());
}

// 0 only for SERVING. With --wait, an unreachable or loading server is asked again until it serves
// or time is up.
int CheckHealth(const HealthOptions& options) {
  const double timeout =
      options.connection.timeout_seconds > 0 ? options.connection.timeout_seconds : 5;
  const auto end = std::chrono::steady_clock::now() +
                   std::chrono::milliseconds(int64_t(1e3 * options.wait_seconds));
  while (true) {
    // A fresh channel a try: a refused connection would otherwise back off for a second and more.
    const auto stub = Health::NewStub(options.connection.Channel());
    if (options.watch) {
      return WatchHealth(options, stub.get());
    }
    HealthCheckResponse response;
    const grpc::Status status = CheckOnce(options, stub.get(), timeout, &response);
    const bool serving = status.ok() && response.status() == HealthCheckResponse::SERVING;
    if (serving || std::chrono::steady_clock::now() >= end) {
      if (!status.ok()) {
        return Report(status);
      }
      std::printf("%s\n", HealthCheckResponse::ServingStatus_Name(response.status()).c_str());
      return serving ? 0 : static_cast<int>(grpc::StatusCode::UNAVAILABLE);
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
}

}  // namespace

void AddTokenize(CLI::App* app, Run* run) {
  struct Options {
    ConnectionOptions connection;
    std::string text;
    bool bos = false;
  };
  CLI::App* command = app->add_subcommand("tokenize", "Show a text's tokens");
  auto options = std::make_shared<Options>();
  options->connection.AddTo(command);
  command->add_option("text", options->text, "the text; - reads stdin")->required();
  command->add_flag("--bos", options->bos, "prepend the begin token");
  command->callback([options, run] {
    *run = [options] { return Tokenize(options->connection, options->text, options->bos); };
  });
}

void AddDetokenize(CLI::App* app, Run* run) {
  struct Options {
    ConnectionOptions connection;
    std::vector<uint32_t> ids;
    bool keep = false;
  };
  CLI::App* command = app->add_subcommand("detokenize", "Show the text of token ids");
  auto options = std::make_shared<Options>();
  options->connection.AddTo(command);
  command->add_option("ids", options->ids, "token ids")->required();
  command->add_flag("--keep-special", options->keep, "show control tokens");
  command->callback([options, run] {
    *run = [options] { return Detokenize(options->connection, options->ids, options->keep); };
  });
}

void AddInfo(CLI::App* app, Run* run) {
  CLI::App* command = app->add_subcommand("info", "Model, server and load, as JSON");
  auto options = std::make_shared<ConnectionOptions>();
  options->AddTo(command);
  command->callback([options, run] { *run = [options] { return Info(*options); }; });
}

void AddHealth(CLI::App* app, Run* run) {
  CLI::App* command = app->add_subcommand("health", "Exit 0 if the server is SERVING");
  auto options = std::make_shared<HealthOptions>();
  options->connection.AddTo(command);
  command->add_option("--service", options->service,
                      "\"\" (all), alcca.v1.Inference, readiness or liveness");
  command->add_option("--wait", options->wait_seconds, "seconds to wait for SERVING")
      ->check(CLI::NonNegativeNumber);
  command->add_flag("--watch", options->watch, "print every change until the server goes");
  command->callback([options, run] { *run = [options] { return CheckHealth(*options); }; });
}

}  // namespace alcca::cli
