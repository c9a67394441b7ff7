#include "server/api/status.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <string>

#include "alcca/v1/inference.grpc.pb.h"
#include "google/rpc/error_details.pb.h"

namespace alcca {
namespace {

using ::testing::HasSubstr;

google::rpc::Status Details(const grpc::Status& status) {
  google::rpc::Status details;
  EXPECT_TRUE(details.ParseFromString(status.error_details()));
  return details;
}

TEST(Status, CodesAndTextAreTheSameOnBothSides) {
  for (int code = 1; code <= 16; ++code) {
    const grpc::Status status = ToGrpc(absl::Status(static_cast<absl::StatusCode>(code), "why"));
    EXPECT_EQ(static_cast<int>(status.error_code()), code);
    EXPECT_EQ(status.error_message(), "why");
    EXPECT_EQ(status.error_details(), "");
  }
  EXPECT_TRUE(ToGrpc(absl::OkStatus()).ok());
}

TEST(Status, FieldErrorIsABadRequestForMachines) {
  const absl::Status error = FieldError("sampling_params.top_p", "must be above 0");
  EXPECT_TRUE(absl::IsInvalidArgument(error));
  EXPECT_EQ(error.message(), "sampling_params.top_p: must be above 0");

  const grpc::Status status = ToGrpc(error);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(status.error_message(), error.message());
  // Clients that read grpc-status-details-bin compare it with the status itself.
  const google::rpc::Status details = Details(status);
  EXPECT_EQ(details.code(), static_cast<int>(status.error_code()));
  EXPECT_EQ(details.message(), status.error_message());
  ASSERT_EQ(details.details_size(), 1);
  EXPECT_EQ(details.details(0).type_url(), "type.googleapis.com/google.rpc.BadRequest");
  google::rpc::BadRequest bad;
  ASSERT_TRUE(details.details(0).UnpackTo(&bad));
  ASSERT_EQ(bad.field_violations_size(), 1);
  EXPECT_EQ(bad.field_violations(0).field(), "sampling_params.top_p");
  EXPECT_THAT(bad.field_violations(0).description(), HasSubstr("must be above 0"));
}

// BadRequest's field is a path; what is measured about it is for people.
TEST(Status, FieldIsAPathWithoutRemarks) {
  const absl::Status error = FieldError("sampling_params.stop (count)", "too many");
  EXPECT_EQ(error.message(), "sampling_params.stop (count): too many");
  google::rpc::BadRequest bad;
  ASSERT_TRUE(Details(ToGrpc(error)).details(0).UnpackTo(&bad));
  EXPECT_EQ(bad.field_violations(0).field(), "sampling_params.stop");
}

class FullService final : public v1::Inference::CallbackService {
 public:
  grpc::ServerUnaryReactor* GetLoads(grpc::CallbackServerContext* context,
                                     const v1::GetLoadsRequest*, v1::GetLoadsResponse*) override {
    auto* reactor = context->DefaultReactor();
    reactor->Finish(ToGrpc(QueueFull(absl::ResourceExhaustedError("queue is full"), context)));
    return reactor;
  }
};

TEST(Status, QueueFullTellsClientsWhenToRetry) {
  FullService service;
  int port = 0;
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(&service);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  ASSERT_NE(server, nullptr);
  const auto stub = v1::Inference::NewStub(
      grpc::CreateChannel("127.0.0.1:" + std::to_string(port), grpc::InsecureChannelCredentials()));
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(60));
  v1::GetLoadsResponse response;
  const grpc::Status status = stub->GetLoads(&context, {}, &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(status.error_message(), "queue is full");

  const google::rpc::Status details = Details(status);
  EXPECT_EQ(details.code(), static_cast<int>(status.error_code()));
  ASSERT_EQ(details.details_size(), 1);
  google::rpc::RetryInfo retry;
  ASSERT_TRUE(details.details(0).UnpackTo(&retry));
  const auto& trailers = context.GetServerTrailingMetadata();
  const auto pushback = trailers.find("grpc-retry-pushback-ms");
  ASSERT_NE(pushback, trailers.end());
  const std::string milliseconds(pushback->second.data(), pushback->second.size());
  EXPECT_GT(std::stoi(milliseconds), 0);
  EXPECT_EQ(retry.retry_delay().seconds() * 1000 + retry.retry_delay().nanos() / 1000000,
            std::stoi(milliseconds));
}

}  // namespace
}  // namespace alcca
