#include <nlohmann/json.hpp>
#include <string>

#include "tools/lab/attention_json.h"
#include "tools/lab/explain.h"

namespace alcca::lab {
namespace {

using Json = nlohmann::ordered_json;

Json TokenJson(const ExplainedToken& token) {
  return {{"id", token.id}, {"text", token.text}, {"generated", token.generated}};
}

Json HeadJson(const ExplainedHead& head, int32_t index, int32_t kv_head) {
  std::string gates;
  Json rows = Json::array(), rest = Json::array();
  for (const WeightRow& row : head.rows) {
    gates += static_cast<char>(row.gate);
    Json pairs = Json::array();
    if (row.gate != Gate::kNear) {  // a near row is 1 / visible everywhere: no list
      for (const WeightRow::Entry& entry : row.entries) {
        pairs.push_back(entry.token);
        pairs.push_back(Rounded(entry.weight, 4));
      }
    }
    rows.push_back(std::move(pairs));
    rest.push_back(row.gate == Gate::kNear ? 0.0 : Rounded(row.rest, 4));
  }
  return {{"head", index},
          {"kv_head", kv_head},
          {"near_share", Rounded(head.near_share)},
          {"tokens_used_mean", Rounded(head.tokens_used_mean)},
          {"entropy_mean", Rounded(head.entropy_mean)},
          {"interactions", Rounded(head.interactions, 12)},
          {"interactions_dense", Rounded(head.interactions_dense, 12)},
          {"gates", gates},
          {"rows", std::move(rows)},
          {"rest", std::move(rest)}};
}

Json Numbers(const std::vector<double>& values) {
  Json out = Json::array();
  for (const double value : values) {
    out.push_back(Rounded(value, 12));
  }
  return out;
}

}  // namespace

std::string ExplanationJson(const Explanation& e) {
  const int32_t heads = e.layers.empty() ? 0 : static_cast<int32_t>(e.layers[0].heads.size());
  Json layers = Json::array(), tokens = Json::array();
  for (const ExplainedToken& token : e.tokens) {
    tokens.push_back(TokenJson(token));
  }
  for (size_t l = 0; l < e.layers.size(); ++l) {
    Json all = Json::array();
    for (int32_t h = 0; h < heads; ++h) {
      all.push_back(HeadJson(e.layers[l].heads[h], h, h / (heads / e.kv_heads)));
    }
    layers.push_back({{"layer", l},
                      {"kv_bytes_read", e.layers[l].kv_bytes_read},
                      {"kv_bytes_read_dense", e.layers[l].kv_bytes_read_dense},
                      {"heads", std::move(all)}});
  }
  const Json out = {{"schema", "alcca.explain"},
                    {"version", 1},
                    {"model",
                     {{"name", e.model},
                      {"weight_dtype", e.weight_dtype},
                      {"layers", e.layers.size()},
                      {"heads", heads},
                      {"kv_heads", e.kv_heads},
                      {"head_dim", e.head_dim}}},
                    {"attention", AttentionJson(e.attention)},
                    {"min_weight", Rounded(e.min_weight)},
                    {"cost_by_head", e.cost_is_own ? "own" : "shared"},
                    {"tokens", std::move(tokens)},
                    {"next", TokenJson(e.next)},
                    {"positions",
                     {{"interactions", Numbers(e.interactions)},
                      {"interactions_dense", Numbers(e.interactions_dense)}}},
                    {"counters",
                     {{"prefill", CountersJson(e.counters[static_cast<int>(Phase::kPrefill)])},
                      {"decode", CountersJson(e.counters[static_cast<int>(Phase::kDecode)])}}},
                    {"layers", std::move(layers)}};
  return out.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace alcca::lab
