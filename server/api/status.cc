#include "server/api/status.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "google/rpc/error_details.pb.h"

namespace alcca {
namespace {

constexpr char kFieldPayload[] = "alcca/field";
constexpr char kRetryPayload[] = "alcca/retry";
constexpr int kRetrySeconds = 1;

grpc::Status WithDetails(const absl::Status& status, const google::protobuf::Message& detail) {
  google::rpc::Status details;
  details.set_code(static_cast<int>(status.code()));
  details.set_message(std::string(status.message()));
  details.add_details()->PackFrom(detail);
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()), std::string(status.message()),
                      details.SerializeAsString());
}

}  // namespace

absl::Status FieldError(std::string_view field, std::string_view rule) {
  absl::Status status =
      absl::InvalidArgumentError(absl::StrCat(std::string(field), ": ", std::string(rule)));
  // The path alone: "stop (count)" is about stop.
  status.SetPayload(kFieldPayload, absl::Cord(std::string(field.substr(0, field.find(' ')))));
  return status;
}

absl::Status QueueFull(absl::Status status, grpc::CallbackServerContext* context) {
  context->AddTrailingMetadata("grpc-retry-pushback-ms", std::to_string(kRetrySeconds * 1000));
  status.SetPayload(kRetryPayload, absl::Cord());
  return status;
}

grpc::Status ToGrpc(const absl::Status& status) {
  if (const auto field = status.GetPayload(kFieldPayload); field.has_value()) {
    google::rpc::BadRequest bad;
    auto* violation = bad.add_field_violations();
    violation->set_field(std::string(*field));
    violation->set_description(std::string(status.message()));
    return WithDetails(status, bad);
  }
  if (status.GetPayload(kRetryPayload).has_value()) {
    google::rpc::RetryInfo retry;
    retry.mutable_retry_delay()->set_seconds(kRetrySeconds);
    return WithDetails(status, retry);
  }
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()), std::string(status.message()));
}

}  // namespace alcca
