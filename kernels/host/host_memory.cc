#include "kernels/host/host_memory.h"

#include <sys/mman.h>

#include <limits>

namespace alcca {

HostMemory AllocateHost(size_t bytes) {
  constexpr size_t kLine = 64, kHugePage = size_t{2} << 20;
  const size_t alignment = bytes >= kHugePage ? kHugePage : kLine;
  if (bytes > std::numeric_limits<size_t>::max() - kHugePage) {
    return nullptr;
  }
  const size_t rounded = (bytes + kLine - 1) / kLine * kLine + (bytes == 0 ? kLine : 0);
  void* p = nullptr;
  if (posix_memalign(&p, alignment, rounded) != 0) {
    return nullptr;
  }
  if (alignment == kHugePage) {
    madvise(p, rounded / kHugePage * kHugePage, MADV_HUGEPAGE);  // a hint; failure costs speed only
  }
  return HostMemory(static_cast<std::byte*>(p));
}

}  // namespace alcca
