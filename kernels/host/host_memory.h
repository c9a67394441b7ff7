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

// Uninitialised memory, aligned to a cache line. If `bytes` is at least 2 MiB, it is aligned to 2
// MiB and huge pages are asked for, so that a weight stream misses the TLB 512 times less often.
// Null if there is no memory.
HostMemory AllocateHost(size_t bytes);

}  // namespace alcca
