// What both runtimes share: who owns memory, and how much of it.

#include "kernels/cuda/device_words/runtime.h"

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "kernels/cuda/device_words/runtime_memory.h"

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
  }
  if (budget_ != nullptr) {
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
    return Refuse(bytes, what);
  }
  array.bytes_ = rounded;
  array.budget_ = this;
  used_ += rounded;
  return array;
}

absl::StatusOr<DeviceArray> DeviceBudget::Reserve(size_t bytes, std::string_view what) {
  if (bytes > limit_ - used_) {
    return Refuse(bytes, what);
  }
  DeviceArray array;
  array.bytes_ = bytes;
  array.budget_ = this;
  used_ += bytes;
  return array;
}

absl::Status DeviceBudget::Refuse(size_t bytes, std::string_view what) const {
  return absl::ResourceExhaustedError(absl::StrCat(
      "no device memory for ", std::string(what), ": ", bytes, " bytes wanted, ", limit_ - used_,
      " of ", limit_, " left of the budget (fewer KV pages or smaller weights would fit)"));
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
