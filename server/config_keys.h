#pragma once

// The one table of what can be set, which flags, YAML, --help, --print-config and docs/configure.md
// walk. The rows of attention come from the vocabulary (attention/knobs.h).

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "server/config.h"

namespace alcca {

// A value of ServerConfig::attention, named by the key after its dot.
struct AttentionField {};

struct Key {
  std::string group;
  std::string name;
  std::variant<std::string ServerConfig::*, int64_t ServerConfig::*, double ServerConfig::*,
               bool ServerConfig::*, AttentionField>
      field;
  std::string help;
  double min = 0, max = 0;                // numbers but the knobs of attention: inclusive range
  std::vector<std::string> choices = {};  // strings: empty is any
};
const std::vector<Key>& ConfigKeys();

enum class KeyType : uint8_t { kText, kInteger, kNumber, kBoolean };
KeyType TypeOf(const Key& key);
std::string FlagOf(const Key& key);

// One value from text, as the table demands. `where` is the file or "command line" in errors and in
// `warnings`, which tell of values that a later version will refuse.
absl::Status SetKey(const Key& key, const std::string& text, const std::string& where,
                    ServerConfig* config, std::vector<std::string>* warnings);
// The text that SetKey reads back; nullopt for a key that says nothing.
std::optional<std::string> TextOf(const Key& key, const ServerConfig& config);
// Whether the model's alcca.json decides about a key that says nothing.
bool AsksModel(const Key& key);
// What holds if nobody sets the key, nor the model's alcca.json.
std::string DefaultOf(const Key& key);
// "1 to 4096", "auto, cpu, cuda"; empty: none.
std::string BoundsOf(const Key& key);

}  // namespace alcca
