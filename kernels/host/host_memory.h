#pragma once

// Owned, aligned host memory for weights, activations and workspaces.

#include <cstddef>
#include <cstdlib>
#include <memory>

namespace alcca {

struct HostFree {
  void operator()(void* p) const { std::free(p); }
};
using HostMemory = std::unique_ptr<std::byte, HostFree>;

// Uninitialised. Aligned to a cache line, or to 2 MiB with huge pages asked for where `bytes` is
// that large: a weight stream then misses the TLB 512 times less. Null if there is no memory.
HostMemory AllocateHost(size_t bytes);

}  // namespace alcca
