#pragma once

#include <cstddef>
#include <vector>

#include "kernels/key_index.h"

namespace alcca {

// Positions that the tree search of kernels/key_index.h compares with q, which is at the end of
// `keys`; built anew from the description, with nothing shared but the words.
std::vector<size_t> TreeCandidatesReference(const std::vector<double>& q,
                                            const std::vector<std::vector<double>>& keys,
                                            const TreeParams& params);

}  // namespace alcca
