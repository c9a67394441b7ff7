#include "tools/lab/attention_json.h"

#include <cstdio>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "tools/lab/attention_options.h"

namespace alcca::lab {

nlohmann::ordered_json AttentionJson(const AttentionParams& params) {
  return {{"mode", AttentionModeName(params.mode)},
          {"description", DescribeAttention(params)},
          {"search", params.search == KeySearch::kTree ? "tree" : "exact"},
          {"theta", Rounded(params.theta)},
          {"k", params.k},
          {"epsilon", Rounded(params.epsilon)},
          {"tree_distances", params.tree_distances},
          {"tree_recent", params.tree_recent},
          {"window", params.window},
          {"sparsity", Rounded(params.sparsity)},
          {"theta_per_head", params.head_theta != nullptr},
          {"k_per_head", params.head_k != nullptr},
          {"near_share", Rounded(params.near_share)},
          {"mass", Rounded(params.mass)},
          {"max_keys", params.max_keys},
          {"dense_below", params.dense_below},
          {"sinks", params.sinks},
          {"recent", params.recent}};
}

nlohmann::ordered_json CountersJson(const AttentionCounters& c) {
  return {{"qk_exact", c.qk_exact},
          {"qk_centroid", c.qk_centroid},
          {"com_test", c.com_test},
          {"index_build", c.index_build},
          {"pv_exact", c.pv_exact},
          {"pv_centroid", c.pv_centroid},
          {"running_sums", c.running_sums},
          {"queries", c.queries},
          {"near_queries", c.near_queries},
          {"dense_equivalent_qk", c.dense_equivalent_qk},
          {"dense_equivalent_pv", c.dense_equivalent_pv},
          {"scalar_comparisons", c.scalar_comparisons},
          {"recall_wanted", c.recall_wanted},
          {"recall_found", c.recall_found},
          {"kv_bytes_read", c.kv_bytes_read}};
}

double Rounded(double value, int digits) {
  char text[40];
  std::snprintf(text, sizeof(text), "%.*g", digits, value);
  return std::strtod(text, nullptr);
}

}  // namespace alcca::lab
