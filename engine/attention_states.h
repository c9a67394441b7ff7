#pragma once

#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/backend.h"

namespace alcca {

// Where sequences get what attention remembers of them; a Model is one (kernels/backend.h).
class AttentionStates {
 public:
  virtual ~AttentionStates() = default;
  virtual absl::StatusOr<std::unique_ptr<AttentionState>> MakeAttentionState(
      const AttentionParams& params) = 0;
  // Whether states of modes with fork_tokens can be forked.
  virtual bool forks() const { return false; }
  // If so: the backend's of these names.
  virtual int32_t FinalTokens(const AttentionState&, const AttentionParams&, int32_t) const {
    return -1;
  }
  virtual absl::StatusOr<std::unique_ptr<AttentionState>> ForkAttentionState(const AttentionFork&) {
    return absl::UnimplementedError("no forks");
  }
};

}  // namespace alcca
