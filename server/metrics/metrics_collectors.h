#pragma once

// Metrics that are read when they are scraped: of this process, and of the device it computes on.

#include <prometheus/collectable.h>

#include <memory>

#include "server/metrics/device_telemetry.h"

namespace alcca {

// process_* under the names every Prometheus client uses (from /proc), and
// alcca_memory_limit_bytes: the cgroup's limit, or the machine's memory.
std::shared_ptr<prometheus::Collectable> MakeProcessCollector();

// alcca_gpu_*; a figure that the driver does not tell has no series.
std::shared_ptr<prometheus::Collectable> MakeDeviceCollector(
    std::shared_ptr<DeviceTelemetry> device);

}  // namespace alcca
