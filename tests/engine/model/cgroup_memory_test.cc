#include "engine/model/cgroup_memory.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

namespace alcca {
namespace {

class CgroupMemoryTest : public ::testing::Test {
 protected:
  CgroupMemoryTest() : root_(::testing::TempDir() + "cgroup_" + TestName()) {
    std::filesystem::remove_all(root_);
  }
  ~CgroupMemoryTest() override { std::filesystem::remove_all(root_); }

  void Write(const std::string& path, const std::string& text) {
    const std::filesystem::path file = root_ + path;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text;
  }
  void Group(const std::string& path, const std::string& max, const std::string& current,
             const std::string& stat = "") {
    const std::string group = "/sys/fs/cgroup" + path;
    Write(group + "/memory.max", max + "\n");
    Write(group + "/memory.current", current + "\n");
    Write(group + "/memory.stat", stat);
  }
  std::string root_;

 private:
  static std::string TestName() {
    return ::testing::UnitTest::GetInstance()->current_test_info()->name();
  }
};

TEST_F(CgroupMemoryTest, AContainersIsTheMountsRoot) {
  Write("/proc/self/cgroup", "0::/\n");
  Group("", "1000", "400", "anon 300\nactive_file 30\ninactive_file 20\nshmem 50\n");
  const auto memory = ReadCgroupMemory(root_);
  ASSERT_TRUE(memory.has_value());
  EXPECT_EQ(memory->limit, 1000);
  EXPECT_EQ(memory->left, 1000 - (400 - 50));  // page cache can be had back, shared memory cannot
}

// As systemd's MemoryMax= sets it: the unit's group has the limit, the root has no memory.max.
TEST_F(CgroupMemoryTest, AUnitsIsItsOwn) {
  Write("/proc/self/cgroup", "12:cpu:/elsewhere\n0::/system.slice/alccad.service\n");
  Group("/system.slice/alccad.service", "5000", "100");
  Group("/system.slice", "max", "90000");
  Group("/elsewhere", "1", "1");
  const auto memory = ReadCgroupMemory(root_);
  ASSERT_TRUE(memory.has_value());
  EXPECT_EQ(memory->limit, 5000);
  EXPECT_EQ(memory->left, 4900);
}

TEST_F(CgroupMemoryTest, TheTightestGroupAboveCounts) {
  Write("/proc/self/cgroup", "0::/a/b/c\n");
  Group("/a/b/c", "9000", "100");
  Group("/a/b", "7000", "6900");  // the least left
  Group("/a", "5000", "1000");    // the smallest limit
  const auto memory = ReadCgroupMemory(root_);
  ASSERT_TRUE(memory.has_value());
  EXPECT_EQ(memory->limit, 5000);
  EXPECT_EQ(memory->left, 100);
}

TEST_F(CgroupMemoryTest, NoLimitIsNone) {
  EXPECT_FALSE(ReadCgroupMemory(root_).has_value());  // neither proc nor sys
  Write("/proc/self/cgroup", "0::/a\n");
  Group("/a", "max", "100");
  EXPECT_FALSE(ReadCgroupMemory(root_).has_value());
}

TEST_F(CgroupMemoryTest, MoreThanTheLimitLeavesNothing) {
  Write("/proc/self/cgroup", "0::/../outside\n");  // of another namespace: the root is what is seen
  Group("", "1000", "1200");
  EXPECT_EQ(ReadCgroupMemory(root_)->left, 0);
}

}  // namespace
}  // namespace alcca
