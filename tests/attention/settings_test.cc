#include "attention/settings.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

namespace alcca {
namespace {

using ::testing::HasSubstr;

// What a line of a list of modes says.
AttentionSettings Says(std::string_view text) {
  AttentionSettings settings;
  const absl::Status status = Add(text, &settings);
  EXPECT_TRUE(status.ok()) << status;
  return settings;
}

std::string Refusal(std::string_view text) {
  AttentionSettings settings;
  const absl::Status status = Add(text, &settings);
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << text;
  return std::string(status.message());
}

TEST(Settings, TextOfEveryKnobReadsBack) {
  for (const Knob& knob : kKnobs) {
    AttentionSettings settings, read;
    EXPECT_EQ(TextOf(knob.name, settings), std::nullopt) << knob.name;
    for (const double value : {knob.most, Default(knob)}) {
      ASSERT_TRUE(Set(knob, value, &settings).ok()) << knob.name;
      ASSERT_TRUE(Set(knob.name, *TextOf(knob.name, settings), &read).ok()) << knob.name;
      EXPECT_EQ(static_cast<float>(*read[knob]), static_cast<float>(value)) << knob.name;
    }
  }
  AttentionSettings settings;
  EXPECT_EQ(TextOf("mode", settings), std::nullopt);
  ASSERT_TRUE(Set("mode", "topk", &settings).ok());
  ASSERT_TRUE(Set("search", "tree", &settings).ok());
  EXPECT_EQ(TextOf("mode", settings), "topk");
  EXPECT_EQ(TextOf("search", settings), "tree");
}

TEST(Settings, ErrorsNameTheKnobAndLeaveTheSettings) {
  AttentionSettings settings;
  ASSERT_TRUE(Set("k", "5", &settings).ok());
  for (const auto& [name, value, says] : std::vector<std::array<const char*, 3>>{
           {"k", "0", "k: must be from 1 to 2048, is 0"},
           {"k", "2049", "k: must be from 1 to 2048, is 2049"},
           {"k", "1e3", "k: must be an integer, 1 to 2048, is '1e3'"},
           {"k", "", "k: must be an integer"},
           {"k", "99999999999999999999", "k: must be an integer"},
           {"theta", "far", "theta: must be a number, 0 to 1e+09, is 'far'"},
           {"theta", "nan", "theta: must be from 0 to 1e+09, is nan"},
           {"sparsity", "0", "sparsity: must be above 0, up to 1, is 0"},
           {"tree-recent", "-1", "tree_recent: must be from 0 to 2048, is -1"},
           {"mode", "sparse", "mode: must be one of dense, alcca, multipole, window, topk, is"},
           {"search", "", "search: must be one of exact, tree, is ''"},
           {"kk", "1", "'kk' is no attention setting"}}) {
    const absl::Status status = Set(name, value, &settings);
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << name;
    EXPECT_THAT(std::string(status.message()), HasSubstr(says));
  }
  EXPECT_EQ(TextOf("k", settings), "5");
  EXPECT_FALSE(settings.mode || settings.search);
}

TEST(Settings, OneGrammarForListsOfModes) {
  AttentionSettings said = Says("window");
  EXPECT_EQ(said.mode, AttentionMode::kWindow);
  EXPECT_FALSE(said.search);
  said = Says("tree:tree-distances=20:tree_recent=3:k=4");
  EXPECT_EQ(said.mode, AttentionMode::kAlcca);
  EXPECT_EQ(said.search, KeySearch::kTree);
  EXPECT_EQ(TextOf("tree_distances", said), "20");
  EXPECT_EQ(TextOf("tree_recent", said), "3");
  EXPECT_EQ(TextOf("k", said), "4");
  EXPECT_EQ(Says("exact").search, KeySearch::kExact);
  EXPECT_EQ(Says("exact").mode, AttentionMode::kAlcca);
  EXPECT_FALSE(Says("alcca").search) << "what those before say";
  EXPECT_EQ(Says("alcca:search=tree").search, KeySearch::kTree);
  // Over what was said before, field by field.
  ASSERT_TRUE(Add("window:window=32", &said).ok());
  EXPECT_EQ(said.mode, AttentionMode::kWindow);
  EXPECT_EQ(TextOf("window", said), "32");
  EXPECT_EQ(TextOf("k", said), "4");

  for (const char* bad : {"", "alca", "window:", "window:32", "window:width=3", "window:window=x",
                          "window:window=0", "window:mode=dense", "dense:", "tree:search=flat",
                          "tree:recall_sample=1", "Dense", "dense :k=1"}) {
    EXPECT_NE(Refusal(bad), "");
  }
  EXPECT_THAT(Refusal("alca"), HasSubstr("'alca' is no attention mode; one of dense"));
  EXPECT_THAT(Refusal("tree:recall-sample=1"),
              HasSubstr("'recall_sample' is no attention setting"));
}

TEST(Resolve, NobodySpeaksTheDefaultsHold) {
  const AttentionParams none = Resolve({});
  const AttentionSettings silent;
  const AttentionParams silence = Resolve({&silent, &silent});
  for (const Knob& knob : kKnobs) {
    EXPECT_EQ(Get(knob, none), Default(knob));
    EXPECT_EQ(Get(knob, silence), Default(knob));
  }
  EXPECT_EQ(none.mode, AttentionMode::kDense);
  EXPECT_EQ(none.search, KeySearch::kExact);
  EXPECT_EQ(none.head_theta, nullptr);
}

TEST(Resolve, TheLaterSpeakerGoesFirstKnobByKnob) {
  const AttentionSettings model = Says("window:window=12:sparsity=0.25:theta=2:sinks=0");
  const AttentionSettings configuration = Says("topk:window=3:theta=0");  // 0 is a value
  const AttentionSettings request = Says("tree:window=4");
  const AttentionParams models = Resolve({&model});
  EXPECT_EQ(models.mode, AttentionMode::kWindow);
  EXPECT_EQ(models.window, 12);
  EXPECT_EQ(models.sparsity, 0.25f);
  EXPECT_EQ(models.theta, 2.0f);
  const AttentionParams configured = Resolve({&model, &configuration});
  EXPECT_EQ(configured.mode, AttentionMode::kTopK);
  EXPECT_EQ(configured.window, 3);
  EXPECT_EQ(configured.sparsity, 0.25f);
  EXPECT_EQ(configured.theta, 0.0f);
  EXPECT_EQ(configured.sinks, 0) << "of which the configuration says nothing";
  AttentionParams asked = Resolve({&model, &configuration, &request});
  EXPECT_EQ(asked.mode, AttentionMode::kAlcca);
  EXPECT_EQ(asked.search, KeySearch::kTree);
  EXPECT_EQ(asked.window, 4);
  EXPECT_EQ(asked.sinks, 0);
}

// A number holds for every head: it ends the tables, and near_share with theta's.
TEST(Resolve, ANumberClearsItsTable) {
  AttentionSettings model = Says("alcca:near_share=0.5");
  model.head_theta = std::make_shared<const std::vector<float>>(4, 1.0f);
  model.head_k = std::make_shared<const std::vector<int32_t>>(4, 3);
  const AttentionSettings other = Says("alcca:epsilon=0.5"), k = Says("alcca:k=9"),
                          theta = Says("alcca:theta=2"),
                          both = Says("alcca:near_share=0.75:theta=2");
  AttentionParams got = Resolve({&model, &other});
  EXPECT_EQ(got.head_theta, model.head_theta);
  EXPECT_EQ(got.head_k, model.head_k);
  EXPECT_EQ(got.near_share, 0.5f);
  EXPECT_EQ(DescribeAttention(got), "alcca k=per-head near_share=0.5 epsilon=0.5");
  got = Resolve({&model, &k});
  EXPECT_EQ(got.head_k, nullptr);
  EXPECT_EQ(got.k, 9);
  EXPECT_EQ(got.head_theta, model.head_theta);
  got = Resolve({&model, &theta});
  EXPECT_EQ(got.head_theta, nullptr);
  EXPECT_EQ(got.near_share, 0);
  EXPECT_EQ(got.head_k, model.head_k);
  EXPECT_EQ(DescribeAttention(got), "alcca k=per-head theta=2 epsilon=1e-08");
  EXPECT_EQ(Resolve({&model, &both}).near_share, 0.75f) << "in whichever order it is said";
}

TEST(Resolve, NewestKeysGiveWayToDistances) {
  const AttentionSettings few = Says("tree:tree_distances=5"), many = Says("tree:tree_recent=20");
  EXPECT_EQ(Resolve({&few}).tree_recent, 5);
  EXPECT_EQ(Resolve({&many}).tree_recent, 11);
  EXPECT_EQ(Resolve({&many, &few}).tree_recent, 5);
  // The last speaker is told, not corrected.
  EXPECT_TRUE(CheckAsked(few, Resolve({&many, &few}), 0).ok());
  EXPECT_EQ(CheckAsked(many, Resolve({&few, &many}), 0).message(),
            "tree_recent: must be from 0 to 5 (tree_distances), is 20");
  const AttentionSettings multipole = Says("multipole");
  EXPECT_FALSE(CheckAsked(multipole, Resolve({&multipole}), 64).ok());
  EXPECT_FALSE(CheckAsked({}, Resolve({&multipole}), 64).ok()) << "whoever chose it";
  EXPECT_TRUE(CheckAsked(multipole, Resolve({&multipole}), 0).ok());
}

TEST(Describe, NamesWhatShapesTheResult) {
  const auto describe = [](std::string_view text) {
    const AttentionSettings settings = Says(text);
    return DescribeAttention(Resolve({&settings}));
  };
  EXPECT_EQ(describe("dense"), "dense");
  EXPECT_EQ(describe("alcca"), "alcca k=8 theta=0 epsilon=1e-08");
  EXPECT_EQ(describe("tree:k=4"),
            "alcca search=tree k=4 theta=0 epsilon=1e-08 tree_distances=11 tree_recent=6");
  EXPECT_EQ(describe("multipole:mass=0.5:max-keys=0:dense-below=1:sinks=2:recent=3"),
            "multipole mass=0.5 max_keys=0 dense_below=1 sinks=2 recent=3");
  EXPECT_EQ(describe("window:window=1048576"), "window window=1048576");
  EXPECT_EQ(describe("topk"), "topk sparsity=0.1");
}

}  // namespace
}  // namespace alcca
