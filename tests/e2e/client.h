#pragma once

// A real client for end-to-end tests: a channel to a real alccad, and calls collected whole.

#include <grpcpp/grpcpp.h>

#include <map>
#include <string>
#include <vector>

#include "alcca/v1/inference.grpc.pb.h"
#include "tests/testing/process.h"

namespace alcca::e2e {

struct Reply {
  grpc::Status status;
  std::string text;                 // of all chunks, index 0
  std::vector<uint32_t> token_ids;  // likewise
  int chunks = 0;
  std::vector<v1::GenerateComplete> completes;
  std::multimap<std::string, std::string> trailers;

  const v1::GenerateComplete& complete() const { return completes.at(0); }
};

class Client {
 public:
  explicit Client(const std::string& target)
      : channel_(grpc::CreateChannel(target, grpc::InsecureChannelCredentials())),
        stub_(v1::Inference::NewStub(channel_)) {}

  v1::Inference::Stub& stub() { return *stub_; }
  const std::shared_ptr<grpc::Channel>& channel() const { return channel_; }

  Reply Generate(const v1::GenerateRequest& request, double deadline_seconds = 300) {
    grpc::ClientContext context;
    SetDeadline(&context, deadline_seconds);
    return Collect(stub_->Generate(&context, request).get(), &context);
  }
  Reply Chat(const v1::ChatRequest& request) {
    grpc::ClientContext context;
    SetDeadline(&context, 300);
    return Collect(stub_->Chat(&context, request).get(), &context);
  }
  static void SetDeadline(grpc::ClientContext* context, double seconds) {
    context->set_deadline(std::chrono::system_clock::now() +
                          std::chrono::microseconds(int64_t(seconds * 1e6)));
  }
  static Reply Collect(grpc::ClientReader<v1::GenerateResponse>* reader,
                       grpc::ClientContext* context) {
    Reply reply;
    for (v1::GenerateResponse message; reader->Read(&message);) {
      if (message.has_complete()) {
        reply.completes.push_back(message.complete());
      } else if (message.chunk().index() == 0) {
        ++reply.chunks;
        reply.text += message.chunk().text();
        reply.token_ids.insert(reply.token_ids.end(), message.chunk().token_ids().begin(),
                               message.chunk().token_ids().end());
      }
    }
    reply.status = reader->Finish();
    for (const auto& [key, value] : context->GetServerTrailingMetadata()) {
      reply.trailers.emplace(std::string(key.data(), key.size()),
                             std::string(value.data(), value.size()));
    }
    return reply;
  }

 private:
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::Inference::Stub> stub_;
};

// Greedy, streamed, `tokens` long whatever the model says.
inline v1::GenerateRequest Greedy(const std::string& text, uint32_t tokens) {
  v1::GenerateRequest request;
  request.set_text(text);
  request.set_stream(true);
  request.mutable_sampling_params()->set_temperature(0);
  request.mutable_sampling_params()->set_max_tokens(tokens);
  request.mutable_sampling_params()->set_ignore_eos(true);
  return request;
}

// The values of a scrape: "name{labels}" -> value.
inline std::map<std::string, double> Scrape(const std::string& metrics_address) {
  std::map<std::string, double> values;
  std::istringstream text(testing::HttpGet(metrics_address, "/metrics"));
  for (std::string line; std::getline(text, line);) {
    if (!line.empty() && line[0] != '#') {
      const size_t space = line.rfind(' ');
      values[line.substr(0, space)] = std::strtod(line.c_str() + space, nullptr);
    }
  }
  return values;
}
// The sum over all labels of a family.
inline double Total(const std::map<std::string, double>& scrape, const std::string& family) {
  double sum = 0;
  for (const auto& [name, value] : scrape) {
    sum += name == family || name.rfind(family + "{", 0) == 0 ? value : 0;
  }
  return sum;
}

}  // namespace alcca::e2e
