#pragma once

// What every op of the backend needs of the device.

#include "kernels/cuda/device_words/runtime.h"

namespace alcca::ALCCA_GPU {

struct DeviceContext {
  Stream stream;         // all work of the backend, in order
  DeviceBudget* budget;  // all memory of the backend
  DeviceInfo info;
  int32_t batch_tokens;  // rows of the largest step; more are computed in pieces of so many
};

}  // namespace alcca::ALCCA_GPU
