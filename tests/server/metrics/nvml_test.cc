// Against a stand-in of the driver's library (tests/testing/nvml_stand_in.cc); on a machine that
// has the driver, against the real one as well.

#include <gtest/gtest.h>

#include <cstdlib>

#include "server/metrics/device_telemetry.h"

namespace alcca {
namespace {

class NvmlTest : public ::testing::Test {
 protected:
  void TearDown() override { unsetenv("ALCCA_NVML_COUNT"); }
  void Devices(const char* count) { setenv("ALCCA_NVML_COUNT", count, 1); }
};

TEST_F(NvmlTest, ReadsTheOnlyDeviceInBaseUnits) {
  const auto device = OpenNvml("", ALCCA_NVML_STAND_IN);
  ASSERT_TRUE(device.ok()) << device.status();
  EXPECT_EQ((*device)->name(), "first");
  const DeviceReading reading = (*device)->Read();
  EXPECT_EQ(reading.energy_joules, 12.5);
  EXPECT_EQ(reading.power_watts, 350.25);
  EXPECT_EQ(reading.memory_used, 21'000'000'000);
  EXPECT_EQ(reading.memory_total, 85'000'000'000);
  EXPECT_EQ(reading.busy_ratio, 0.75);
  EXPECT_EQ(reading.temperature_celsius, 61);
}

TEST_F(NvmlTest, FindsADeviceByItsBusAndLeavesOutWhatItDoesNotTell) {
  Devices("2");
  const auto device = OpenNvml("0000:1b:00.0", ALCCA_NVML_STAND_IN);
  ASSERT_TRUE(device.ok()) << device.status();
  EXPECT_EQ((*device)->name(), "second");
  EXPECT_FALSE((*device)->Read().energy_joules.has_value());
  EXPECT_TRUE((*device)->Read().power_watts.has_value());
  EXPECT_EQ(OpenNvml("0000:ff:00.0", ALCCA_NVML_STAND_IN).status().code(),
            absl::StatusCode::kNotFound);
}

// Another process's GPU must not be charged to us.
TEST_F(NvmlTest, DoesNotGuessAmongSeveralDevices) {
  Devices("2");
  EXPECT_EQ(OpenNvml("", ALCCA_NVML_STAND_IN).status().code(),
            absl::StatusCode::kFailedPrecondition);
  Devices("0");
  EXPECT_EQ(OpenNvml("", ALCCA_NVML_STAND_IN).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(NvmlTest, SaysWhyThereIsNone) {
  EXPECT_EQ(OpenNvml("", "/nonexistent.so").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(OpenNvml("", "libm.so.6").status().code(), absl::StatusCode::kInternal);
  Devices("-1");
  EXPECT_EQ(OpenNvml("", ALCCA_NVML_STAND_IN).status().code(), absl::StatusCode::kInternal);
}

TEST_F(NvmlTest, TheRealDriverTellsSomething) {
  const auto device = OpenNvml();
  if (!device.ok()) {
    GTEST_SKIP() << device.status();
  }
  const DeviceReading reading = (*device)->Read();
  EXPECT_FALSE((*device)->name().empty());
  ASSERT_TRUE(reading.memory_total.has_value());
  EXPECT_GT(*reading.memory_total, 1 << 30);
  EXPECT_LE(*reading.memory_used, *reading.memory_total);
}

}  // namespace
}  // namespace alcca
