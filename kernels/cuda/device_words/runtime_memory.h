#pragma once

// The allocators below DeviceBudget and PinnedArray; nothing else calls them.

#include <cstddef>

#include "kernels/cuda/device_words/simt.h"

namespace alcca::ALCCA_GPU {

void* AllocateDevice(size_t bytes);  // null: none left
void FreeDevice(void* data);         // waits for work that uses it
void* AllocatePinned(size_t bytes);  // null: none left
void FreePinned(void* data);

}  // namespace alcca::ALCCA_GPU
