#pragma once

// absl::Status (whose codes are gRPC's) to gRPC, with the details that clients act on.

#include <grpcpp/grpcpp.h>

#include <string_view>

#include "absl/status/status.h"

namespace alcca {

// INVALID_ARGUMENT about one field of the request: "<field>: <rule>".
absl::Status FieldError(std::string_view field, std::string_view rule);

// Adds google.rpc.BadRequest where FieldError named a field.
grpc::Status ToGrpc(const absl::Status& status);

// RESOURCE_EXHAUSTED with google.rpc.RetryInfo, and the trailer that gRPC's own retry obeys.
grpc::Status QueueFull(const absl::Status& status, grpc::CallbackServerContext* context);

}  // namespace alcca
