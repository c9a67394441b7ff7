#pragma once

// absl::Status (whose codes are gRPC's) to gRPC, with the details that clients act on.

#include <grpcpp/grpcpp.h>

#include <string_view>

#include "absl/status/status.h"

namespace alcca {

// INVALID_ARGUMENT about one field of the request: "<field>: <rule>".
absl::Status FieldError(std::string_view field, std::string_view rule);

// `status`, RESOURCE_EXHAUSTED, of a call that may be tried again. Adds the trailer that gRPC's own
// retry obeys.
absl::Status QueueFull(absl::Status status, grpc::CallbackServerContext* context);

// Adds google.rpc.BadRequest where FieldError named a field, google.rpc.RetryInfo to QueueFull's.
grpc::Status ToGrpc(const absl::Status& status);

}  // namespace alcca
