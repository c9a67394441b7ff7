#include "server/config.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <map>
#include <set>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "base/files.h"
#include "base/status_macros.h"
#include "server/config_keys.h"

namespace alcca {
namespace {

// As --help shows it.
const char* TypeName(const Key& key) {
  static constexpr const char* kTypes[] = {"TEXT", "INT", "FLOAT", "BOOL"};
  return kTypes[static_cast<int>(TypeOf(key))];
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
      std::min_element(ConfigKeys().begin(), ConfigKeys().end(), [&](const Key& a, const Key& b) {
        return EditDistance(name, a.name) < EditDistance(name, b.name);
      });
  return absl::InvalidArgumentError(
      absl::StrCat(where, ": unknown key '", name, "'; did you mean '", nearest->name, "'?"));
}

absl::Status ApplyNode(const YAML::Node& node, const std::string& prefix, const std::string& name,
                       std::set<std::string>* seen, ServerConfig* config,
                       std::vector<std::string>* warnings) {
  for (const auto& entry : node) {
    const std::string key_name = prefix + entry.first.as<std::string>();
    if (!seen->insert(key_name).second) {
      return absl::InvalidArgumentError(absl::StrCat(name, ": ", key_name, ": given twice"));
    }
    const std::string inside = key_name + ".";
    if (entry.second.IsMap() &&
        std::any_of(ConfigKeys().begin(), ConfigKeys().end(),
                    [&](const Key& k) { return std::string_view(k.name).starts_with(inside); })) {
      RETURN_IF_ERROR(ApplyNode(entry.second, inside, name, seen, config, warnings));
      continue;
    }
    const auto key = std::find_if(ConfigKeys().begin(), ConfigKeys().end(),
                                  [&](const Key& k) { return key_name == k.name; });
    if (key == ConfigKeys().end()) {
      return UnknownKey(key_name, name);
    }
    if (!entry.second.IsScalar() && !entry.second.IsNull()) {
      return absl::InvalidArgumentError(
          absl::StrCat(name, ": ", key_name, ": expected a single value"));
    }
    const std::string text = entry.second.IsNull() ? "" : entry.second.as<std::string>();
    RETURN_IF_ERROR(SetKey(*key, text, name, config, warnings));
  }
  return absl::OkStatus();
}

absl::Status CheckRelations(const ServerConfig& c) {
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

absl::Status ApplyYaml(const std::string& text, const std::string& name, ServerConfig* config,
                       std::vector<std::string>* warnings) {
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
    return ApplyNode(root, "", name, &seen, config, warnings);
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
  for (const Key& key : ConfigKeys()) {
    std::string help = key.help;
    if (!key.choices.empty()) {
      absl::StrAppend(&help, " {", absl::StrJoin(key.choices, ","), "}");
    }
    if (const std::string preset = DefaultOf(key); !preset.empty()) {
      absl::StrAppend(&help, AsksModel(key) ? " [the model's, else " : " [", preset, "]");
    }
    app.add_option_function<std::string>(
           FlagOf(key), [&given, k = &key](const std::string& value) { given[k] = value; }, help)
        ->group(key.group)
        ->type_name(TypeName(key));
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
    RETURN_IF_ERROR(ApplyYaml(text, file, &result.config, &result.warnings));
  }
  for (const auto& [key, value] : given) {
    RETURN_IF_ERROR(SetKey(*key, value, "command line", &result.config, &result.warnings));
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
  for (const Key& key : ConfigKeys()) {
    const bool nested = key.name.find('.') != std::string::npos;
    if (group != key.group) {
      group = key.group;
      absl::StrAppend(&out, out.empty() ? "" : "\n", "# --- ", group, "\n");
      if (nested) {
        absl::StrAppend(
            &out, group,
            ":\n  # A key in a comment is not set: the model's alcca.json decides, else "
            "the value beside it.\n");
      }
    }
    const std::string name = nested ? key.name.substr(group.size() + 1) : key.name;
    const std::string indent = nested ? "  " : "";
    const std::optional<std::string> set = TextOf(key, config);
    std::string value = set ? *set : DefaultOf(key);
    if (TypeOf(key) == KeyType::kText) {
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
    absl::StrAppend(&out, "\n", indent, set ? "" : "# ", name, ": ", value, "\n");
  }
  return out;
}

std::vector<KeyDescription> DescribeKeys() {
  static constexpr const char* kTypes[] = {"string", "integer", "number", "boolean"};
  std::vector<KeyDescription> out;
  for (const Key& key : ConfigKeys()) {
    out.push_back({.group = key.group,
                   .name = key.name,
                   .flag = FlagOf(key),
                   .type = key.choices.empty() ? kTypes[static_cast<int>(TypeOf(key))] : "choice",
                   .default_value = DefaultOf(key),
                   .asks_model = AsksModel(key),
                   .bounds = BoundsOf(key),
                   .help = key.help});
  }
  return out;
}

}  // namespace alcca
