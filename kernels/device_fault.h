#pragma once

// Where a fault of a device ends: ops have no failure path (backend.h), and after a sticky CUDA
// error nothing on that device can be trusted. The handler tells the world (health, log); then the
// process ends with exit code 70, so that whoever runs it starts a new one.

#include <functional>
#include <string_view>

namespace alcca {

// Called once, on the thread that met the fault. Must not touch the device. Set before the backend
// is used.
using DeviceFaultHandler = std::function<void(std::string_view message)>;
void SetDeviceFaultHandler(DeviceFaultHandler handler);

[[noreturn]] void DeviceFault(std::string_view message);

}  // namespace alcca
