#include "tools/cli/options.h"

#include <google/protobuf/descriptor.h>
#include <grpcpp/create_channel.h>

#include <chrono>
#include <cstdio>
#include <iostream>
#include <iterator>

#include "CLI/CLI.hpp"
#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/files.h"
#include "tools/attention_flags.h"

namespace alcca::cli {
namespace {

const char* CodeName(grpc::StatusCode code) {
  static constexpr const char* kNames[] = {"OK",
                                           "CANCELLED",
                                           "UNKNOWN",
                                           "INVALID_ARGUMENT",
                                           "DEADLINE_EXCEEDED",
                                           "NOT_FOUND",
                                           "ALREADY_EXISTS",
                                           "PERMISSION_DENIED",
                                           "RESOURCE_EXHAUSTED",
                                           "FAILED_PRECONDITION",
                                           "ABORTED",
                                           "OUT_OF_RANGE",
                                           "UNIMPLEMENTED",
                                           "INTERNAL",
                                           "UNAVAILABLE",
                                           "DATA_LOSS",
                                           "UNAUTHENTICATED"};
  return code >= 0 && code <= 16 ? kNames[code] : "UNKNOWN";
}

// Empty if it cannot be read: the flag has checked that it is there.
std::string TextOf(const std::string& path) {
  constexpr uint64_t kMaxBytes = uint64_t{1} << 26;
  return ReadTextFile(path, kMaxBytes, FileKind::kAny).value_or("");
}

std::string CheckLogitBias(const std::string& text) {
  const size_t equals = text.find('=');
  int32_t id = 0;
  float bias = 0;
  if (equals == std::string::npos || !absl::SimpleAtoi(text.substr(0, equals), &id) ||
      !absl::SimpleAtof(text.substr(equals + 1), &bias)) {
    return "'" + text + "' is not ID=BIAS";
  }
  return "";
}

}  // namespace

void ConnectionOptions::AddTo(CLI::App* app) {
  app->add_option("--target", target, "host:port of alccad")->capture_default_str();
  app->add_option("--timeout", timeout_seconds, "seconds a call may take; 0: no limit")
      ->check(CLI::NonNegativeNumber);
  const std::string group = "TLS";
  CLI::Option* ca =
      app->add_option("--tls-ca", tls_ca, "PEM file: roots of the server; turns TLS on")
          ->check(CLI::ExistingFile)
          ->group(group);
  CLI::Option* cert = app->add_option("--tls-cert", tls_cert, "PEM file: our certificate (mTLS)")
                          ->check(CLI::ExistingFile)
                          ->needs(ca)
                          ->group(group);
  CLI::Option* key = app->add_option("--tls-key", tls_key, "PEM file: its private key")
                         ->check(CLI::ExistingFile)
                         ->needs(cert)
                         ->group(group);
  cert->needs(key);
  app->add_option("--tls-server-name", tls_server_name,
                  "name in the server's certificate, where it is not the target's host")
      ->needs(ca)
      ->group(group);
}

std::shared_ptr<grpc::Channel> ConnectionOptions::Channel() const {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(-1);
  if (tls_ca.empty()) {
    return grpc::CreateCustomChannel(target, grpc::InsecureChannelCredentials(), arguments);
  }
  if (!tls_server_name.empty()) {
    arguments.SetSslTargetNameOverride(tls_server_name);
  }
  const grpc::SslCredentialsOptions tls = {.pem_root_certs = TextOf(tls_ca),
                                           .pem_private_key = TextOf(tls_key),
                                           .pem_cert_chain = TextOf(tls_cert)};
  return grpc::CreateCustomChannel(target, grpc::SslCredentials(tls), arguments);
}

std::unique_ptr<grpc::ClientContext> ConnectionOptions::Context() const {
  auto context = std::make_unique<grpc::ClientContext>();
  if (timeout_seconds > 0) {
    context->set_deadline(std::chrono::system_clock::now() +
                          std::chrono::microseconds(int64_t(timeout_seconds * 1e6)));
  }
  return context;
}

void SamplingOptions::AddTo(CLI::App* app) {
  const std::string group = "Sampling";
  app->add_option("--max-tokens", max_tokens, "tokens to generate at most")->group(group);
  app->add_option("--min-tokens", min_tokens, "tokens to generate at least")->group(group);
  app->add_option("--temperature", temperature, "0 is greedy")->group(group);
  app->add_option("--top-p", top_p, "nucleus")->group(group);
  app->add_option("--top-k", top_k, "most likely tokens kept; 0: all")->group(group);
  app->add_option("--min-p", min_p, "share of the best token's probability")->group(group);
  app->add_option("--repetition-penalty", repetition_penalty)->group(group);
  app->add_option("--presence-penalty", presence_penalty)->group(group);
  app->add_option("--frequency-penalty", frequency_penalty)->group(group);
  app->add_option("--seed", seed, "makes sampling repeatable")->group(group);
  app->add_option("--stop", stop, "ends before this text; may be given again")
      ->allow_extra_args(false)
      ->group(group);
  app->add_option("--stop-token-id", stop_token_ids, "may be given again")
      ->allow_extra_args(false)
      ->group(group);
  app->add_option("--logit-bias", logit_bias, "ID=BIAS; may be given again")
      ->allow_extra_args(false)
      ->check(CheckLogitBias)
      ->group(group);
  app->add_option("--logprobs", logprobs, "alternatives beside each token (with --json)")
      ->group(group);
  app->add_option("-n", n, "completions")->check(CLI::Range(1u, 1024u))->group(group);
  app->add_flag("--ignore-eos", ignore_eos, "go on past the model's end token")->group(group);
  CLI::App* constraint = app->add_option_group("Constraint", "what the answer must be");
  constraint->add_option("--json-schema", json_schema_file, "file of a JSON schema")
      ->check(CLI::ExistingFile);
  constraint->add_flag("--json-object", json_object, "any JSON object");
  constraint->add_option("--regex", regex, "expression that the whole answer matches");
  constraint->add_option("--grammar", grammar_file, "file of a grammar, GBNF or Lark")
      ->check(CLI::ExistingFile);
  constraint->add_option("--choice", choices, "one of these texts; to be given again")
      ->allow_extra_args(false);
  constraint->add_option("--structural-tag", structural_tag_file, "file of a structural tag")
      ->check(CLI::ExistingFile);
  constraint->require_option(0, 1);
}

void SamplingOptions::SetConstraint(v1::SamplingParams* out) const {
  if (!json_schema_file.empty()) {
    out->set_json_schema(TextOf(json_schema_file));
  } else if (json_object) {
    out->set_json_object(true);
  } else if (!regex.empty()) {
    out->set_regex(regex);
  } else if (!grammar_file.empty()) {
    out->set_grammar(TextOf(grammar_file));
  } else if (!structural_tag_file.empty()) {
    out->set_structural_tag(TextOf(structural_tag_file));
  } else if (!choices.empty()) {
    out->mutable_choice()->mutable_choices()->Assign(choices.begin(), choices.end());
  }
}

v1::SamplingParams SamplingOptions::Params() const {
  v1::SamplingParams out;
  if (temperature) {
    out.set_temperature(*temperature);
  }
  if (top_p) {
    out.set_top_p(*top_p);
  }
  if (min_p) {
    out.set_min_p(*min_p);
  }
  if (repetition_penalty) {
    out.set_repetition_penalty(*repetition_penalty);
  }
  if (presence_penalty) {
    out.set_presence_penalty(*presence_penalty);
  }
  if (frequency_penalty) {
    out.set_frequency_penalty(*frequency_penalty);
  }
  if (top_k) {
    out.set_top_k(*top_k);
  }
  if (max_tokens) {
    out.set_max_tokens(*max_tokens);
  }
  if (min_tokens) {
    out.set_min_tokens(*min_tokens);
  }
  if (n) {
    out.set_n(*n);
  }
  if (seed) {
    out.set_seed(*seed);
  }
  if (logprobs) {
    out.set_logprobs(*logprobs);
  }
  if (ignore_eos) {
    out.set_ignore_eos(true);
  }
  for (const std::string& text : stop) {
    out.add_stop(text);
  }
  out.mutable_stop_token_ids()->Assign(stop_token_ids.begin(), stop_token_ids.end());
  for (const std::string& text : logit_bias) {
    const size_t equals = text.find('=');
    int32_t id = 0;
    float bias = 0;
    (void)absl::SimpleAtoi(text.substr(0, equals), &id);
    (void)absl::SimpleAtof(text.substr(equals + 1), &bias);
    (*out.mutable_logit_bias())[id] = bias;
  }
  SetConstraint(&out);
  return out;
}

std::string ModeName(v1::AttentionMode mode) {
  return absl::AsciiStrToLower(v1::AttentionMode_Name(mode).substr(15));  // ATTENTION_MODE_
}

void PrefixCacheOptions::AddTo(CLI::App* app) {
  app->add_option("--cache-salt", salt, "share what is computed with requests of this salt alone");
  app->add_flag("--bypass-prefix-cache", bypass,
                "compute the whole prompt, and leave nothing to share");
}

void AttentionOptions::AddTo(CLI::App* app) {
  AddModeFlags(app, &settings);
  AddKnobFlags(app, &settings);
}

v1::AttentionParams AttentionOptions::Params() const {
  v1::AttentionParams out;
  SetAttention(settings, &out);
  return out;
}

void SetAttention(const AttentionSettings& from, v1::AttentionParams* to) {
  if (from.mode) {
    to->set_mode(static_cast<v1::AttentionMode>(TraitsOf(*from.mode).wire));
  }
  if (from.search) {
    to->set_search(static_cast<v1::AttentionSearch>(TraitsOf(*from.search).wire));
  }
  const google::protobuf::Reflection& fields = *to->GetReflection();
  for (const Knob& knob : RequestKnobs()) {
    const auto* field = v1::AttentionParams::descriptor()->FindFieldByName(knob.name);
    if (from[knob] && IsInteger(knob)) {
      fields.SetUInt32(to, field, static_cast<uint32_t>(*from[knob]));
    } else if (from[knob]) {
      fields.SetFloat(to, field, static_cast<float>(*from[knob]));
    }
  }
}

std::string TextOrStdin(const std::string& argument) {
  if (argument != "-") {
    return argument;
  }
  return {std::istreambuf_iterator<char>(std::cin), std::istreambuf_iterator<char>()};
}

int Report(const grpc::Status& status) {
  if (!status.ok()) {
    std::fflush(stdout);
    std::fprintf(stderr, "alcca: %s: %s\n", CodeName(status.error_code()),
                 status.error_message().c_str());
  }
  return status.error_code();
}

}  // namespace alcca::cli
