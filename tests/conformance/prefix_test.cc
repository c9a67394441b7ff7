// A sequence that begins with the tokens of another one, by its pages or by a fork of its state, is
// answered bit for bit as if it had computed them.

#include "tests/conformance/attention_rig.h"

namespace alcca {
namespace {

// The first `count` tokens of `begin`, then those of `rest`.
Tokens Joined(const Tokens& begin, int32_t count, const Tokens& rest) {
  Tokens joined = rest;
  for (size_t layer = 0; layer < joined.size(); ++layer) {
    const size_t values = size_t(count) * static_cast<size_t>(rest[layer].cols);
    std::copy_n(begin[layer].values.begin(), values, joined[layer].values.begin());
  }
  return joined;
}

class PrefixConformance : public AttentionConformance {
 protected:
  static constexpr int32_t kPages = 997;

  // Rows [from, end) of a sequence.
  static Tokens Rows(const Tokens& outputs, int32_t from) {
    Tokens rows;
    for (const Host& layer : outputs) {
      rows.push_back(layer.RowRange(from, layer.rows - from));
    }
    return rows;
  }
};

TEST_P(PrefixConformance, PagesAloneRestoreTheStateThatFollowsFromThem) {
  Geometry geometry = MakeGeometry(4, 2, 16);
  geometry.layers = 2;
  const int32_t length = 90, shared = 48;
  const Tokens first = RandomTokens(geometry, length, 1);
  const Tokens second = Joined(first, shared, RandomTokens(geometry, length, 2));
  AttentionParams checked = Tree(3, 9, 2, MidTheta(first, geometry.shape));
  checked.recall_sample = 1;
  for (const AttentionParams& params :
       {Dense(), Window(20), TopK(0.2f), Alcca(3), Alcca(5, MidTheta(first, geometry.shape)),
        Tree(3, 9, 2), checked}) {
    SCOPED_TRACE(AttentionModeName(params.mode));
    Rig rig(*backend_, geometry, kPages);
    rig.RunAll(rig.Add(first, params), 40, 80);
    rig.RunAll(rig.AddSharing(0, shared, second), 17, 85);
    Rig alone(*backend_, geometry, kPages);
    alone.RunAll(alone.Add(second, params), 31, 85);
    ExpectSameBits(Rows(rig.outputs(1), shared), Rows(alone.outputs(0), shared), "shared");
    for (const Phase phase : {Phase::kPrefill, Phase::kDecode}) {
      EXPECT_EQ(rig.counters(1, phase).running_sums, alone.counters(0, phase).running_sums);
      EXPECT_EQ(rig.counters(1, phase).index_build, alone.counters(0, phase).index_build);
    }
    EXPECT_LT(rig.counters(1, Phase::kPrefill).queries, alone.counters(0, Phase::kPrefill).queries);
  }
}

struct ForkCase {
  int32_t dense_below, sinks, recent, page_tokens;
  int32_t donor;  // tokens that it has computed
  int32_t fork;   // tokens of them that are shared
};

TEST_P(PrefixConformance, ForksOfMultipole) {
  if (!backend_->forks()) {
    GTEST_SKIP() << "the device does not fork";
  }
  const std::vector<ForkCase> cases = {
      {0, 16, 64, 16, 1400, 256},      // nothing was closed at the fork, much in the donor
      {0, 16, 64, 16, 1400, 1280},     // four merged blocks and single ones
      {1000, 16, 64, 16, 1400, 768},   // before the first closing, which closes many
      {1000, 0, 300, 7, 1400, 1280},   // behind it
      {0, 16, 64, 16, 4500, 2048},     // the donor has merged all of it
      {0, 16, 64, 16, 4500, 4352},     // a final segment is shared
      {2000, 50, 1, 100, 9000, 8704},  // two of them
      {4097, 3, 200, 64, 4500, 4352},
  };
  Geometry geometry = MakeGeometry(1, 1, 8);
  geometry.layers = 2;
  for (const ForkCase& c : cases) {
    SCOPED_TRACE(c.fork);
    geometry.page_tokens = c.page_tokens;
    AttentionParams params{{.mode = AttentionMode::kMultipole}};
    params.dense_below = c.dense_below;
    params.sinks = c.sinks;
    params.recent = c.recent;
    params.mass = 0.8f;
    params.max_keys = 40;
    int32_t pages = 3 * (c.donor + 800) / c.page_tokens;
    pages += pages % 31 == 0 ? 1 : 0;
    const int32_t more = 600;
    const Tokens first = RandomTokens(geometry, c.donor + 300, 3);
    const Tokens second = Joined(first, c.fork, RandomTokens(geometry, c.fork + more, 4));
    const Tokens third = Joined(second, c.fork + 256, RandomTokens(geometry, c.fork + more, 5));
    Rig rig(*backend_, geometry, pages);
    rig.Add(first, params);
    for (int32_t done = 0; done < c.donor; done += 700) {
      rig.Step({{0, std::min(700, c.donor - done)}});
    }
    ASSERT_TRUE(rig.AddFork(0, c.fork, second));
    // Both go on, in one batch; then a fork of the fork.
    rig.Step({{0, 100}, {1, 150}});
    rig.Step({{0, 200}, {1, more - 150}});
    ASSERT_TRUE(rig.AddFork(1, c.fork + 256, third));
    rig.RunAll(2, 100, c.fork + more);
    Rig alone(*backend_, geometry, pages);
    alone.RunAll(alone.Add(first, params), 512, c.donor + 300);
    ExpectSameBits(rig.outputs(0), alone.outputs(0), "the donor");
    Rig second_alone(*backend_, geometry, pages);
    second_alone.RunAll(second_alone.Add(second, params), 512, c.fork + more);
    ExpectSameBits(Rows(rig.outputs(1), c.fork), Rows(second_alone.outputs(0), c.fork), "fork");
    Rig third_alone(*backend_, geometry, pages);
    third_alone.RunAll(third_alone.Add(third, params), 512, c.fork + more);
    ExpectSameBits(Rows(rig.outputs(2), c.fork + 256), Rows(third_alone.outputs(0), c.fork + 256),
                   "fork of the fork");
    EXPECT_EQ(rig.state(1).bytes(), second_alone.state(0).bytes());
  }
}

ALCCA_CONFORMANCE_OVER(PrefixConformance, ExactCases);

}  // namespace
}  // namespace alcca
