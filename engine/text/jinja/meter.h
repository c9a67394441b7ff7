#pragma once

// What one rendering may cost. A template is a file from outside and a conversation is a client's,
// so steps, memory, depth and output are counted, and the first limit that is passed ends it.

#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace alcca::jinja {

struct Limits {
  uint64_t steps = 2'000'000;            // Expressions, statements and values visited.
  uint64_t bytes = uint64_t{256} << 20;  // Of all values ever made; never given back.
  size_t output_bytes = size_t{32} << 20;
  int depth = 200;  // Of nested expressions, statements and macro calls.
};

// Lists in lists, dicts in dicts.
inline constexpr int kMaxNesting = 128;

class Meter {
 public:
  explicit Meter(const Limits& limits) : limits_(limits) {}

  absl::Status Step(uint64_t steps = 1) {
    steps_ += steps;
    if (steps_ > limits_.steps || steps > limits_.steps) {
      return absl::ResourceExhaustedError(
          absl::StrCat("needs more than ", limits_.steps, " steps"));
    }
    return absl::OkStatus();
  }
  // Called before the memory is taken. Bytes are also time, at 1 step per 256.
  absl::Status Take(uint64_t bytes) {
    bytes_ += bytes;
    if (bytes_ > limits_.bytes || bytes > limits_.bytes) {
      return absl::ResourceExhaustedError(
          absl::StrCat("needs more than ", limits_.bytes, " bytes"));
    }
    return Step(bytes / 256);
  }
  const Limits& limits() const { return limits_; }

 private:
  const Limits limits_;
  uint64_t steps_ = 0;
  uint64_t bytes_ = 0;
};

}  // namespace alcca::jinja
