// Plain C++: NVML is found at run time, so this is built and tested on machines without a driver.

#include <dlfcn.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "server/metrics/device_telemetry.h"

namespace alcca {
namespace {

// From the NVML API Reference Guide: handles are opaque, every call returns 0 for success.
using Device = void*;
struct Memory {
  unsigned long long total, free, used;  // bytes
};
struct Utilization {
  unsigned int gpu, memory;  // percent
};
constexpr unsigned kTemperatureOfGpu = 0;

struct Api {
  int (*init)();
  int (*shutdown)();
  int (*count)(unsigned* count);
  int (*by_index)(unsigned index, Device* device);
  int (*by_bus_id)(const char* id, Device* device);
  int (*name)(Device device, char* name, unsigned length);
  int (*energy)(Device device, unsigned long long* millijoules);
  int (*power)(Device device, unsigned* milliwatts);
  int (*memory)(Device device, Memory* memory);
  int (*utilization)(Device device, Utilization* utilization);
  int (*temperature)(Device device, unsigned sensor, unsigned* celsius);
};

template <typename F>
bool Find(void* library, const char* symbol, F** function) {
  *function = reinterpret_cast<F*>(dlsym(library, symbol));
  return *function != nullptr;
}

// The first symbol that is missing, or null.
const char* FindAll(void* library, Api* api) {
  const char* symbol = nullptr;
  const auto find = [&](const char* name, auto** function) {
    symbol = name;
    return Find(library, name, function);
  };
  const bool all = find("nvmlInit_v2", &api->init) && find("nvmlShutdown", &api->shutdown) &&
                   find("nvmlDeviceGetCount_v2", &api->count) &&
                   find("nvmlDeviceGetHandleByIndex_v2", &api->by_index) &&
                   find("nvmlDeviceGetHandleByPciBusId_v2", &api->by_bus_id) &&
                   find("nvmlDeviceGetName", &api->name) &&
                   find("nvmlDeviceGetTotalEnergyConsumption", &api->energy) &&
                   find("nvmlDeviceGetPowerUsage", &api->power) &&
                   find("nvmlDeviceGetMemoryInfo", &api->memory) &&
                   find("nvmlDeviceGetUtilizationRates", &api->utilization) &&
                   find("nvmlDeviceGetTemperature", &api->temperature);
  return all ? nullptr : symbol;
}

// clang's UBSan compares the types of a called function and of the pointer to it. The driver's
// structs have names of their own, of the same layout.
#if defined(__clang__)
#define ALCCA_DRIVERS_TYPES __attribute__((no_sanitize("function")))
#else
#define ALCCA_DRIVERS_TYPES
#endif

// Holds the library open and initialised.
class Nvml final : public DeviceTelemetry {
 public:
  Nvml(void* library, const Api& api) : library_(library), api_(api) {}
  ~Nvml() override {
    api_.shutdown();
    dlclose(library_);
  }
  Nvml(const Nvml&) = delete;
  Nvml& operator=(const Nvml&) = delete;

  absl::Status Choose(const std::string& pci_bus_id) {
    if (!pci_bus_id.empty()) {
      return api_.by_bus_id(pci_bus_id.c_str(), &device_) == 0
                 ? absl::OkStatus()
                 : absl::NotFoundError(absl::StrCat("NVML knows no device ", pci_bus_id));
    }
    unsigned count = 0;
    if (api_.count(&count) != 0 || count == 0) {
      return absl::NotFoundError("NVML knows no device");
    }
    if (count > 1) {
      return absl::FailedPreconditionError(
          absl::StrCat("NVML knows ", count, " devices, and which one is ours was not said"));
    }
    return api_.by_index(0, &device_) == 0
               ? absl::OkStatus()
               : absl::InternalError("NVML gives no handle of device 0");
  }

  std::string name() const override {
    char name[128] = {};
    return api_.name(device_, name, sizeof(name) - 1) == 0 ? name : "";
  }

  ALCCA_DRIVERS_TYPES DeviceReading Read() const override {
    DeviceReading out;
    unsigned long long millijoules = 0;
    unsigned milliwatts = 0, celsius = 0;
    Memory memory = {};
    Utilization utilization = {};
    if (api_.energy(device_, &millijoules) == 0) {
      out.energy_joules = static_cast<double>(millijoules) / 1e3;
    }
    if (api_.power(device_, &milliwatts) == 0) {
      out.power_watts = milliwatts / 1e3;
    }
    if (api_.memory(device_, &memory) == 0) {
      out.memory_used = static_cast<int64_t>(memory.used);
      out.memory_total = static_cast<int64_t>(memory.total);
    }
    if (api_.utilization(device_, &utilization) == 0) {
      out.busy_ratio = utilization.gpu / 100.0;
    }
    if (api_.temperature(device_, kTemperatureOfGpu, &celsius) == 0) {
      out.temperature_celsius = celsius;
    }
    return out;
  }

 private:
  void* const library_;
  const Api api_;
  Device device_ = nullptr;
};

}  // namespace

absl::StatusOr<std::unique_ptr<DeviceTelemetry>> OpenNvml(const std::string& pci_bus_id,
                                                          const std::string& library) {
  void* handle = dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    return absl::NotFoundError(absl::StrCat("no NVIDIA driver: ", dlerror()));
  }
  Api api = {};
  if (const char* missing = FindAll(handle, &api); missing != nullptr) {
    dlclose(handle);
    return absl::InternalError(absl::StrCat(library, " has no ", missing));
  }
  if (const int code = api.init(); code != 0) {
    dlclose(handle);
    return absl::InternalError(absl::StrCat("nvmlInit_v2 failed with ", code));
  }
  auto nvml = std::make_unique<Nvml>(handle, api);
  if (absl::Status status = nvml->Choose(pci_bus_id); !status.ok()) {
    return status;
  }
  return nvml;
}

}  // namespace alcca
