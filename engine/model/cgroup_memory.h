#pragma once

// What the control groups (v2) of this process still let it take. Under systemd its group lies
// below /sys/fs/cgroup, in a container it is the mount's root; a limit of any group above counts.

#include <cstdint>
#include <optional>
#include <string>

namespace alcca {

struct CgroupMemory {
  int64_t limit = 0;  // bytes: the smallest memory.max
  // Bytes: the least of what is below a memory.max. Page cache does not count as taken, the kernel
  // gives it back.
  int64_t left = 0;
};
// None: no group has a limit. `root`: the directory that has proc and sys, for tests.
std::optional<CgroupMemory> ReadCgroupMemory(const std::string& root = "");

}  // namespace alcca
