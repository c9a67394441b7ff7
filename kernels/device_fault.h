#pragma once

// The end of every device fault. Ops have no failure path (backend.h), and after a sticky CUDA
// error nothing on that device can be trusted. The handler reports the fault (health, log). Then
// the process ends with exit code 70, so that its supervisor starts a new one.

#include <functional>
#include <string_view>

namespace alcca {

// Called once, on the thread that met the fault. Must not touch the device. Set before the backend
// is used.
using DeviceFaultHandler = std::function<void(std::string_view message)>;
void SetDeviceFaultHandler(DeviceFaultHandler handler);

[[noreturn]] void DeviceFault(std::string_view message);

}  // namespace alcca
