// A library with NVML's symbols and made-up figures, for machines without a driver.
// ALCCA_NVML_COUNT in the environment says how many devices it has; 2 or more do not tell their
// energy.

#include <cstdlib>
#include <cstring>

namespace {
constexpr int kOk = 0, kNotSupported = 3, kNotFound = 6;
int Count() {
  const char* count = std::getenv("ALCCA_NVML_COUNT");
  return count == nullptr ? 1 : std::atoi(count);
}
int devices[8];
}  // namespace

extern "C" {
int nvmlInit_v2() {
  return Count() < 0 ? 9 : kOk;
}
int nvmlShutdown() {
  return kOk;
}
int nvmlDeviceGetCount_v2(unsigned* count) {
  *count = static_cast<unsigned>(Count());
  return kOk;
}
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void** device) {
  *device = &devices[index];
  return kOk;
}
int nvmlDeviceGetHandleByPciBusId_v2(const char* id, void** device) {
  *device = &devices[1];
  return std::strcmp(id, "0000:1b:00.0") == 0 ? kOk : kNotFound;
}
int nvmlDeviceGetName(void* device, char* name, unsigned length) {
  std::strncpy(name, device == &devices[1] ? "second" : "first", length);
  return kOk;
}
int nvmlDeviceGetTotalEnergyConsumption(void* device, unsigned long long* millijoules) {
  *millijoules = 12500;
  return device == &devices[1] ? kNotSupported : kOk;
}
int nvmlDeviceGetPowerUsage(void*, unsigned* milliwatts) {
  *milliwatts = 350250;
  return kOk;
}
int nvmlDeviceGetMemoryInfo(void*, unsigned long long* total_free_used) {
  total_free_used[0] = 85'000'000'000;
  total_free_used[1] = 64'000'000'000;
  total_free_used[2] = 21'000'000'000;
  return kOk;
}
int nvmlDeviceGetUtilizationRates(void*, unsigned* gpu_memory) {
  gpu_memory[0] = 75;
  gpu_memory[1] = 20;
  return kOk;
}
int nvmlDeviceGetTemperature(void*, unsigned, unsigned* celsius) {
  *celsius = 61;
  return kOk;
}
}
