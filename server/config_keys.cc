#include "server/config_keys.h"

#include <algorithm>
#include <charconv>
#include <limits>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "attention/settings.h"
#include "kernels/make_backend.h"
#include "kernels/weight_format.h"

namespace alcca {
namespace {

using C = ServerConfig;

constexpr char kAttention[] = "attention.";

std::vector<Key> AttentionKeys() {
  std::vector<Key> keys = {{"attention", "attention.mode", AttentionField(),
                            "where a request does not say", 0, 0, AttentionModeNames()},
                           {"attention", "attention.search", AttentionField(),
                            "how alcca finds neighbours", 0, 0, KeySearchNames()}};
  for (const Knob& knob : kKnobs) {
    keys.push_back({"attention", absl::StrCat(kAttention, knob.name), AttentionField(), knob.help});
  }
  keys.push_back({"attention", "attention.recall_bar", &C::attention_recall_bar,
                  "tree search: recall below which an alert may fire (a metric, nothing else); 0: "
                  "none",
                  0, 1});
  return keys;
}

// Of weight_dtype; with what a format needs of the device.
std::string WeightHelp() {
  std::string text =
      "auto: as stored (f32, else bf16); bf16, then int8, if that does not fit in memory";
  for (const WeightFormat& format : kWeightFormats) {
    if (format.needs != nullptr) {
      absl::StrAppend(&text, "; ", format.name, ": ", format.needs);
    }
  }
  return text;
}

std::vector<Key> MakeKeys() {
  constexpr double kInt = std::numeric_limits<int32_t>::max();
  std::vector<Key> keys = {
      {"model", "model", &C::model, "Hugging Face folder, or a GGUF; empty: the embedded afia-5m"},
      {"model", "served_model_name", &C::served_model_name,
       "name in GetModelInfo; empty: the folder's"},
      {"model", "chat_template", &C::chat_template,
       "how Chat writes a conversation; auto: the model's template, or the built-in format of "
       "Mistral's models; builtin; or a Jinja file"},
      {"model",
       "device",
       &C::device,
       "device that computes; auto: CUDA if there is a card",
       0,
       0,
       {"auto", "cpu", "cuda"}},
      {"model", "weight_dtype", &C::weight_dtype, WeightHelp(), 0, 0, WeightFormatNames({"auto"})},
      {"model", "device_memory_bytes", &C::device_memory_bytes,
       "CUDA: memory taken from the card; 0: nine tenths of the free memory", 0, 1e15},
      {"model", "row_independent", &C::row_independent,
       "CUDA: bf16 results that depend on no other row of a step; slower prompts"},
      {"model",
       "exact_search",
       &C::exact_search,
       "CUDA: who finds the nearest keys of alcca's exact search: our kernels, or FAISS; the same "
       "keys",
       0,
       0,
       {"fused", "faiss"}},
      {"model", "cuda_graph_rows", &C::cuda_graph_rows,
       "CUDA: steps of at most this many tokens replay recorded launches (CUDA graphs); 0: none", 0,
       kGraphRowsMax},
      {"model",
       "isa",
       &C::isa,
       "CPU instruction set",
       0,
       0,
       {"auto", "avx512", "avx2", "portable"}},
      {"model", "threads", &C::threads, "CPU threads; 0: one per core", 0, 1024},

      {"network", "listen", &C::listen, "host:port of gRPC; port 0 picks a free one"},
      {"network", "metrics_listen", &C::metrics_listen,
       "host:port of Prometheus metrics; empty: none"},
      {"network", "metrics_vllm_names", &C::metrics_vllm_names,
       "serve vLLM's metric names beside ours, for its dashboards and autoscalers"},
      {"network", "health_listen", &C::health_listen,
       "host:port of health alone, plaintext: Kubernetes' probes speak no TLS; empty: none"},
      {"network", "tls_cert", &C::tls_cert,
       "PEM file: certificate, then intermediates; read again at each handshake; empty: plaintext"},
      {"network", "tls_key", &C::tls_key, "PEM file: its private key"},
      {"network", "tls_client_ca", &C::tls_client_ca,
       "PEM file: roots that sign clients; clients must then show a certificate; empty: any "
       "client"},
      {"network", "reflection", &C::reflection, "serve gRPC reflection"},
      {"network", "max_message_bytes", &C::max_message_bytes, "largest request", 1024, kInt},
      {"network", "max_concurrent_streams", &C::max_concurrent_streams, "calls per connection", 1,
       1 << 20},
      {"network", "max_undelivered_bytes", &C::max_undelivered_bytes,
       "bytes of chunks that may wait for a slow reader; its call ends beyond them", 1024, kInt},
      {"network", "undelivered_timeout_seconds", &C::undelivered_timeout_seconds,
       "time that a message may wait for its client; the call is reset after it", 1, 86400},

      {"scheduler", "max_context", &C::max_context,
       "prompt and output tokens of a sequence; 0: what model and cache allow", 0, kInt},
      {"scheduler", "max_num_seqs", &C::max_num_seqs, "sequences running at once", 1, 4096},
      {"scheduler", "max_batch_tokens", &C::max_batch_tokens, "tokens computed in one step", 1,
       65536},
      {"scheduler", "max_prefill_chunk", &C::max_prefill_chunk,
       "prompt tokens of one sequence in one step", 1, 65536},
      {"scheduler", "max_queued_requests", &C::max_queued_requests,
       "sequences waiting; one more is RESOURCE_EXHAUSTED", 1, 1 << 20},
      {"scheduler", "max_queued_tokens", &C::max_queued_tokens,
       "prompt tokens of waiting sequences; more are RESOURCE_EXHAUSTED", 1, 1 << 30},
      {"scheduler", "kv_cache_bytes", &C::kv_cache_bytes, "memory for keys and values", 1 << 16,
       1e15},
      {"scheduler", "page_tokens", &C::page_tokens, "tokens of a KV page", 1, 4096},
      {"scheduler", "prefix_cache_bytes", &C::prefix_cache_bytes,
       "part of the KV cache that may keep what ended sequences computed, for prompts that begin "
       "alike; -1: what is not in use; 0: no prefix cache",
       -1, 1e15},

      {"requests", "default_max_tokens", &C::default_max_tokens,
       "max_tokens of a request that sets none; 0: the model's max_new_tokens, else 256", 0, kInt},
      {"requests", "max_n", &C::max_n, "completions of one request", 1, 1024},
      {"requests", "max_logprobs", &C::max_logprobs, "alternatives beside a token", 0, 1024},
      {"requests", "max_stop_strings", &C::max_stop_strings, "stop strings of a request", 0, 1024},
      {"requests", "max_stop_bytes", &C::max_stop_bytes, "bytes of one stop string", 1, 65536},
      {"requests", "max_logit_bias", &C::max_logit_bias, "logit_bias entries of a request", 0,
       1 << 20},

      {"constraints",
       "constraint_whitespace",
       &C::constraint_whitespace,
       "between the parts of JSON: none, or what JSON allows",
       0,
       0,
       {"compact", "flexible"}},
      {"constraints",
       "constraint_key_order",
       &C::constraint_key_order,
       "of an object's members: that of the schema's properties, or any",
       0,
       0,
       {"schema", "any"}},
      {"constraints", "constraint_threads", &C::constraint_threads,
       "threads that compile constraints", 1, 64},
      {"constraints", "constraint_queue", &C::constraint_queue,
       "constraints waiting to be compiled; one more is RESOURCE_EXHAUSTED", 1, 65536},
      {"constraints", "constraint_text_bytes", &C::constraint_text_bytes,
       "bytes of a request's constraint", 1, 1 << 26},
      {"constraints", "constraint_states", &C::constraint_states,
       "states of a compiled constraint: bounds the time and memory of a compilation", 1000,
       10'000'000},
      {"constraints", "constraint_work", &C::constraint_work,
       "places in a constraint looked at for one token before its request is ended", 1000,
       1'000'000'000},
      {"constraints", "constraint_learned_bytes", &C::constraint_learned_bytes,
       "memory of one constraint for what it has learned while it was used", 1 << 16, 1 << 30},
      {"constraints", "constraint_cache_bytes", &C::constraint_cache_bytes,
       "memory of compiled constraints that are kept for later requests", 0, 1e15},

      {"operation", "drain_timeout_seconds", &C::drain_timeout_seconds,
       "time after SIGTERM for requests in flight to finish", 0, 86400},
      {"operation", "watchdog_seconds", &C::watchdog_seconds,
       "time without a step, while work waits, after which liveness fails", 1, 86400},
      {"operation", "unready_after_full_seconds", &C::unready_after_full_seconds,
       "time of a full queue after which readiness fails, until there is room; 0: never", 0, 86400},
      {"operation",
       "log_level",
       &C::log_level,
       "least severe line logged",
       0,
       0,
       {"debug", "info", "warn", "error"}},
      {"operation",
       "log_format",
       &C::log_format,
       "auto: text on a terminal, else JSON",
       0,
       0,
       {"auto", "text", "json"}},
  };
  const std::vector<Key> attention = AttentionKeys();
  const auto operation = std::find_if(keys.begin(), keys.end(),
                                      [](const Key& key) { return key.group == "operation"; });
  keys.insert(operation, attention.begin(), attention.end());
  return keys;
}

// The name after the dot.
std::string AttentionName(const Key& key) {
  return key.name.substr(sizeof(kAttention) - 1);
}

// Null for a key that is no knob.
const Knob* KnobFor(const Key& key) {
  return std::holds_alternative<AttentionField>(key.field) ? FindKnob(AttentionName(key)) : nullptr;
}

std::string Digits(double value) {
  char digits[32];  // as many as read back the same
  return std::string(digits, std::to_chars(digits, digits + sizeof(digits), value).ptr);
}

// Whether the text said nothing until version 0.1.
bool WasSilence(const Knob* knob, const std::string& text) {
  if (knob == nullptr) {  // mode, search
    return text.empty();
  }
  double value = 0;
  if (!absl::SimpleAtod(text, &value)) {
    return false;
  }
  return (knob->old_silence == OldSilence::kZero && value == 0) ||
         (knob->old_silence == OldSilence::kNegative && value >= -1 && value < 0);
}

absl::Status SetAttentionKey(const Key& key, const std::string& text, const std::string& where,
                             AttentionSettings* settings, std::vector<std::string>* warnings) {
  const std::string name = AttentionName(key);
  const Knob* knob = FindKnob(name);
  if (WasSilence(knob, text)) {
    if (knob != nullptr) {
      (*settings)[*knob].reset();
    } else if (name == "mode") {
      settings->mode.reset();
    } else {
      settings->search.reset();
    }
    warnings->push_back(absl::StrCat(where, ": ", key.name, ": '", text,
                                     "' says nothing, and the next version will refuse it; leave "
                                     "the key out"));
    return absl::OkStatus();
  }
  const absl::Status status = Set(name, text, settings);
  return status.ok() ? status
                     : absl::InvalidArgumentError(
                           absl::StrCat(where, ": ", kAttention, std::string(status.message())));
}

}  // namespace

const std::vector<Key>& ConfigKeys() {
  static const auto& keys = *new std::vector<Key>(MakeKeys());
  return keys;
}

KeyType TypeOf(const Key& key) {
  if (const Knob* knob = KnobFor(key)) {
    return IsInteger(*knob) ? KeyType::kInteger : KeyType::kNumber;
  }
  return std::holds_alternative<int64_t C::*>(key.field)  ? KeyType::kInteger
         : std::holds_alternative<double C::*>(key.field) ? KeyType::kNumber
         : std::holds_alternative<bool C::*>(key.field)   ? KeyType::kBoolean
                                                          : KeyType::kText;
}

std::string FlagOf(const Key& key) {
  return absl::StrCat("--", absl::StrReplaceAll(key.name, {{"_", "-"}, {".", "-"}}));
}

absl::Status SetKey(const Key& key, const std::string& text, const std::string& where,
                    ServerConfig* config, std::vector<std::string>* warnings) {
  const auto bad = [&](const std::string& rule) {
    return absl::InvalidArgumentError(
        absl::StrCat(where, ": ", key.name, ": expected ", rule, ", found '", text, "'"));
  };
  if (std::holds_alternative<AttentionField>(key.field)) {
    return SetAttentionKey(key, text, where, &config->attention, warnings);
  }
  if (auto* field = std::get_if<std::string C::*>(&key.field)) {
    if (!key.choices.empty() &&
        std::find(key.choices.begin(), key.choices.end(), text) == key.choices.end()) {
      return bad(absl::StrCat("one of ", absl::StrJoin(key.choices, " ")));
    }
    config->** field = text;
  } else if (auto* field = std::get_if<bool C::*>(&key.field)) {
    if (text != "true" && text != "false") {
      return bad("true or false");
    }
    config->** field = text == "true";
  } else if (auto* field = std::get_if<int64_t C::*>(&key.field)) {
    int64_t value = 0;
    if (!absl::SimpleAtoi(text, &value) || static_cast<double>(value) < key.min ||
        static_cast<double>(value) > key.max) {
      return bad(absl::StrCat("an integer in [", static_cast<int64_t>(key.min), ", ",
                              static_cast<int64_t>(key.max), "]"));
    }
    config->** field = value;
  } else {
    double value = 0;
    if (!absl::SimpleAtod(text, &value) || !(value >= key.min && value <= key.max)) {
      return bad(absl::StrCat("a number in [", key.min, ", ", key.max, "]"));
    }
    config->**std::get_if<double C::*>(&key.field) = value;
  }
  return absl::OkStatus();
}

std::optional<std::string> TextOf(const Key& key, const ServerConfig& config) {
  if (std::holds_alternative<AttentionField>(key.field)) {
    return TextOf(AttentionName(key), config.attention);
  }
  if (auto* field = std::get_if<std::string C::*>(&key.field)) {
    return config.**field;
  }
  if (auto* field = std::get_if<bool C::*>(&key.field)) {
    return config.**field ? "true" : "false";
  }
  if (auto* field = std::get_if<int64_t C::*>(&key.field)) {
    return absl::StrCat(config.**field);
  }
  return Digits(config.**std::get_if<double C::*>(&key.field));
}

bool AsksModel(const Key& key) {
  const Knob* knob = KnobFor(key);
  return std::holds_alternative<AttentionField>(key.field) &&
         (knob == nullptr || !knob->operators_own);
}

std::string DefaultOf(const Key& key) {
  if (const Knob* knob = KnobFor(key)) {
    return Digits(*knob, Default(*knob));
  }
  if (std::holds_alternative<AttentionField>(key.field)) {
    const AttentionScalars built_in;
    return key.name == absl::StrCat(kAttention, "mode") ? AttentionModeName(built_in.mode)
                                                        : TraitsOf(built_in.search).name;
  }
  return *TextOf(key, ServerConfig());
}

std::string BoundsOf(const Key& key) {
  if (const Knob* knob = KnobFor(key)) {
    return Bounds(*knob);
  }
  switch (TypeOf(key)) {
    case KeyType::kText:
      return absl::StrJoin(key.choices, ", ");
    case KeyType::kInteger:
      return absl::StrCat(static_cast<int64_t>(key.min), " to ", static_cast<int64_t>(key.max));
    case KeyType::kNumber:
      return absl::StrCat(key.min, " to ", key.max);
    case KeyType::kBoolean:
      return "true, false";
  }
  return "";
}

}  // namespace alcca
