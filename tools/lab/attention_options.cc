#include "tools/lab/attention_options.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "kernels/status_macros.h"

namespace alcca::lab {
namespace {

template <typename T>
absl::StatusOr<T> InRange(T value, T low, T high, const char* flag) {
  if (!(value >= low && value <= high)) {
    return absl::InvalidArgumentError(
        absl::StrCat(flag, ": must be in [", low, ", ", high, "], found ", value));
  }
  return value;
}

absl::StatusOr<AttentionMode> ModeOf(const std::string& name) {
  for (int i = 0; i < kAttentionModeCount; ++i) {
    if (name == AttentionModeName(static_cast<AttentionMode>(i))) {
      return static_cast<AttentionMode>(i);
    }
  }
  return absl::UnimplementedError(absl::StrCat("mode '", name, "' is not in this version"));
}

}  // namespace

void AttentionOptions::AddTo(CLI::App* app, bool with_mode) {
  const std::string group = "Attention";
  if (with_mode) {
    app->add_option("--mode", mode, "default: the model's alcca.json, else dense")
        ->check(CLI::IsMember(AttentionModeNames()))
        ->group(group);
    app->add_option("--search", search, "alcca: how neighbours are found")
        ->check(CLI::IsMember({"exact", "tree"}))
        ->group(group);
  }
  app->add_option("--theta", theta, "alcca: radius of the near gate")->group(group);
  app->add_option("--k", k, "alcca: nearest keys of a query")->group(group);
  app->add_option("--epsilon", epsilon, "alcca: added to distances")->group(group);
  app->add_option("--tree-distances", tree_distances, "tree: distances of a query at most")
      ->group(group);
  app->add_option("--tree-recent", tree_recent, "tree: of these, the newest keys")->group(group);
  app->add_option("--window", window, "window: keys that a query sees")->group(group);
  app->add_option("--sparsity", sparsity, "topk: share of the keys that is kept")->group(group);
}

absl::Status AttentionOptions::Set(std::string_view flag, std::string_view value) {
  const std::string text(value);
  const auto number = [&](std::optional<float>* out) {
    return absl::SimpleAtof(text, &out->emplace());
  };
  const auto integer = [&](std::optional<int32_t>* out) {
    return absl::SimpleAtoi(text, &out->emplace());
  };
  const bool ok = flag == "theta"            ? number(&theta)
                  : flag == "epsilon"        ? number(&epsilon)
                  : flag == "sparsity"       ? number(&sparsity)
                  : flag == "k"              ? integer(&k)
                  : flag == "window"         ? integer(&window)
                  : flag == "tree-distances" ? integer(&tree_distances)
                  : flag == "tree-recent"    ? integer(&tree_recent)
                                             : false;
  return ok ? absl::OkStatus()
            : absl::InvalidArgumentError(
                  absl::StrCat("'", std::string(flag), "=", text, "' is no attention setting"));
}

absl::StatusOr<AttentionParams> AttentionOptions::Resolve(const AlccaConfig& model) const {
  AttentionParams out;
  const std::string name = !mode.empty() ? mode : model.mode;
  if (!name.empty()) {
    ASSIGN_OR_RETURN(out.mode, ModeOf(name));
  }
  const std::string found_by = !search.empty() ? search : model.search.value_or("exact");
  out.search = found_by == "tree" ? KeySearch::kTree : KeySearch::kExact;
  ASSIGN_OR_RETURN(out.theta,
                   InRange(theta.value_or(model.theta.value_or(out.theta)), 0.0f, 1e9f, "--theta"));
  ASSIGN_OR_RETURN(out.k, InRange(k.value_or(model.k.value_or(out.k)), 1, kKeysMax, "--k"));
  ASSIGN_OR_RETURN(out.epsilon, InRange(epsilon.value_or(model.epsilon.value_or(out.epsilon)),
                                        1e-30f, 1e9f, "--epsilon"));
  ASSIGN_OR_RETURN(out.tree_distances,
                   InRange(tree_distances.value_or(model.tree_distances.value_or(11)), 1, kKeysMax,
                           "--tree-distances"));
  const int32_t recent = model.tree_recent.value_or(out.tree_recent);
  ASSIGN_OR_RETURN(out.tree_recent,
                   InRange(tree_recent.value_or(std::min(recent, out.tree_distances)), 0,
                           out.tree_distances, "--tree-recent"));
  ASSIGN_OR_RETURN(out.window, InRange(window.value_or(out.window), 1, kWindowMax, "--window"));
  const float share = sparsity.value_or(out.sparsity);
  if (!(share > 0 && share <= 1)) {
    return absl::InvalidArgumentError(absl::StrCat("--sparsity: must be in (0, 1], found ", share));
  }
  out.sparsity = share;
  return out;
}

std::vector<std::string> AttentionModeNames() {
  std::vector<std::string> names;
  names.reserve(kAttentionModeCount);
  for (int i = 0; i < kAttentionModeCount; ++i) {
    names.emplace_back(AttentionModeName(static_cast<AttentionMode>(i)));
  }
  return names;
}

absl::StatusOr<AttentionParams> ParseAttentionMode(std::string_view text,
                                                   const AttentionOptions& common,
                                                   const AlccaConfig& model) {
  AttentionOptions options = common;
  const std::vector<std::string> parts = absl::StrSplit(std::string(text), ':');
  const bool tree = parts[0] == "tree";
  if (parts[0].empty()) {
    return absl::InvalidArgumentError(absl::StrCat("'", std::string(text), "' names no mode"));
  }
  options.mode = tree ? "alcca" : parts[0];
  if (parts[0] == "alcca" || tree) {
    options.search = tree ? "tree" : "exact";
  }
  for (size_t i = 1; i < parts.size(); ++i) {
    const size_t equals = parts[i].find('=');
    if (equals == std::string::npos) {
      return absl::InvalidArgumentError(absl::StrCat("'", parts[i], "' is not FLAG=VALUE"));
    }
    RETURN_IF_ERROR(options.Set(parts[i].substr(0, equals), parts[i].substr(equals + 1)));
  }
  return options.Resolve(model);
}

std::string DescribeAttention(const AttentionParams& params) {
  std::string name = AttentionModeName(params.mode);
  switch (params.mode) {
    case AttentionMode::kAlcca: {
      const std::string formula =
          absl::StrCat(name, " k=", params.k, " theta=", params.theta, " epsilon=", params.epsilon);
      return params.search == KeySearch::kExact
                 ? formula
                 : absl::StrCat(formula, " search=tree tree-distances=", params.tree_distances,
                                " tree-recent=", params.tree_recent);
    }
    case AttentionMode::kWindow:
      return absl::StrCat(name, " window=", params.window);
    case AttentionMode::kTopK:
      return absl::StrCat(name, " sparsity=", params.sparsity);
    default:
      return name;
  }
}

}  // namespace alcca::lab
