#pragma once

// What the commands share on the command line: where the server is, sampling, attention.

#include <grpcpp/channel.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "alcca/v1/inference.grpc.pb.h"
#include "attention/settings.h"

namespace CLI {
class App;
}

namespace alcca::cli {

struct ConnectionOptions {
  std::string target = "127.0.0.1:50051";
  double timeout_seconds = 0;     // of one call; 0: none
  std::string tls_ca;             // PEM file of roots; empty: plaintext
  std::string tls_cert, tls_key;  // PEM files that show who we are
  std::string tls_server_name;    // expected in the certificate; empty: the target's host

  void AddTo(CLI::App* app);
  // Reads the PEM files anew.
  std::shared_ptr<grpc::Channel> Channel() const;
  std::unique_ptr<v1::Inference::Stub> Stub() const { return v1::Inference::NewStub(Channel()); }
  std::unique_ptr<grpc::ClientContext> Context() const;  // with the deadline set
};

// Only flags that were given are sent: the server's and the model's defaults stay theirs.
struct SamplingOptions {
  std::optional<float> temperature, top_p, min_p;
  std::optional<float> repetition_penalty, presence_penalty, frequency_penalty;
  std::optional<uint32_t> top_k, max_tokens, min_tokens, n;
  std::optional<int32_t> seed, logprobs;
  std::vector<std::string> stop;
  std::vector<uint32_t> stop_token_ids;
  std::vector<std::string> logit_bias;  // "id=bias"
  bool ignore_eos = false;
  // What the answer must be; one of them at most.
  std::string json_schema_file, regex, grammar_file, structural_tag_file;
  std::vector<std::string> choices;
  bool json_object = false;

  void AddTo(CLI::App* app);
  v1::SamplingParams Params() const;

 private:
  void SetConstraint(v1::SamplingParams* out) const;
};

struct PrefixCacheOptions {
  std::string salt;
  bool bypass = false;

  void AddTo(CLI::App* app);
  template <typename Message>  // GenerateRequest or ChatRequest
  void Fill(Message* message) const {
    message->set_cache_salt(salt);
    message->set_bypass_prefix_cache(bypass);
  }
};

struct AttentionOptions {
  AttentionSettings settings;

  void AddTo(CLI::App* app);
  v1::AttentionParams Params() const;
};

// Writes what the settings say over what `to` said before.
void SetAttention(const AttentionSettings& from, v1::AttentionParams* to);
// "alcca", "dense", ...; "unspecified" for the value that says nothing.
std::string ModeName(v1::AttentionMode mode);

// Reads all of stdin for "-", else returns the argument.
std::string TextOrStdin(const std::string& argument);

// Prints the status on stderr, with the field violations of its details, and returns the process's
// exit code: the gRPC code (0 is OK).
int Report(const grpc::Status& status);

}  // namespace alcca::cli
