// What a daemon finds wrong before it loads a model.

#include "server/model_setup.h"

#include <gtest/gtest.h>

#include <string>

namespace alcca {
namespace {

ServerConfig OnCpu() {
  ServerConfig config;
  config.model = ALCCA_MODEL_DIR;
  config.device = "cpu";
  return config;
}

TEST(ModelSetup, ExactSearchOfTheCardIsRefusedOnTheCpu) {
  ServerConfig config = OnCpu();
  EXPECT_TRUE(PlanModel(config).ok()) << PlanModel(config).status();
  config.exact_search = "faiss";
  const absl::Status status = PlanModel(config).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  for (const char* part : {"exact_search", "leave exact_search out", "--device cuda"}) {
    EXPECT_NE(status.message().find(part), std::string_view::npos) << part << ": " << status;
  }
}

TEST(ModelSetup, Fp8IsRefusedOnTheCpu) {
  ServerConfig config = OnCpu();
  config.weight_dtype = "fp8";
  const absl::Status status = PlanModel(config).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  for (const char* part : {"weight_dtype", "take int8", "--device cuda"}) {
    EXPECT_NE(status.message().find(part), std::string_view::npos) << part << ": " << status;
  }
}

}  // namespace
}  // namespace alcca
