#pragma once

#include <cstddef>
#include <vector>

#include "attention/params.h"

namespace alcca {

struct ClusterReference {
  std::vector<size_t> members;  // positions
  std::vector<double> point;    // about which it is expanded
  double log_mass = 0;          // for the query `point`
  std::vector<double> key;      // means, weighted by the softmax of that query, as they are stored
  std::vector<double> value;
  double variance = 0;                  // of the keys, averaged over dimensions
  std::vector<ClusterReference> parts;  // clusters of the level below; empty for fine ones
};

// The coarse clusters that a query over all of `keys` sees, by the words of kernels/key_clusters.h.
// queries: by position, the mean over the heads of the group; of all positions but the last.
std::vector<ClusterReference> ClustersReference(const std::vector<std::vector<double>>& keys,
                                                const std::vector<std::vector<double>>& values,
                                                const std::vector<std::vector<double>>& queries,
                                                const AttentionParams& params, int sliding_window);

// Multipole attention of a group of query heads over them; one output each.
std::vector<std::vector<double>> MultipoleReference(const std::vector<std::vector<double>>& queries,
                                                    const std::vector<std::vector<double>>& keys,
                                                    const std::vector<std::vector<double>>& values,
                                                    const std::vector<ClusterReference>& clusters,
                                                    const AttentionParams& params);

}  // namespace alcca
