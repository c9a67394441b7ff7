#include "tools/attention_flags.h"

#include <vector>

#include "CLI/CLI.hpp"

namespace alcca {
namespace {

constexpr char kGroup[] = "Attention";

CLI::Option* AddFlag(CLI::App* app, const std::string& flag, const std::string& name,
                     const std::string& help, AttentionSettings* settings) {
  return app
      ->add_option_function<std::string>(
          flag,
          [flag, name, settings](const std::string& text) {
            if (const absl::Status status = Set(name, text, settings); !status.ok()) {
              const std::string rule(status.message());
              throw CLI::ValidationError(flag, rule.substr(rule.find(": ") + 2));
            }
          },
          help)
      ->group(kGroup);
}

}  // namespace

void AddModeFlags(CLI::App* app, AttentionSettings* settings) {
  AddFlag(app, "--mode", "mode", "default: the server's choice, or the model's", settings)
      ->check(CLI::IsMember(AttentionModeNames()));
  AddSearchFlag(app, settings);
}

void AddSearchFlag(CLI::App* app, AttentionSettings* settings) {
  AddFlag(app, "--search", "search", "alcca: how neighbours are found", settings)
      ->check(CLI::IsMember(KeySearchNames()));
}

void AddKnobFlag(CLI::App* app, const Knob& knob, AttentionSettings* settings) {
  AddFlag(app, FlagOf(knob), knob.name, knob.help, settings)
      ->type_name(IsInteger(knob) ? "UINT" : "FLOAT");
}

void AddKnobFlags(CLI::App* app, AttentionSettings* settings) {
  for (const Knob& knob : RequestKnobs()) {
    AddKnobFlag(app, knob, settings);
  }
}

}  // namespace alcca
