#include "server/metrics/metrics_collectors.h"

#include <prometheus/metric_family.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "engine/model/cgroup_memory.h"

namespace alcca {
namespace {

using prometheus::MetricFamily;
using prometheus::MetricType;

MetricFamily Single(const char* name, const char* help, MetricType type, double value) {
  prometheus::ClientMetric metric;
  (type == MetricType::Counter ? metric.counter.value : metric.gauge.value) = value;
  return {.name = name, .help = help, .type = type, .metric = {std::move(metric)}};
}

// The number after `key` on its line of a /proc file, in the file's own unit.
std::optional<double> Field(const char* path, const std::string& key) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with(key)) {
      return std::strtod(line.c_str() + key.size(), nullptr);
    }
  }
  return std::nullopt;
}

// Fields 14, 15 and 22 of /proc/self/stat, counted from 1 (proc(5)), in clock ticks.
struct Stat {
  double user = 0, system = 0, start = 0;
};
std::optional<Stat> ReadStat() {
  std::ifstream file("/proc/self/stat");
  std::string line;
  std::getline(file, line);
  const size_t name_end = line.rfind(')');  // the name, field 2, may hold anything
  if (name_end == std::string::npos) {
    return std::nullopt;
  }
  std::istringstream rest(line.substr(name_end + 1));
  std::vector<std::string> fields(2);  // so that fields[i] is field i + 1
  for (std::string word; rest >> word;) {
    fields.push_back(word);
  }
  if (fields.size() < 22) {
    return std::nullopt;
  }
  const auto number = [&](size_t field) { return std::strtod(fields[field - 1].c_str(), nullptr); };
  return Stat{.user = number(14), .system = number(15), .start = number(22)};
}

std::optional<double> MemoryLimit() {
  if (const std::optional<CgroupMemory> cgroup = ReadCgroupMemory()) {
    return static_cast<double>(cgroup->limit);
  }
  const std::optional<double> kilobytes = Field("/proc/meminfo", "MemTotal:");
  return kilobytes ? std::optional(*kilobytes * 1024) : std::nullopt;
}

std::optional<double> OpenFiles() {
  std::error_code error;
  double count = 0;
  for (auto it = std::filesystem::directory_iterator("/proc/self/fd", error);
       !error && it != std::filesystem::directory_iterator(); it.increment(error)) {
    ++count;
  }
  return error ? std::nullopt : std::optional(count - 1);  // one is this walk's own
}

class ProcessCollector final : public prometheus::Collectable {
 public:
  std::vector<MetricFamily> Collect() const override {
    std::vector<MetricFamily> out;
    const auto add = [&](const char* name, const char* help, std::optional<double> value,
                         MetricType type = MetricType::Gauge) {
      if (value) {
        out.push_back(Single(name, help, type, *value));
      }
    };
    if (const std::optional<Stat> stat = ReadStat()) {
      const auto ticks = static_cast<double>(sysconf(_SC_CLK_TCK));
      add("process_cpu_seconds_total", "Processor time, user and system.",
          (stat->user + stat->system) / ticks, MetricType::Counter);
      if (const std::optional<double> boot = Field("/proc/stat", "btime")) {
        add("process_start_time_seconds", "When the process started; Unix time.",
            *boot + stat->start / ticks);
      }
    }
    const std::optional<double> resident = Field("/proc/self/status", "VmRSS:");
    add("process_resident_memory_bytes", "Memory in use.",
        resident ? std::optional(*resident * 1024) : std::nullopt);
    add("process_threads", "Threads.", Field("/proc/self/status", "Threads:"));
    add("process_open_fds", "Open file descriptors.", OpenFiles());
    rlimit limit = {};
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
      add("process_max_fds", "File descriptors there may be.", static_cast<double>(limit.rlim_cur));
    }
    add("alcca_memory_limit_bytes", "The cgroup's memory limit, or the machine's memory.",
        MemoryLimit());
    return out;
  }
};

class DeviceCollector final : public prometheus::Collectable {
 public:
  explicit DeviceCollector(std::shared_ptr<DeviceTelemetry> device) : device_(std::move(device)) {}

  std::vector<MetricFamily> Collect() const override {
    const DeviceReading reading = device_->Read();
    std::vector<MetricFamily> out;
    const auto add = [&](const char* name, const char* help, auto value,
                         MetricType type = MetricType::Gauge) {
      if (value) {
        out.push_back(Single(name, help, type, static_cast<double>(*value)));
      }
    };
    add("alcca_gpu_energy_joules_total", "Energy the whole GPU has used since its driver loaded.",
        reading.energy_joules, MetricType::Counter);
    add("alcca_gpu_power_watts", "Power the GPU draws.", reading.power_watts);
    add("alcca_gpu_memory_used_bytes", "GPU memory in use, by all processes.", reading.memory_used);
    add("alcca_gpu_memory_total_bytes", "GPU memory there is.", reading.memory_total);
    add("alcca_gpu_busy_ratio", "Share of the driver's last sample with a kernel running.",
        reading.busy_ratio);
    add("alcca_gpu_temperature_celsius", "Temperature of the GPU.", reading.temperature_celsius);
    return out;
  }

 private:
  const std::shared_ptr<DeviceTelemetry> device_;
};

}  // namespace

std::shared_ptr<prometheus::Collectable> MakeProcessCollector() {
  return std::make_shared<ProcessCollector>();
}

std::shared_ptr<prometheus::Collectable> MakeDeviceCollector(
    std::shared_ptr<DeviceTelemetry> device) {
  return std::make_shared<DeviceCollector>(std::move(device));
}

}  // namespace alcca
