#include "tools/lab/attention_options.h"

#include <algorithm>
#include <cmath>

#include "CLI/CLI.hpp"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/status_macros.h"

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
  app->add_option("--near-share", near_share, "alcca: share of queries that theta lets in")
      ->group(group);
  app->add_option("--k", k, "alcca: nearest keys of a query")->group(group);
  app->add_option("--epsilon", epsilon, "alcca: added to distances")->group(group);
  app->add_option("--tree-distances", tree_distances, "tree: distances of a query at most")
      ->group(group);
  app->add_option("--tree-recent", tree_recent, "tree: of these, the newest keys")->group(group);
  app->add_option("--window", window, "window: keys that a query sees")->group(group);
  app->add_option("--sparsity", sparsity, "topk: share of the keys that is kept")->group(group);
  app->add_option("--max-keys", max_keys, "multipole: rows read of old keys; 0: no bound")
      ->group(group);
  app->add_option("--mass", mass, "multipole: mass by estimate that ends reading; 1: never")
      ->group(group);
  app->add_option("--dense-below", dense_below, "multipole: contexts answered by dense")
      ->group(group);
  app->add_option("--sinks", sinks, "multipole: first keys, always read")->group(group);
  app->add_option("--recent", recent, "multipole: newest keys, always read")->group(group);
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
                  : flag == "near-share"     ? number(&near_share)
                  : flag == "mass"           ? number(&mass)
                  : flag == "max-keys"       ? integer(&max_keys)
                  : flag == "dense-below"    ? integer(&dense_below)
                  : flag == "sinks"          ? integer(&sinks)
                  : flag == "recent"         ? integer(&recent)
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
  AttentionParams out = ModelAttention(model);
  if (!mode.empty()) {
    ASSIGN_OR_RETURN(out.mode, ModeOf(mode));
  }
  if (!search.empty()) {
    out.search = search == "tree" ? KeySearch::kTree : KeySearch::kExact;
  }
  absl::Status status;
  const auto set = [&status](const auto& given, auto low, auto high, const char* flag,
                             auto* field) {
    if (status.ok() && given) {
      *field = *given;
      status = InRange<std::remove_pointer_t<decltype(field)>>(*given, low, high, flag).status();
    }
  };
  set(theta, 0.0f, 1e9f, "--theta", &out.theta);
  if (theta) {  // for all heads
    out.head_theta = nullptr;
    out.near_share = 0;
  }
  set(near_share, 0.0f, 1.0f, "--near-share", &out.near_share);
  set(k, 1, kKeysMax, "--k", &out.k);
  if (k) {
    out.head_k = nullptr;
  }
  set(epsilon, 1e-30f, 1e9f, "--epsilon", &out.epsilon);
  set(tree_distances, 1, kKeysMax, "--tree-distances", &out.tree_distances);
  out.tree_recent = std::min(out.tree_recent, out.tree_distances);
  set(tree_recent, 0, out.tree_distances, "--tree-recent", &out.tree_recent);
  set(window, 1, kWindowMax, "--window", &out.window);
  set(mass, 0.0f, 1.0f, "--mass", &out.mass);
  set(max_keys, 0, kWindowMax, "--max-keys", &out.max_keys);
  set(dense_below, 0, kWindowMax, "--dense-below", &out.dense_below);
  set(sinks, 0, kAlwaysReadMax, "--sinks", &out.sinks);
  set(recent, 1, kAlwaysReadMax, "--recent", &out.recent);
  RETURN_IF_ERROR(status);
  const float share = sparsity.value_or(out.sparsity);
  if (!(share > 0 && share <= 1)) {
    return absl::InvalidArgumentError(absl::StrCat("--sparsity: must be in (0, 1], found ", share));
  }
  out.sparsity = share;
  return out;
}

AttentionParams SliceHeadParams(const AttentionParams& params, int32_t layers, int32_t heads,
                                int32_t first, int32_t count) {
  AttentionParams out = params;
  const auto slice = [&](const auto& table) {
    using Table = std::decay_t<decltype(*table)>;
    Table columns;
    for (int32_t layer = 0; table != nullptr && layer < layers; ++layer) {
      const auto from = table->begin() + layer * heads + first;
      columns.insert(columns.end(), from, from + count);
    }
    return table == nullptr ? nullptr : std::make_shared<const Table>(std::move(columns));
  };
  out.head_theta = slice(params.head_theta);
  out.head_k = slice(params.head_k);
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
      const std::string k = params.head_k != nullptr ? "per-head" : absl::StrCat(params.k);
      const std::string gate =
          params.near_share > 0
              ? absl::StrCat("near-share=", params.near_share)
              : absl::StrCat("theta=", params.head_theta != nullptr ? "per-head"
                                                                    : absl::StrCat(params.theta));
      const std::string formula =
          absl::StrCat(name, " k=", k, " ", gate, " epsilon=", params.epsilon);
      return params.search == KeySearch::kExact
                 ? formula
                 : absl::StrCat(formula, " search=tree tree-distances=", params.tree_distances,
                                " tree-recent=", params.tree_recent);
    }
    case AttentionMode::kMultipole:
      return absl::StrCat(name, " mass=", params.mass, " max-keys=", params.max_keys,
                          " dense-below=", params.dense_below, " sinks=", params.sinks,
                          " recent=", params.recent);
    case AttentionMode::kWindow:
      return absl::StrCat(name, " window=", params.window);
    case AttentionMode::kTopK:
      return absl::StrCat(name, " sparsity=", params.sparsity);
    default:
      return name;
  }
}

}  // namespace alcca::lab
