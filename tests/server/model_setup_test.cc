// What a daemon finds wrong before it loads a model.

#include "server/model_setup.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "tests/testing/checkpoint_writer.h"

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

// The embedded model with other words in its config.json and alcca.json.
class SpoiltModel {
 public:
  SpoiltModel(const std::string& config_line, const std::string& attention) {
    for (const auto& entry : std::filesystem::directory_iterator(ALCCA_MODEL_DIR)) {
      const std::string name = entry.path().filename();
      if (name != "config.json" && name != "alcca.json") {
        std::filesystem::create_symlink(entry.path(), dir_.path() + "/" + name);
      }
    }
    std::ifstream file(ALCCA_MODEL_DIR "/config.json");
    std::string config{std::istreambuf_iterator<char>(file), {}};
    config.replace(
        config.find("\"sliding_window\""),
        config.find(',', config.find("\"sliding_window\"")) - config.find("\"sliding_window\""),
        config_line);
    dir_.Write("config.json", config);
    dir_.Write("alcca.json", attention);
  }
  std::string dir() const { return dir_.path(); }

 private:
  testing::TempDir dir_;
};

TEST(ModelSetup, TheConfigurationsWordOnAttentionGoesBeforeTheModels) {
  const SpoiltModel model("\"sliding_window\": null",
                          R"({"mode": "window", "window": 12, "sparsity": 0.25, "sinks": 0})");
  ServerConfig config = OnCpu();
  config.model = model.dir();
  const auto models = PlanModel(config);
  ASSERT_TRUE(models.ok()) << models.status();
  EXPECT_EQ(models->attention.mode, AttentionMode::kWindow);
  EXPECT_EQ(models->attention.window, 12);
  EXPECT_EQ(models->attention.recent, AttentionParams().recent);
  ASSERT_TRUE(Add("topk:window=3:sparsity=0.5", &config.attention).ok());
  ASSERT_TRUE(Set("recall_sample", "0.5", &config.attention).ok());
  const auto configured = PlanModel(config);
  ASSERT_TRUE(configured.ok()) << configured.status();
  EXPECT_EQ(configured->attention.mode, AttentionMode::kTopK);
  EXPECT_EQ(configured->attention.window, 3);
  EXPECT_EQ(configured->attention.sparsity, 0.5f);
  EXPECT_EQ(configured->attention.recall_sample, 0.5f);
  EXPECT_EQ(configured->attention.sinks, 0) << "of which the configuration says nothing";
}

// In the words that a request gets, whether the file or the configuration chose it.
TEST(ModelSetup, MultipoleDoesNotServeASlidingWindow) {
  for (const bool by_the_file : {false, true}) {
    const SpoiltModel model("\"sliding_window\": 64",
                            by_the_file ? R"({"mode": "multipole"})" : "{}");
    ServerConfig config = OnCpu();
    config.model = model.dir();
    if (!by_the_file) {
      config.attention.mode = AttentionMode::kMultipole;
    }
    const absl::Status status = PlanModel(config).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
    const std::string words(CheckSlidingWindow(AttentionMode::kMultipole, 64).message());
    EXPECT_NE(status.message().find("attention." + words), std::string_view::npos) << status;
    config.attention.mode = AttentionMode::kDense;
    EXPECT_TRUE(PlanModel(config).ok()) << "the configuration has the last word";
  }
}

}  // namespace
}  // namespace alcca
