#include "kernels/device_fault.h"

#include <unistd.h>

#include <cstdio>
#include <string>
#include <utility>

namespace alcca {
namespace {

constexpr int kExitSoftware = 70;  // of sysexits

DeviceFaultHandler& Handler() {
  static DeviceFaultHandler handler;
  return handler;
}

}  // namespace

void SetDeviceFaultHandler(DeviceFaultHandler handler) {
  Handler() = std::move(handler);
}

void DeviceFault(std::string_view message) {
  std::fprintf(stderr, "device fault: %s\n", std::string(message).c_str());
  // Taken out first: a handler that itself meets the device ends up here again.
  const DeviceFaultHandler handler = std::exchange(Handler(), nullptr);
  if (handler) {
    handler(message);
  }
  _exit(kExitSoftware);  // no destructors: they would call the device
}

}  // namespace alcca
