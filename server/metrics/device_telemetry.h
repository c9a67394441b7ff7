#pragma once

// Figures that a device's driver reports, independent of our own counting: energy, memory, and how
// busy the device is.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"

namespace alcca {

// One reading. A value that this device or driver does not report is absent.
struct DeviceReading {
  std::optional<double> energy_joules;  // since the driver was loaded, of the whole device
  std::optional<double> power_watts;    // now
  std::optional<int64_t> memory_used;   // bytes, of all processes
  std::optional<int64_t> memory_total;  // bytes
  std::optional<double> busy_ratio;     // share of the last sample period with a kernel running
  std::optional<double> temperature_celsius;
};

// Read is thread-safe and takes about a millisecond.
class DeviceTelemetry {
 public:
  virtual ~DeviceTelemetry() = default;
  virtual std::string name() const = 0;  // e.g. "NVIDIA H100 80GB HBM3"
  virtual DeviceReading Read() const = 0;
};

// NVIDIA's management library, loaded at run time, so that no build needs it (its C API:
// NVML API Reference Guide). `pci_bus_id` as "0000:1b:00.0"; empty: the only device there is.
// NOT_FOUND: no driver, or no such device. FAILED_PRECONDITION: several devices and no id.
// INTERNAL: the library refuses.
absl::StatusOr<std::unique_ptr<DeviceTelemetry>> OpenNvml(
    const std::string& pci_bus_id = "", const std::string& library = "libnvidia-ml.so.1");

}  // namespace alcca
