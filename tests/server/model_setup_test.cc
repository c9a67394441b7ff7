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

TEST(ModelSetup, TheConfigurationsWordOnAttentionGoesBeforeTheModels) {
  const AttentionParams none = DefaultAttention({}, {}), built_in;
  EXPECT_EQ(none.window, built_in.window);
  EXPECT_EQ(none.sparsity, built_in.sparsity);
  EXPECT_EQ(none.k, built_in.k);
  EXPECT_EQ(none.recent, built_in.recent);

  AlccaConfig model;
  model.mode = "window";
  model.window = 12;
  model.sparsity = 0.25f;
  model.theta = 2.0f;
  model.sinks = 0;
  const AttentionParams models = DefaultAttention({}, model);
  EXPECT_EQ(models.mode, AttentionMode::kWindow);
  EXPECT_EQ(models.window, 12);
  EXPECT_EQ(models.sparsity, 0.25f);
  EXPECT_EQ(models.theta, 2.0f);
  EXPECT_EQ(models.sinks, 0);

  ServerConfig config;
  config.attention_mode = "topk";
  config.attention_window = 3;
  config.attention_sparsity = 0.5;
  config.attention_theta = 0;  // a value, not silence
  const AttentionParams configured = DefaultAttention(config, model);
  EXPECT_EQ(configured.mode, AttentionMode::kTopK);
  EXPECT_EQ(configured.window, 3);
  EXPECT_EQ(configured.sparsity, 0.5f);
  EXPECT_EQ(configured.theta, 0.0f);
  EXPECT_EQ(configured.sinks, 0) << "of which the configuration says nothing";
}

}  // namespace
}  // namespace alcca
