#include "engine/model/cgroup_memory.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <limits>

namespace alcca {
namespace {

// The path after "0::", "/" where there is none that this process can see.
std::filesystem::path OwnGroup(const std::string& root) {
  std::ifstream file(root + "/proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("0::/") && line.find("..") == std::string::npos) {
      return line.substr(3);
    }
  }
  return "/";
}

std::optional<int64_t> Number(const std::filesystem::path& path) {
  std::ifstream file(path);
  int64_t number = 0;
  return file >> number ? std::optional(number) : std::nullopt;  // "max" is no number: no limit
}

int64_t PageCache(const std::filesystem::path& group) {
  std::ifstream file(group / "memory.stat");
  int64_t bytes = 0, value = 0;
  for (std::string name; file >> name >> value;) {
    bytes += name == "active_file" || name == "inactive_file" ? value : 0;
  }
  return bytes;
}

}  // namespace

std::optional<CgroupMemory> ReadCgroupMemory(const std::string& root) {
  constexpr int64_t kNone = std::numeric_limits<int64_t>::max();
  CgroupMemory memory{.limit = kNone, .left = kNone};
  const std::filesystem::path mount = root + "/sys/fs/cgroup";
  for (std::filesystem::path group = OwnGroup(root);; group = group.parent_path()) {
    const std::filesystem::path directory = mount / group.relative_path();
    if (const std::optional<int64_t> limit = Number(directory / "memory.max")) {
      memory.limit = std::min(memory.limit, *limit);
      if (const std::optional<int64_t> current = Number(directory / "memory.current")) {
        const int64_t taken = std::max<int64_t>(0, *current - PageCache(directory));
        memory.left = std::min(memory.left, std::max<int64_t>(0, *limit - taken));
      }
    }
    if (!group.has_relative_path()) {
      break;
    }
  }
  memory.left = std::min(memory.left, memory.limit);
  return memory.limit == kNone ? std::nullopt : std::optional(memory);
}

}  // namespace alcca
