#include "server/api/wire.h"

#include <cstddef>

namespace alcca {
namespace {

void SetTop(const TokenLogprob& from, v1::TopLogProbs* to) {
  for (const auto& [token, logprob] : from.top) {
    to->add_token_ids(token);
    to->add_values(logprob);
  }
}

void SetCounters(const AttentionCounters& from, v1::AttentionCounters* to) {
  to->set_qk_exact(from.qk_exact);
  to->set_qk_centroid(from.qk_centroid);
  to->set_com_test(from.com_test);
  to->set_index_build(from.index_build);
  to->set_pv_exact(from.pv_exact);
  to->set_pv_centroid(from.pv_centroid);
  to->set_running_sums(from.running_sums);
  to->set_queries(from.queries);
  to->set_near_queries(from.near_queries);
  to->set_kv_bytes_read(from.kv_bytes_read);
  to->set_dense_equivalent_qk(from.dense_equivalent_qk);
  to->set_dense_equivalent_pv(from.dense_equivalent_pv);
  to->set_scalar_comparisons(from.scalar_comparisons);
  to->set_recall_wanted(from.recall_wanted);
  to->set_recall_found(from.recall_found);
  to->set_error_checked(from.error_checked);
  to->set_error_millionths(from.error_millionths);
}

double Ratio(int64_t a, int64_t b) {
  return b > 0 ? static_cast<double>(a) / static_cast<double>(b) : 0.0;
}

}  // namespace

void SetLogprobs(const std::vector<TokenLogprob>& from, v1::OutputLogProbs* to) {
  for (const TokenLogprob& token : from) {
    to->add_token_ids(token.token);
    to->add_token_logprobs(token.logprob);
    SetTop(token, to->add_top_logprobs());
  }
}

void SetLogprobs(const std::vector<TokenLogprob>& from, v1::InputLogProbs* to) {
  for (size_t i = 0; i < from.size(); ++i) {
    to->add_token_ids(from[i].token);
    auto* value = to->add_token_logprobs();
    if (i > 0) {  // nothing precedes the first
      value->set_value(from[i].logprob);
    }
    SetTop(from[i], to->add_top_logprobs());
  }
}

void SetAttention(const AttentionParams& from, v1::AttentionParams* to) {
  switch (from.mode) {
    case AttentionMode::kDense:
      to->set_mode(v1::ATTENTION_MODE_DENSE);
      break;
    case AttentionMode::kAlcca:
      to->set_mode(v1::ATTENTION_MODE_ALCCA);
      to->set_search(v1::ATTENTION_SEARCH_EXACT);
      if (from.search == KeySearch::kTree) {
        to->set_search(v1::ATTENTION_SEARCH_TREE);
        to->set_tree_distances(from.tree_distances);
        to->set_tree_recent(from.tree_recent);
      }
      // What varies by head is not spelt out: tables of hundreds of numbers in every reply.
      if (from.near_share > 0) {
        to->set_near_share(from.near_share);
      } else if (from.head_theta != nullptr) {
        to->set_theta_per_head(true);
      } else {
        to->set_theta(from.theta);
      }
      if (from.head_k != nullptr) {
        to->set_k_per_head(true);
      } else {
        to->set_k(from.k);
      }
      to->set_epsilon(from.epsilon);
      break;
    case AttentionMode::kMultipole:
      to->set_mode(v1::ATTENTION_MODE_MULTIPOLE);
      to->set_mass(from.mass);
      to->set_max_keys(from.max_keys);
      to->set_dense_below(from.dense_below);
      to->set_sinks(from.sinks);
      to->set_recent(from.recent);
      break;
    case AttentionMode::kWindow:
      to->set_mode(v1::ATTENTION_MODE_WINDOW);
      to->set_window(from.window);
      break;
    case AttentionMode::kTopK:
      to->set_mode(v1::ATTENTION_MODE_TOPK);
      to->set_sparsity(from.sparsity);
      break;
  }
}

void SetReport(const Ending& ending, v1::AttentionReport* to) {
  AttentionCounters all;
  for (const AttentionCounters& phase : ending.counters) {
    all += phase;
  }
  SetAttention(ending.attention, to->mutable_applied());
  SetCounters(ending.counters[static_cast<size_t>(Phase::kPrefill)], to->mutable_prefill());
  SetCounters(ending.counters[static_cast<size_t>(Phase::kDecode)], to->mutable_decode());
  to->set_near_share(Ratio(all.near_queries, all.queries));
  to->set_performed_over_dense_causal(Ratio(all.performed(), all.dense_equivalent()));
  to->set_qk_performed_over_dense_causal(Ratio(
      all.qk_exact + all.qk_centroid + all.com_test + all.index_build, all.dense_equivalent_qk));
  to->set_fell_back(ending.fell_back);
  to->set_index_bytes(ending.index_bytes);
  to->set_index_build_seconds(ending.timings.index_build_seconds);
  if (all.recall_wanted > 0) {
    to->set_search_recall(Ratio(all.recall_found, all.recall_wanted));
  }
  if (all.error_checked > 0) {
    to->set_output_error(1e-6 * Ratio(all.error_millionths, all.error_checked));
  }
}

}  // namespace alcca
