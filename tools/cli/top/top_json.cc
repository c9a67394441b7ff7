// `alcca top --json`: a line for programs.

#include <nlohmann/json.hpp>

#include "tools/cli/top/top_view.h"

namespace alcca::cli {
namespace {

using nlohmann::json;

json OrNull(const std::optional<double>& value) {
  return value ? json(*value) : json(nullptr);
}

json Latency(const TopLatency& latency) {
  const auto quantile = [](const std::optional<TopQuantile>& q) {
    return q ? json(q->seconds) : json(nullptr);
  };
  return {{"count", latency.count},
          {"p50_seconds", quantile(latency.p50)},
          {"p95_seconds", quantile(latency.p95)}};
}

json Rates(const TopRates& r) {
  json out = {{"interval_seconds", r.seconds},
              {"restarted", r.restarted},
              {"prompt_tokens_per_second", r.prompt_tokens},
              {"generation_tokens_per_second", r.generation_tokens},
              {"finished_per_second", r.finished},
              {"failed_per_second", r.failed},
              {"rejected_per_second", r.rejected},
              {"preemptions_per_second", r.preemptions},
              {"time_to_first_token", Latency(r.first_token)},
              {"inter_token_latency", Latency(r.token_gap)},
              {"e2e_latency", Latency(r.request)},
              {"cost_over_dense", OrNull(r.cost)},
              {"recall", OrNull(r.recall)},
              {"prefix_cache_hit_rate", OrNull(r.prefix_hits)}};
  out["modes"] = json::object();
  for (const auto& [name, mode] : r.modes) {
    json& row = out["modes"][name];
    for (size_t i = 0; i < kTopPhases.size(); ++i) {
      row[std::string(kTopPhases[i]) + "_cost_over_dense"] = OrNull(mode.cost[i]);
    }
    row["near_share"] = OrNull(mode.near);
    row["queries_per_second"] = mode.queries;
  }
  return out;
}

json Gauges(const TopSample& s) {
  if (s.figures) {
    const TopFigures& f = *s.figures;
    return {{"running", f.running},
            {"waiting", f.waiting},
            {"waiting_prompt_tokens", f.waiting_tokens},
            {"kv_usage", f.kv_usage},
            {"kv_pages", f.kv_pages},
            {"index_bytes", f.index_bytes},
            {"recall_since_start",
             f.recall_wanted > 0 ? json(f.recall_found / f.recall_wanted) : json(nullptr)}};
  }
  if (s.load) {
    return {{"running", s.load->running},
            {"waiting", s.load->waiting},
            {"waiting_prompt_tokens", s.load->waiting_tokens},
            {"kv_usage", s.load->kv_usage},
            {"generation_tokens_per_second", s.load->generation_rate}};
  }
  return nullptr;
}

}  // namespace

json TopJson(const TopDaemon& daemon) {
  const TopSample& s = daemon.sample;
  const auto text = [](const std::string& value) {
    return value.empty() ? json(nullptr) : json(Printable(value));
  };
  return {{"daemon", Printable(daemon.name)},
          {"state", TopStateName(s.state)},
          {"problem", text(s.problem)},
          {"uptime_seconds", s.uptime >= 0 ? json(s.uptime) : json(nullptr)},
          {"model", text(s.model)},
          {"weight_dtype", text(s.weights)},
          {"device", text(s.device)},
          {"version", text(s.version)},
          {"now", Gauges(s)},
          {"rates", daemon.rates ? Rates(*daemon.rates) : json(nullptr)}};
}

}  // namespace alcca::cli
