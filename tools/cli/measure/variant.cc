#include "tools/cli/measure/variant.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "attention/settings.h"
#include "tools/cli/options.h"

namespace alcca::cli {
namespace {

uint32_t Ceiling(double keys) {
  return std::max(1u, static_cast<uint32_t>(std::ceil(keys)));
}

}  // namespace

std::string ParseVariant(const std::string& text, const v1::AttentionParams& base, Variant* out) {
  *out = {.name = text, .attention = base};
  if (text.substr(0, text.find(':')) == "matched") {
    out->matched = true;
    return text == "matched" ? "" : "matched takes no fields";
  }
  AttentionSettings settings;
  if (const absl::Status status = Add(text, &settings); !status.ok()) {
    return std::string(status.message());
  }
  SetAttention(settings, &out->attention);
  return "";
}

std::string ParseVariants(const std::vector<std::string>& texts, const v1::AttentionParams& base,
                          std::vector<Variant>* out) {
  out->clear();
  for (const std::string& text : texts) {
    if (std::string wrong = ParseVariant(text, base, &out->emplace_back()); !wrong.empty()) {
      return wrong;
    }
  }
  return !out->empty() && out->front().matched ? "matched follows another mode" : "";
}

void MatchBudget(const v1::AttentionParams& applied, const Cost& cost, Variant* variant) {
  v1::AttentionParams& attention = variant->attention;
  if (applied.mode() == v1::ATTENTION_MODE_ALCCA) {
    const bool tree = applied.search() == v1::ATTENTION_SEARCH_TREE;
    attention = applied;
    attention.clear_theta_per_head();  // of replies; a request without theta has the heads' own
    attention.clear_k_per_head();
    attention.set_search(v1::ATTENTION_SEARCH_TREE);
    attention.set_tree_distances(tree                   ? applied.tree_distances()
                                 : applied.k_per_head() ? Ceiling(cost.values_per_query())
                                                        : applied.k());
    attention.set_tree_recent(attention.tree_distances());
    variant->name = absl::StrCat(attention.tree_distances(), " newest");
    return;
  }
  attention.set_mode(v1::ATTENTION_MODE_WINDOW);
  attention.set_window(cost.MatchedWindow());
  variant->name = absl::StrCat("window ", attention.window());
}

}  // namespace alcca::cli
