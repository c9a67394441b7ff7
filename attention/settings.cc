#include "attention/settings.h"

#include <algorithm>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "base/status_macros.h"

namespace alcca {
namespace {

constexpr const Knob& kTheta = KnobOf(&AttentionScalars::theta);
constexpr const Knob& kK = KnobOf(&AttentionScalars::k);
constexpr const Knob& kTreeRecent = KnobOf(&AttentionScalars::tree_recent);

std::string Underscored(std::string_view name) {
  return absl::StrReplaceAll(absl::string_view(name.data(), name.size()), {{"-", "_"}});
}

absl::Status Unknown(std::string_view name, std::string_view text,
                     const std::vector<std::string>& known) {
  return absl::InvalidArgumentError(absl::StrCat(std::string(name), ": must be one of ",
                                                 absl::StrJoin(known, ", "), ", is '",
                                                 std::string(text), "'"));
}

absl::Status NoSetting(std::string_view name) {
  return absl::InvalidArgumentError(
      absl::StrCat("'", std::string(name), "' is no attention setting"));
}

}  // namespace

absl::Status Set(const Knob& knob, double value, AttentionSettings* settings) {
  if (const std::string rule = RuleBrokenBy(knob, value); !rule.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(knob.name, ": ", rule));
  }
  (*settings)[knob] = value;
  return absl::OkStatus();
}

absl::Status Set(std::string_view name, std::string_view text, AttentionSettings* settings) {
  const std::string key = Underscored(name);
  const std::string word(text);
  if (key == "mode") {
    const std::optional<AttentionMode> mode = ModeOf(word);
    settings->mode = mode ? mode : settings->mode;
    return mode ? absl::OkStatus() : Unknown(key, word, AttentionModeNames());
  }
  if (key == "search") {
    const std::optional<KeySearch> search = SearchOf(word);
    settings->search = search ? search : settings->search;
    return search ? absl::OkStatus() : Unknown(key, word, KeySearchNames());
  }
  const Knob* knob = FindKnob(key);
  if (knob == nullptr) {
    return NoSetting(key);
  }
  double value = 0;
  int64_t whole = 0;
  if (IsInteger(*knob) ? !absl::SimpleAtoi(word, &whole) : !absl::SimpleAtod(word, &value)) {
    return absl::InvalidArgumentError(absl::StrCat(key, ": must be ",
                                                   IsInteger(*knob) ? "an integer" : "a number",
                                                   ", ", Bounds(*knob), ", is '", word, "'"));
  }
  return Set(*knob, IsInteger(*knob) ? static_cast<double>(whole) : value, settings);
}

std::optional<std::string> TextOf(std::string_view name, const AttentionSettings& settings) {
  if (name == "mode") {
    return settings.mode ? std::optional(std::string(AttentionModeName(*settings.mode)))
                         : std::nullopt;
  }
  if (name == "search") {
    return settings.search ? std::optional(std::string(TraitsOf(*settings.search).name))
                           : std::nullopt;
  }
  const Knob* knob = FindKnob(name);
  const std::optional<double> value = knob == nullptr ? std::nullopt : settings[*knob];
  return value ? std::optional(Digits(*knob, *value)) : std::nullopt;
}

absl::Status Add(std::string_view text, AttentionSettings* settings) {
  const std::vector<std::string> parts = absl::StrSplit(std::string(text), ':');
  if (const std::optional<KeySearch> search = SearchOf(parts[0])) {
    settings->mode = AttentionMode::kAlcca;
    settings->search = search;
  } else if (const std::optional<AttentionMode> mode = ModeOf(parts[0])) {
    settings->mode = mode;
  } else {
    std::vector<std::string> names = AttentionModeNames();
    names.insert(names.end(), KeySearchNames().begin(), KeySearchNames().end());
    return absl::InvalidArgumentError(
        absl::StrCat("'", parts[0], "' is no attention mode; one of ", absl::StrJoin(names, ", ")));
  }
  for (size_t i = 1; i < parts.size(); ++i) {
    const size_t equals = parts[i].find('=');
    if (equals == std::string::npos) {
      return absl::InvalidArgumentError(absl::StrCat("'", parts[i], "' is not NAME=VALUE"));
    }
    const std::string name = Underscored(parts[i].substr(0, equals));
    const Knob* knob = FindKnob(name);
    if (name == "mode" || (knob != nullptr && knob->operators_own)) {
      return NoSetting(name);
    }
    RETURN_IF_ERROR(Set(name, parts[i].substr(equals + 1), settings));
  }
  return absl::OkStatus();
}

void Override(const AttentionSettings& speaker, AttentionParams* params) {
  params->mode = speaker.mode.value_or(params->mode);
  params->search = speaker.search.value_or(params->search);
  if (speaker[kTheta]) {
    params->head_theta = nullptr;
    params->near_share = 0;
  }
  if (speaker[kK]) {
    params->head_k = nullptr;
  }
  params->head_theta = speaker.head_theta != nullptr ? speaker.head_theta : params->head_theta;
  params->head_k = speaker.head_k != nullptr ? speaker.head_k : params->head_k;
  for (const Knob& knob : kKnobs) {
    if (speaker[knob]) {
      Put(knob, *speaker[knob], params);
    }
  }
  params->tree_recent = std::min(params->tree_recent, params->tree_distances);
}

AttentionParams Resolve(std::initializer_list<const AttentionSettings*> speakers) {
  AttentionParams params;
  for (const AttentionSettings* speaker : speakers) {
    Override(*speaker, &params);
  }
  return params;
}

absl::Status CheckAsked(const AttentionSettings& asked, const AttentionParams& resolved,
                        int64_t sliding_window) {
  if (asked[kTreeRecent].value_or(0) > resolved.tree_distances) {
    return absl::InvalidArgumentError(
        absl::StrCat(kTreeRecent.name, ": must be from 0 to ", resolved.tree_distances,
                     " (tree_distances), is ", Digits(kTreeRecent, *asked[kTreeRecent])));
  }
  return CheckSlidingWindow(resolved.mode, sliding_window);
}

std::string DescribeAttention(const AttentionParams& params) {
  std::string out = AttentionModeName(params.mode);
  if (TraitsOf(params.mode).searches && params.search != AttentionScalars().search) {
    absl::StrAppend(&out, " search=", TraitsOf(params.search).name);
  }
  for (const Knob& knob : RequestKnobs()) {
    if (Applies(knob, params)) {
      absl::StrAppend(&out, " ", knob.name, "=",
                      IsPerHead(knob, params) ? "per-head" : Digits(knob, Get(knob, params)));
    }
  }
  return out;
}

}  // namespace alcca
