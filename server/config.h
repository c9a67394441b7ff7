#pragma once

// Everything that can be set, in one table: config_keys.cc gives each key its type, default, range,
// help and flag. A key is `name` in YAML ("attention.mode" is nested) and `--name` on the command
// line with dashes. A flag wins over the file, the file over the default.

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "attention/settings.h"

namespace alcca {

// Headers of one call, together. Fixed: docs/configure.md names the limits that have no key.
inline constexpr int kMaxMetadataBytes = 16 << 10;

struct ServerConfig {
  // Model
  std::string model;              // folder; empty: the embedded models/afia-5m
  std::string served_model_name;  // empty: the folder's name
  std::string device = "auto";
  std::string weight_dtype = "auto";
  int64_t device_memory_bytes = 0;
  bool row_independent = false;
  std::string exact_search = "fused";
  int64_t cuda_graph_rows = 16;
  std::string isa = "auto";
  int64_t threads = 0;  // 0: one per core
  // Network
  std::string listen = "127.0.0.1:50051";
  std::string metrics_listen = "127.0.0.1:9090";  // empty: no metrics endpoint
  bool metrics_vllm_names = false;
  std::string health_listen;                     // empty: none beside `listen`
  std::string tls_cert, tls_key, tls_client_ca;  // files; cert empty: plaintext
  bool reflection = true;
  int64_t max_message_bytes = 8 << 20;
  int64_t max_concurrent_streams = 1024;    // per connection
  int64_t max_undelivered_bytes = 4 << 20;  // per call, before a slow reader is ended
  double undelivered_timeout_seconds = 60;
  // Scheduler
  int64_t max_context = 0;  // 0: what model and cache allow
  int64_t max_num_seqs = 32;
  int64_t max_batch_tokens = 512;
  int64_t max_prefill_chunk = 256;
  int64_t max_queued_requests = 256;
  int64_t max_queued_tokens = 1 << 20;
  int64_t kv_cache_bytes = int64_t{1} << 30;
  int64_t page_tokens = 64;
  int64_t prefix_cache_bytes = -1;  // -1: all of the KV cache
  // Requests
  int64_t default_max_tokens = 0;
  int64_t max_n = 16;
  int64_t max_logprobs = 20;
  int64_t max_stop_strings = 16;
  int64_t max_stop_bytes = 256;   // of one stop string
  int64_t max_logit_bias = 1024;  // entries
  // Constraints
  std::string constraint_whitespace = "compact";
  std::string constraint_key_order = "schema";
  int64_t constraint_threads = 1;
  int64_t constraint_queue = 64;
  int64_t constraint_text_bytes = 1 << 20;
  int64_t constraint_states = 400'000;
  int64_t constraint_work = 4'000'000;
  int64_t constraint_learned_bytes = 32 << 20;  // of one constraint
  int64_t constraint_cache_bytes = 256 << 20;
  // Attention, where a request does not say. What says nothing here the model's alcca.json decides.
  AttentionSettings attention;
  double attention_recall_bar = 0.25;
  // Operation
  double drain_timeout_seconds = 30;
  double watchdog_seconds = 30;
  double unready_after_full_seconds = 0;  // 0: never
  std::string log_level = "info";
  std::string log_format = "auto";
};

// What the command line asked for.
struct CommandLine {
  ServerConfig config;
  enum class Action { kServe, kCheck, kPrintConfig, kExit } action = Action::kServe;
  std::string text;                   // with kExit: what to print (help, version, the reference)
  std::vector<std::string> warnings;  // for the log: values that a later version will refuse
};

// Reads flags and the file of --config. INVALID_ARGUMENT names the key, the value and the rule;
// NOT_FOUND a file.
absl::StatusOr<CommandLine> ParseCommandLine(const std::vector<std::string>& args);
// A YAML text over `config`; `name` is the file in errors and warnings.
absl::Status ApplyYaml(const std::string& text, const std::string& name, ServerConfig* config,
                       std::vector<std::string>* warnings);
// Commented YAML that ApplyYaml reads back as `config`. A key that says nothing is a comment, with
// the value that holds unless the model's alcca.json has another.
std::string PrintConfig(const ServerConfig& config);

// One row of the table, as docs/configure.md shows it.
struct KeyDescription {
  std::string group, name, flag;
  std::string type;           // string, choice, boolean, integer or number
  std::string default_value;  // as YAML text; empty for an empty string; of attention the built-in
  bool asks_model = false;    // the model's alcca.json goes before the default
  std::string bounds;         // "1 to 4096", "auto, cpu, cuda"; empty: none
  std::string help;
};
std::vector<KeyDescription> DescribeKeys();
// docs/configure.md, whole: `alccad --config-reference` prints it, a test compares
// (config_reference.cc).
std::string ConfigReference();

}  // namespace alcca
