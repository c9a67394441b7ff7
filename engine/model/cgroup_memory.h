#pragma once

// The memory that the control groups (v2) of this process still allow it. Under systemd its group
// lies below /sys/fs/cgroup; in a container it is the root of the mount. The limit of every group
// above it counts.

#include <cstdint>
#include <optional>
#include <string>

namespace alcca {

struct CgroupMemory {
  int64_t limit = 0;  // bytes: the smallest memory.max
  // Bytes: the smallest room below a memory.max. Page cache does not count as taken, because the
  // kernel gives it back.
  int64_t left = 0;
};
// None: no group has a limit. `root`: the directory that has proc and sys, for tests.
std::optional<CgroupMemory> ReadCgroupMemory(const std::string& root = "");

}  // namespace alcca
