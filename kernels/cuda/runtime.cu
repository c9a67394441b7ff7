// What both runtimes share: who owns memory, and how much of it.

#include "kernels/cuda/runtime.h"

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "kernels/check.h"
#include "kernels/cuda/runtime_memory.h"

namespace alcca::ALCCA_GPU {

DeviceArray& DeviceArray::operator=(DeviceArray&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  std::swap(budget_, other.budget_);
  return *this;
}

DeviceArray::~DeviceArray() {
  if (data_ != nullptr) {
    FreeDevice(data_);
    budget_->used_ -= bytes_;
  }
}

absl::StatusOr<DeviceArray> DeviceBudget::Allocate(size_t bytes, std::string_view what) {
  ALCCA_CHECK(bytes > 0);
  const size_t rounded = (bytes + 255) / 256 * 256;
  DeviceArray array;
  if (rounded <= limit_ - used_) {
    array.data_ = AllocateDevice(bytes);
  }
  if (array.data_ == nullptr) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "no device memory for ", std::string(what), ": ", bytes, " bytes wanted, ", limit_ - used_,
        " of ", limit_, " left of the budget (fewer KV pages or smaller weights would fit)"));
  }
  array.bytes_ = rounded;
  array.budget_ = this;
  used_ += rounded;
  return array;
}

PinnedArray& PinnedArray::operator=(PinnedArray&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

PinnedArray::~PinnedArray() {
  if (data_ != nullptr) {
    FreePinned(data_);
  }
}

absl::StatusOr<PinnedArray> PinnedArray::Allocate(size_t bytes) {
  PinnedArray array;
  array.data_ = AllocatePinned(bytes);
  if (array.data_ == nullptr) {
    return absl::ResourceExhaustedError(
        absl::StrCat("no page-locked memory: ", bytes, " bytes wanted"));
  }
  array.bytes_ = bytes;
  return array;
}

}  // namespace alcca::ALCCA_GPU
