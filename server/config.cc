#include "server/config.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <map>
#include <set>
#include <variant>

#include "CLI/CLI.hpp"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "attention/params.h"
#include "base/files.h"
#include "base/status_macros.h"
#include "kernels/backend.h"

namespace alcca {
namespace {

using Field = std::variant<std::string ServerConfig::*, int64_t ServerConfig::*,
                           double ServerConfig::*, bool ServerConfig::*>;

struct Key {
  const char* group;
  const char* name;
  Field field;
  const char* help;
  double min = 0, max = 0;                // numbers: inclusive range
  std::vector<std::string> choices = {};  // strings: empty is any
};

using C = ServerConfig;

const std::vector<Key>& Keys() {
  constexpr double kInt = std::numeric_limits<int32_t>::max();
  static const std::vector<Key> keys = {
      {"model", "model", &C::model, "Hugging Face folder; empty: the embedded afia-5m"},
      {"model", "served_model_name", &C::served_model_name,
       "name in GetModelInfo; empty: the folder's"},
      {"model",
       "device",
       &C::device,
       "where to compute; auto: CUDA where there is a card",
       0,
       0,
       {"auto", "cpu", "cuda"}},
      {"model",
       "weight_dtype",
       &C::weight_dtype,
       "auto: bf16 (f32 for an f32 checkpoint), int8 if that does not fit in memory; fp8: CUDA "
       "from "
       "compute capability 9.0 on",
       0,
       0,
       {"auto", "f32", "bf16", "int8", "fp8"}},
      {"model", "device_memory_bytes", &C::device_memory_bytes,
       "CUDA: all that is taken of the card; 0: nine tenths of what is free", 0, 1e15},
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
       "CUDA: steps of up to so many tokens replay recorded launches (CUDA graphs); 0: none", 0,
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
       "PEM file: roots of clients, who must show a certificate; empty: any client"},
      {"network", "reflection", &C::reflection, "serve gRPC reflection"},
      {"network", "max_message_bytes", &C::max_message_bytes, "largest request", 1024, kInt},
      {"network", "max_concurrent_streams", &C::max_concurrent_streams, "calls per connection", 1,
       1 << 20},
      {"network", "max_undelivered_bytes", &C::max_undelivered_bytes,
       "of chunks waiting for a slow reader before its call is ended", 1024, kInt},
      {"network", "undelivered_timeout_seconds", &C::undelivered_timeout_seconds,
       "that a message may wait for its client before the call is reset", 1, 86400},

      {"scheduler", "max_context", &C::max_context,
       "prompt and output tokens of a sequence; 0: what model and cache allow", 0, kInt},
      {"scheduler", "max_num_seqs", &C::max_num_seqs, "sequences running at once", 1, 4096},
      {"scheduler", "max_batch_tokens", &C::max_batch_tokens, "tokens computed in one step", 1,
       65536},
      {"scheduler", "max_prefill_chunk", &C::max_prefill_chunk,
       "prompt tokens of one sequence in one step", 1, 65536},
      {"scheduler", "max_queued_requests", &C::max_queued_requests,
       "sequences waiting; one more is RESOURCE_EXHAUSTED", 1, 1 << 20},
      {"scheduler", "max_queued_tokens", &C::max_queued_tokens, "their prompt tokens", 1, 1 << 30},
      {"scheduler", "kv_cache_bytes", &C::kv_cache_bytes, "memory for keys and values", 1 << 16,
       1e15},
      {"scheduler", "page_tokens", &C::page_tokens, "tokens of a KV page", 1, 4096},

      {"requests", "default_max_tokens", &C::default_max_tokens,
       "max_tokens where a request has none; 0: the model's max_new_tokens, else 256", 0, kInt},
      {"requests", "max_n", &C::max_n, "completions of one request", 1, 1024},
      {"requests", "max_logprobs", &C::max_logprobs, "alternatives beside a token", 0, 1024},
      {"requests", "max_stop_strings", &C::max_stop_strings, "stop strings of a request", 0, 1024},
      {"requests", "max_stop_bytes", &C::max_stop_bytes, "bytes of one stop string", 1, 65536},
      {"requests", "max_logit_bias", &C::max_logit_bias, "logit_bias entries of a request", 0,
       1 << 20},

      {"attention",
       "attention.mode",
       &C::attention_mode,
       "where a request does not say; empty: the model's alcca.json, else dense",
       0,
       0,
       {"", "dense", "alcca", "multipole", "window", "topk"}},
      {"attention", "attention.theta", &C::attention_theta,
       "near gate radius; negative: the model's, else 0", -1, 1e9},
      {"attention", "attention.k", &C::attention_k, "nearest keys; 0: the model's, else 8", 0,
       2048},
      {"attention", "attention.epsilon", &C::attention_epsilon,
       "added to distances; 0: the model's, else 1e-8", 0, 1e9},
      {"attention",
       "attention.search",
       &C::attention_search,
       "how alcca finds neighbours; empty: the model's, else exact",
       0,
       0,
       {"", "exact", "tree"}},
      {"attention", "attention.tree_distances", &C::attention_tree_distances,
       "tree search: distances computed for a query; 0: the model's, else 11", 0, 2048},
      {"attention", "attention.tree_recent", &C::attention_tree_recent,
       "tree search: of these, the newest keys; negative: the model's, else 6", -1, 2048},
      {"attention", "attention.near_share", &C::attention_near_share,
       "above 0, theta of each head follows this quantile of its distances; negative: the model's, "
       "else 0",
       -1, 1},
      {"attention", "attention.recall_sample", &C::attention_recall_sample,
       "tree search: share of queries checked by exact search", 0, 1},
      {"attention", "attention.recall_bar", &C::attention_recall_bar,
       "tree search: recall below which an alert may fire (a metric, nothing else); 0: none", 0, 1},
      {"attention", "attention.error_sample", &C::attention_error_sample,
       "multipole: share of queries compared with dense's output", 0, 1},
      {"attention", "attention.window", &C::attention_window,
       "keys that window sees; 0: the model's, else 100", 0, kWindowMax},
      {"attention", "attention.sparsity", &C::attention_sparsity,
       "share of the keys that topk keeps; 0: the model's, else 0.1", 0, 1},
      {"attention", "attention.mass", &C::attention_mass,
       "mass by estimate at which multipole stops reading; negative: the model's, else 1: never",
       -1, 1},
      {"attention", "attention.max_keys", &C::attention_max_keys,
       "rows multipole reads of old keys, 0: no bound; negative: the model's, else 1024", -1,
       kWindowMax},
      {"attention", "attention.dense_below", &C::attention_dense_below,
       "contexts up to here multipole answers by dense; negative: the model's, else 8192", -1,
       kWindowMax},
      {"attention", "attention.sinks", &C::attention_sinks,
       "first keys multipole always reads; negative: the model's, else 16", -1, kAlwaysReadMax},
      {"attention", "attention.recent", &C::attention_recent,
       "newest keys multipole always reads; negative: the model's, else 320", -1, kAlwaysReadMax},
      {"attention", "attention.index_bytes_max", &C::attention_index_bytes_max,
       "clusters of one multipole sequence, beyond it is answered by dense; 0: no bound", 0, 1e15},

      {"operation", "drain_timeout_seconds", &C::drain_timeout_seconds,
       "after SIGTERM, for requests in flight", 0, 86400},
      {"operation", "watchdog_seconds", &C::watchdog_seconds,
       "without a step while work waits before liveness fails", 1, 86400},
      {"operation", "unready_after_full_seconds", &C::unready_after_full_seconds,
       "of a full queue before readiness fails, until it has room; 0: never", 0, 86400},
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
  return keys;
}

std::string FlagOf(const Key& key) {
  return absl::StrCat("--", absl::StrReplaceAll(key.name, {{"_", "-"}, {".", "-"}}));
}

// As --help shows it.
const char* TypeOf(const Key& key) {
  static constexpr const char* kTypes[] = {"TEXT", "INT", "FLOAT", "BOOL"};
  return kTypes[key.field.index()];
}

// One value from text, as the table demands.
absl::Status Set(const Key& key, const std::string& text, const std::string& where,
                 ServerConfig* config) {
  const auto bad = [&](const std::string& rule) {
    return absl::InvalidArgumentError(
        absl::StrCat(where, ": ", key.name, ": expected ", rule, ", found '", text, "'"));
  };
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

std::string Get(const Key& key, const ServerConfig& config) {
  if (auto* field = std::get_if<std::string C::*>(&key.field)) {
    return config.**field;
  }
  if (auto* field = std::get_if<bool C::*>(&key.field)) {
    return config.**field ? "true" : "false";
  }
  if (auto* field = std::get_if<int64_t C::*>(&key.field)) {
    return absl::StrCat(config.**field);
  }
  char digits[32];  // as many as read back the same
  const auto end =
      std::to_chars(digits, digits + sizeof(digits), config.**std::get_if<double C::*>(&key.field));
  return std::string(digits, end.ptr);
}

size_t EditDistance(const std::string& a, const std::string& b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) {
    row[j] = j;
  }
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t substitute = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, substitute});
    }
  }
  return row[b.size()];
}

absl::Status UnknownKey(const std::string& name, const std::string& where) {
  const auto nearest =
      std::min_element(Keys().begin(), Keys().end(), [&](const Key& a, const Key& b) {
        return EditDistance(name, a.name) < EditDistance(name, b.name);
      });
  return absl::InvalidArgumentError(
      absl::StrCat(where, ": unknown key '", name, "'; did you mean '", nearest->name, "'?"));
}

absl::Status ApplyNode(const YAML::Node& node, const std::string& prefix, const std::string& name,
                       std::set<std::string>* seen, ServerConfig* config) {
  for (const auto& entry : node) {
    const std::string key_name = prefix + entry.first.as<std::string>();
    if (!seen->insert(key_name).second) {
      return absl::InvalidArgumentError(absl::StrCat(name, ": ", key_name, ": given twice"));
    }
    const std::string inside = key_name + ".";
    if (entry.second.IsMap() && std::any_of(Keys().begin(), Keys().end(), [&](const Key& k) {
          return std::string_view(k.name).starts_with(inside);
        })) {
      RETURN_IF_ERROR(ApplyNode(entry.second, inside, name, seen, config));
      continue;
    }
    const auto key = std::find_if(Keys().begin(), Keys().end(),
                                  [&](const Key& k) { return key_name == k.name; });
    if (key == Keys().end()) {
      return UnknownKey(key_name, name);
    }
    if (!entry.second.IsScalar() && !entry.second.IsNull()) {
      return absl::InvalidArgumentError(
          absl::StrCat(name, ": ", key_name, ": expected a single value"));
    }
    const std::string text = entry.second.IsNull() ? "" : entry.second.as<std::string>();
    RETURN_IF_ERROR(Set(*key, text, name, config));
  }
  return absl::OkStatus();
}

absl::Status CheckRelations(const ServerConfig& c) {
  if (c.attention_epsilon != 0 && c.attention_epsilon < 1e-30) {
    return absl::InvalidArgumentError(
        absl::StrCat("attention.epsilon (", c.attention_epsilon, ") must be 0 or at least 1e-30"));
  }
  if (c.attention_recent == 0) {
    return absl::InvalidArgumentError("attention.recent must be at least 1, or negative");
  }
  if (c.tls_cert.empty() != c.tls_key.empty()) {
    return absl::InvalidArgumentError("tls_cert and tls_key go together: one of them is empty");
  }
  if (c.tls_cert.empty() && !c.tls_client_ca.empty()) {
    return absl::InvalidArgumentError("tls_client_ca needs tls_cert and tls_key");
  }
  if (c.max_prefill_chunk > c.max_batch_tokens) {
    return absl::InvalidArgumentError(absl::StrCat("max_prefill_chunk (", c.max_prefill_chunk,
                                                   ") is above max_batch_tokens (",
                                                   c.max_batch_tokens, ")"));
  }
  if (c.max_num_seqs > c.max_batch_tokens) {
    return absl::InvalidArgumentError(
        absl::StrCat("max_num_seqs (", c.max_num_seqs, ") is above max_batch_tokens (",
                     c.max_batch_tokens, "): every running sequence decodes a token a step"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ApplyYaml(const std::string& text, const std::string& name, ServerConfig* config) {
  try {
    const std::vector<YAML::Node> documents = YAML::LoadAll(text);
    if (documents.size() > 1) {
      return absl::InvalidArgumentError(absl::StrCat(name, ": expected one document"));
    }
    if (documents.empty() || documents[0].IsNull()) {
      return absl::OkStatus();
    }
    const YAML::Node& root = documents[0];
    if (!root.IsMap()) {
      return absl::InvalidArgumentError(absl::StrCat(name, ": expected a map of keys"));
    }
    std::set<std::string> seen;
    return ApplyNode(root, "", name, &seen, config);
  } catch (const YAML::Exception& e) {
    return absl::InvalidArgumentError(absl::StrCat(name, ": ", e.what()));
  }
}

absl::StatusOr<CommandLine> ParseCommandLine(const std::vector<std::string>& args) {
  CommandLine result;
  CLI::App app("alccad: streams completions over gRPC with attention that each request may dial",
               "alccad");
  std::string file;
  bool check = false, print = false, reference = false;
  // The last one wins, so that flags can follow those of a wrapper, a unit or an image.
  app.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  app.add_option("--config", file, "YAML file of the keys below");
  app.add_flag("--check", check, "validate configuration and model, then exit");
  app.add_flag("--print-config", print, "print what applies, as YAML, then exit");
  app.add_flag("--config-reference", reference)->group("");  // hidden: makes docs/configure.md
  app.set_version_flag("--version", "alccad " ALCCA_VERSION);
  std::map<const Key*, std::string> given;
  for (const Key& key : Keys()) {
    std::string help = key.help;
    if (!key.choices.empty()) {
      absl::StrAppend(&help, " {", absl::StrJoin(key.choices, ","), "}");
    }
    const std::string preset = Get(key, result.config);
    if (!preset.empty()) {
      absl::StrAppend(&help, " [", preset, "]");
    }
    app.add_option_function<std::string>(
           FlagOf(key), [&given, k = &key](const std::string& value) { given[k] = value; }, help)
        ->group(key.group)
        ->type_name(TypeOf(key));
  }
  try {
    std::vector<std::string> words;
    for (const std::string& word : args) {
      if (word.starts_with("--") && word.ends_with("=")) {  // CLI11 would take the next word
        words.insert(words.end(), {word.substr(0, word.size() - 1), ""});
      } else {
        words.push_back(word);
      }
    }
    std::reverse(words.begin(), words.end());  // as CLI11 wants it
    app.parse(words);
  } catch (const CLI::CallForHelp&) {
    result.action = CommandLine::Action::kExit;
    result.text = app.help();
    return result;
  } catch (const CLI::CallForVersion&) {
    result.action = CommandLine::Action::kExit;
    result.text = "alccad " ALCCA_VERSION "\n";
    return result;
  } catch (const CLI::Error& e) {
    return absl::InvalidArgumentError(absl::StrCat(e.what(), " (see alccad --help)"));
  }
  if (reference) {
    result.action = CommandLine::Action::kExit;
    result.text = ConfigReference();
    return result;
  }
  if (!file.empty()) {
    constexpr uint64_t kMaxYamlBytes = uint64_t{1} << 20;
    ASSIGN_OR_RETURN(const std::string text, ReadTextFile(file, kMaxYamlBytes, FileKind::kAny));
    RETURN_IF_ERROR(ApplyYaml(text, file, &result.config));
  }
  for (const auto& [key, value] : given) {
    RETURN_IF_ERROR(Set(*key, value, "command line", &result.config));
  }
  RETURN_IF_ERROR(CheckRelations(result.config));
  result.action = print   ? CommandLine::Action::kPrintConfig
                  : check ? CommandLine::Action::kCheck
                          : CommandLine::Action::kServe;
  return result;
}

std::string PrintConfig(const ServerConfig& config) {
  std::string out;
  std::string group;
  for (const Key& key : Keys()) {
    const bool nested = std::string(key.name).find('.') != std::string::npos;
    if (group != key.group) {
      group = key.group;
      absl::StrAppend(&out, out.empty() ? "" : "\n", "# --- ", group, "\n");
      if (nested) {
        absl::StrAppend(&out, group, ":\n");
      }
    }
    const std::string name = nested ? std::string(key.name).substr(group.size() + 1) : key.name;
    const std::string indent = nested ? "  " : "";
    std::string value = Get(key, config);
    if (std::holds_alternative<std::string C::*>(key.field)) {
      value = absl::StrCat(
          "\"",
          absl::StrReplaceAll(
              value, {{"\\", "\\\\"}, {"\"", "\\\""}, {"\n", "\\n"}, {"\r", "\\r"}, {"\t", "\\t"}}),
          "\"");
    }
    absl::StrAppend(&out, indent, "# ", key.help);
    if (!key.choices.empty()) {
      absl::StrAppend(&out, " (", absl::StrJoin(key.choices, "|"), ")");
    }
    absl::StrAppend(&out, "\n", indent, name, ": ", value, "\n");
  }
  return out;
}

std::vector<KeyDescription> DescribeKeys() {
  std::vector<KeyDescription> out;
  const ServerConfig defaults;
  for (const Key& key : Keys()) {
    const bool text = std::holds_alternative<std::string C::*>(key.field);
    const bool number = std::holds_alternative<double C::*>(key.field);
    const bool integer = std::holds_alternative<int64_t C::*>(key.field);
    KeyDescription& row = out.emplace_back();
    row.group = key.group;
    row.name = key.name;
    row.flag = FlagOf(key);
    row.type = text      ? (key.choices.empty() ? "string" : "choice")
               : number  ? "number"
               : integer ? "integer"
                         : "boolean";
    row.default_value = Get(key, defaults);
    row.bounds = text      ? absl::StrJoin(key.choices, ", ",
                                           [](std::string* to, const std::string& choice) {
                                        to->append(choice.empty() ? "\"\"" : choice);
                                      })
                 : integer ? absl::StrCat(static_cast<int64_t>(key.min), " to ",
                                          static_cast<int64_t>(key.max))
                 : number  ? absl::StrCat(key.min, " to ", key.max)
                           : "true, false";
    row.help = key.help;
  }
  return out;
}

}  // namespace alcca
