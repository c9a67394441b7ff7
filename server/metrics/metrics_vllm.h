#pragma once

// Our metrics under the names, labels and bucket bounds of vLLM, so that dashboards and autoscalers
// made for it work unchanged. Behind `metrics_vllm_names`, because the names have colons, which
// Prometheus keeps for recording rules. The table is in docs/monitoring.md.

#include <prometheus/collectable.h>

#include <memory>

#include "server/metrics/serving_facts.h"

namespace alcca {

// Reads `ours` when scraped. Labels model_name (facts.model) and engine="0" are on every series.
std::shared_ptr<prometheus::Collectable> MakeVllmNames(
    std::shared_ptr<prometheus::Collectable> ours, const ServingFacts& facts);

}  // namespace alcca
