// Sampling, against the reference.
//
// Adjusted logits are the same bits everywhere, so greedy choices, top_k, min_p and rankings are
// compared exactly. Weights are rounded, so a draw may fall to the neighbour where `uniform` lies
// within kSlack of a border between two tokens, and top_p may keep one token more or less where a
// share comes that near to it. Admissible says which tokens that leaves: nearly always one.

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "kernels/reference/sampling_reference.h"
#include "tests/conformance/backends.h"

namespace alcca {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr double kSlack = 1e-6;
constexpr int32_t kPromptMax = 50000;

// A row's lists and what it asks of them.
struct Asked {
  std::vector<int32_t> prompt, output, masked;
  std::vector<std::pair<int32_t, float>> bias;
  std::vector<uint32_t> allowed;
  SamplingRow row;

  SamplingRow get() const {
    SamplingRow r = row;
    r.prompt = prompt;
    r.output = output;
    r.masked = masked;
    r.bias = bias;
    r.allowed = allowed;
    return r;
  }
};

std::vector<int32_t> RandomIds(std::mt19937& random, int32_t vocab, size_t count) {
  std::vector<int32_t> ids(count);
  for (int32_t& id : ids) {
    id = static_cast<int32_t>(random() % static_cast<uint32_t>(vocab));
  }
  return ids;
}

// Of each token with probability 1/2 or 1/16, and of three at least: RandomAsked masks two.
std::vector<uint32_t> RandomAllowed(std::mt19937& random, int32_t vocab) {
  std::vector<uint32_t> words(MaskWords(vocab));
  const bool sparse = random() % 2 == 0;
  for (uint32_t& word : words) {
    word = sparse ? random() & random() & random() & random() : random();
  }
  for (int i = 0, first = static_cast<int>(random() % static_cast<uint32_t>(vocab)); i < 3; ++i) {
    const auto token = static_cast<size_t>((first + i) % vocab);
    words[token / 32] |= uint32_t{1} << (token % 32);
  }
  return words;
}

double Uniform(std::mt19937& random) {
  return (static_cast<double>(random()) + random() * 0x1p-32) * 0x1p-32;
}

Asked RandomAsked(std::mt19937& random, int32_t vocab) {
  const auto pick = [&](std::initializer_list<float> values) {
    return values.begin()[random() % values.size()];
  };
  Asked a;
  a.row = {.temperature = pick({0.1f, 0.7f, 1.0f, 1.0f, 2.5f, 0.0f}),
           .top_k = static_cast<int32_t>(pick({0, 0, 1, 2, 40, 1000000})),
           .top_p = pick({1.0f, 1.0f, 0.95f, 0.9f, 0.5f, 1e-6f}),
           .min_p = pick({0.0f, 0.0f, 0.05f, 0.3f, 1.0f}),
           .repetition_penalty = pick({1.0f, 1.0f, 1.2f, 0.8f}),
           .presence_penalty = pick({0.0f, 0.0f, 1.5f, -2.0f}),
           .frequency_penalty = pick({0.0f, 0.0f, 0.3f, -0.5f}),
           .uniform = Uniform(random),
           .top_logprobs = static_cast<int32_t>(pick({-1, -1, 0, 1, 5, 20}))};
  a.prompt = RandomIds(random, vocab, random() % 20);
  a.output = RandomIds(random, vocab, random() % 12);
  if (vocab > 4 && random() % 2 == 0) {
    a.masked = RandomIds(random, vocab, 1 + random() % 2);
  }
  if (random() % 2 == 0) {
    a.bias = {{static_cast<int32_t>(random() % static_cast<uint32_t>(vocab)), 5.0f}};
    if (vocab > 4) {
      a.bias.emplace_back((a.bias[0].first + 1) % vocab, -100.0f);
    }
  }
  if (random() % 3 == 0) {
    a.allowed = RandomAllowed(random, vocab);
  }
  return a;
}

// Every result holds what no row gives, so that one that is forgotten is seen.
std::vector<SampledRow> SampleAll(Backend& backend, const Host& logits,
                                  const std::vector<SamplingRow>& rows) {
  const SampledRow poison = {.failed = true,
                             .choice = {.token = -7, .logprob = kNan, .top = {{-3, kNan}}}};
  std::vector<SampledRow> results(rows.size(), poison);
  const auto x = Upload(backend, logits);
  backend.BeginStep({});
  backend.Sample(results, x->view(), rows);
  backend.EndStep({});
  ExpectSameBits(Download(backend, x->view()), logits, "logits after Sample");
  return results;
}

SampledRow RunOne(Backend& backend, const std::vector<float>& logits, const SamplingRow& row) {
  Host host(1, static_cast<int32_t>(logits.size()));
  host.values = logits;
  return SampleAll(backend, host, {row})[0];
}

// The tokens that may be drawn: see above.
std::set<int32_t> Admissible(std::span<const float> logits, SamplingRow row) {
  std::set<int32_t> tokens;
  const float top_p = row.top_p;
  for (const double factor : {1.0, 1.0 - kSlack, 1.0 + kSlack}) {
    row.top_p = top_p < 1 ? std::min(1.0f, static_cast<float>(top_p * factor)) : top_p;
    double upto = 0;
    const std::vector<double> shares = DistributionReference(logits, row);
    for (size_t id = 0; id < shares.size(); ++id) {
      const double before = upto;
      upto += shares[id];
      if (shares[id] > 0 && row.uniform >= before - kSlack && row.uniform <= upto + kSlack) {
        tokens.insert(static_cast<int32_t>(id));
      }
    }
  }
  return tokens;
}

// True if it is the reference's own token.
bool ExpectAsReference(Backend& reference, std::span<const float> logits, const SamplingRow& row,
                       const SampledRow& actual, const std::string& what) {
  const std::vector<float> values(logits.begin(), logits.end());
  const SampledRow expected = RunOne(reference, values, row);
  EXPECT_EQ(actual.failed, expected.failed) << what;
  if (expected.failed || actual.failed) {
    return true;
  }
  const bool same = actual.choice.token == expected.choice.token;
  EXPECT_TRUE(same || Admissible(logits, row).contains(actual.choice.token))
      << what << ": drew " << actual.choice.token << ", expected " << expected.choice.token;
  if (!row.wants_logprobs()) {
    EXPECT_EQ(actual.choice.logprob, 0) << what;
    EXPECT_TRUE(actual.choice.top.empty()) << what;
    return same;
  }
  SamplingRow scored = row;
  scored.scored = actual.choice.token;
  const TokenLogprob wanted = RunOne(reference, values, scored).choice;
  const auto near = [&](float value, float exact) {
    return value == exact || std::abs(value - exact) <= 4e-7f * (std::abs(exact) + 8);
  };
  EXPECT_TRUE(near(actual.choice.logprob, wanted.logprob))
      << what << ": " << actual.choice.logprob << ", expected " << wanted.logprob;
  EXPECT_EQ(actual.choice.top.size(), wanted.top.size()) << what;
  for (size_t i = 0; i < std::min(wanted.top.size(), actual.choice.top.size()); ++i) {
    EXPECT_EQ(actual.choice.top[i].first, wanted.top[i].first) << what << ", alternative " << i;
    EXPECT_TRUE(near(actual.choice.top[i].second, wanted.top[i].second)) << what;
  }
  return same;
}

// One instruction set does for the CPU: sampling is compiled for none in particular.
std::vector<BackendCase> SamplingCases() {
  std::vector<BackendCase> cases = BackendCases();
  std::erase_if(cases, [](const BackendCase& c) { return !c.is_cuda() && c.isa != "portable"; });
  return cases;
}

class SamplingConformance : public ConformanceTest {
 protected:
  // Few rows, so that larger calls are cut up.
  SamplingConformance()
      : ConformanceTest({.rows = 16,
                         .vocab = 131072,
                         .row_ids = kPromptMax,
                         .row_alternatives = 600,
                         .constrained = 1}) {}
};

TEST_P(SamplingConformance, RandomRowsAreTheReferences) {
  std::mt19937 random(3);
  int rows = 0, same = 0;
  for (const int32_t vocab : {1, 2, 31, 64, 513, 4096, 32000}) {
    const int32_t most = vocab < 4096 ? 60 : vocab < 32000 ? 40 : 10;
    const int32_t count = GetParam().is_emulated() ? most / 2 : most;
    const Host logits = RandomHost(count, vocab, static_cast<uint64_t>(vocab), 3.0f);
    std::vector<Asked> asked;
    std::vector<SamplingRow> sampling;
    for (int32_t i = 0; i < count; ++i) {
      asked.push_back(RandomAsked(random, vocab));
    }
    for (const Asked& a : asked) {
      sampling.push_back(a.get());
    }
    const std::vector<SampledRow> results = SampleAll(*backend_, logits, sampling);
    for (int32_t i = 0; i < count; ++i) {
      const std::string what = std::to_string(vocab) + " tokens, row " + std::to_string(i);
      const auto at = static_cast<size_t>(i);
      same += ExpectAsReference(*reference_, logits.RowRange(i, 1).values, sampling[at],
                                results[at], what)
                  ? 1
                  : 0;
      ++rows;
    }
  }
  EXPECT_GE(same, rows - 2);
}

// Draws at both ends of every token's part of [0, 1): what is drawn is the whole distribution.
TEST_P(SamplingConformance, TheWholeDistributionIsTheReferences) {
  std::mt19937 random(4);
  const int cases = GetParam().is_emulated() ? 6 : 60;
  for (const int32_t vocab : {5, 61, 333}) {
    for (int i = 0; i < cases; ++i) {
      const Host row = RandomHost(1, vocab, random(), 3.0f);
      Asked asked = RandomAsked(random, vocab);
      asked.row.top_logprobs = -1;
      std::vector<SamplingRow> draws;
      std::vector<int32_t> expected;
      double upto = 0;
      const std::vector<double> shares = DistributionReference(row.values, asked.get());
      for (size_t id = 0; id < shares.size(); ++id) {
        for (const double at : {upto + kSlack, upto + shares[id] - kSlack}) {
          if (shares[id] > 4 * kSlack) {
            draws.push_back(asked.get());
            draws.back().uniform = at;
            expected.push_back(static_cast<int32_t>(id));
          }
        }
        upto += shares[id];
      }
      Host logits(static_cast<int32_t>(draws.size()), vocab);
      for (size_t d = 0; d < draws.size(); ++d) {
        std::copy(row.values.begin(), row.values.end(),
                  logits.values.begin() + static_cast<int64_t>(d) * vocab);
      }
      const std::vector<SampledRow> results = SampleAll(*backend_, logits, draws);
      for (size_t d = 0; d < draws.size(); ++d) {
        ASSERT_FALSE(results[d].failed);
        ASSERT_TRUE(results[d].choice.token == expected[d] ||
                    Admissible(row.values, draws[d]).contains(results[d].choice.token))
            << vocab << " tokens, case " << i << ", at " << draws[d].uniform << ": drew "
            << results[d].choice.token << ", expected " << expected[d];
      }
    }
  }
}

TEST_P(SamplingConformance, GreedyTakesTheLowestOfEquals) {
  for (const float temperature : {0.0f, 0.9e-5f}) {
    const auto draw = [&](const std::vector<float>& logits) {
      return RunOne(*backend_, logits, {.temperature = temperature}).choice.token;
    };
    EXPECT_EQ(draw({0, 3, -1, 3, 3}), 1);
    EXPECT_EQ(draw({-kInf, -kInf, -7, -kInf, -9}), 2);
    EXPECT_EQ(draw({-1, -0.0f, 0.0f}), 1);
    std::vector<float> many(5000, -2.5f);
    many[4321] = many[1234] = 7;
    EXPECT_EQ(draw(many), 1234);
  }
}

// The tokens that 32 draws spread over [0, 1) find.
std::set<int32_t> Drawn(Backend& backend, const std::vector<float>& logits, SamplingRow row) {
  constexpr int32_t kDraws = 32;
  Host host(kDraws, static_cast<int32_t>(logits.size()));
  std::vector<SamplingRow> rows;
  for (int32_t i = 0; i < kDraws; ++i) {
    std::copy(logits.begin(), logits.end(), &host.at(i, 0));
    row.uniform = (i + 0.5) / kDraws;
    rows.push_back(row);
  }
  std::set<int32_t> tokens;
  for (const SampledRow& result : SampleAll(backend, host, rows)) {
    EXPECT_FALSE(result.failed);
    tokens.insert(result.choice.token);
  }
  return tokens;
}

TEST_P(SamplingConformance, FiltersKeepWhatTheySay) {
  using Tokens = std::set<int32_t>;
  const std::vector<float> ties = {1, 4, 1, 3.5, 3.5};
  Backend& b = *backend_;
  EXPECT_EQ(Drawn(b, ties, {.temperature = 1, .top_k = 2}), (Tokens{1, 3, 4}));
  EXPECT_EQ(Drawn(b, ties, {.temperature = 1, .top_k = 1}), (Tokens{1}));
  EXPECT_EQ(Drawn(b, ties, {.temperature = 9, .top_k = 5}), (Tokens{0, 1, 2, 3, 4}));
  // Of equals top_p takes the lowest ids, as many as it needs.
  const std::vector<float> equal(10, -3.0f);
  EXPECT_EQ(Drawn(b, equal, {.temperature = 1, .top_p = 0.5f}), (Tokens{0, 1, 2, 3, 4}));
  EXPECT_EQ(Drawn(b, equal, {.temperature = 1, .top_p = 0.51f}), (Tokens{0, 1, 2, 3, 4, 5}));
  EXPECT_EQ(Drawn(b, equal, {.temperature = 1, .top_p = 1e-9f}), (Tokens{0}));
  EXPECT_EQ(Drawn(b, equal, {.temperature = 1}).size(), 10u);
  EXPECT_EQ(Drawn(b, ties, {.temperature = 1, .top_p = 0.6f}), (Tokens{1, 3}));
  // top_p is of what top_k left; min_p is relative to the best.
  EXPECT_EQ(Drawn(b, {2, 2, 2, 2, 2.1f}, {.temperature = 1, .top_k = 1, .top_p = 0.99f}),
            (Tokens{4}));
  EXPECT_EQ(Drawn(b, ties, {.temperature = 1, .min_p = 0.6f}), (Tokens{1, 3, 4}));
  EXPECT_EQ(Drawn(b, ties, {.temperature = 1, .min_p = 0.61f}), (Tokens{1}));
  EXPECT_EQ(Drawn(b, {5, 1, 5}, {.temperature = 1, .min_p = 1}), (Tokens{0, 2}));
  // A weight that rounds to 1 is not 1.
  EXPECT_EQ(Drawn(b, {5, 4.9999995f, 5}, {.temperature = 100, .min_p = 1}), (Tokens{0, 2}));
  EXPECT_EQ(Drawn(b, {-kInf, 0, -kInf, 0, -kInf}, {.temperature = 1}), (Tokens{1, 3}));
}

TEST_P(SamplingConformance, TemperatureIsAtLeastAHundredth) {
  const double share = std::exp(-1.0) / (1 + std::exp(-1.0));  // of the first of two
  for (const double off : {-1e-5, 1e-5}) {
    EXPECT_EQ(RunOne(*backend_, {0.0f, 0.01f}, {.temperature = 1e-4f, .uniform = share + off})
                  .choice.token,
              off < 0 ? 0 : 1);
  }
}

TEST_P(SamplingConformance, BiasPenaltiesAndMasksInTheirOrder) {
  const std::vector<int32_t> prompt = {0, 0, 5}, output = {1, 1, 1, 5};
  const std::vector<float> logits = {4, 3.9f, 3.2f, 1, -2, 3.8f};
  const auto greedy = [&](const SamplingRow& row) {
    return RunOne(*backend_, logits, row).choice.token;
  };
  const auto penalized = [&](float repetition, float presence, float frequency) {
    return greedy({.repetition_penalty = repetition,
                   .presence_penalty = presence,
                   .frequency_penalty = frequency,
                   .prompt = prompt,
                   .output = output});
  };
  EXPECT_EQ(penalized(1, 0, 0), 0);
  EXPECT_EQ(penalized(1.5f, 0, 0), 2);      // 0, 1 and 5 divided, however often they came
  EXPECT_EQ(penalized(0.5f, 0, 0), 0);      // multiplied
  EXPECT_EQ(penalized(1, -0.3f, 0), 1);     // of the output only: 1 and 5 gain
  EXPECT_EQ(penalized(1, 0, -0.1f), 1);     // three times
  EXPECT_EQ(penalized(1.2f, 0, -0.7f), 1);  // 3.25 + 2.1
  const std::vector<std::pair<int32_t, float>> up = {{3, 3.5f}, {4, 6.1f}}, down = {{0, -1.0f}};
  EXPECT_EQ(greedy({.bias = up}), 3);
  EXPECT_EQ(greedy({.bias = down}), 1);
  // The bias comes before the penalty, which divides (4.1 / 2) what it made positive.
  const std::vector<int32_t> four = {4};
  EXPECT_EQ(greedy({.repetition_penalty = 2, .prompt = four, .bias = {up.begin() + 1, 1}}), 0);
  EXPECT_EQ(greedy({.repetition_penalty = 0.5f, .prompt = four, .bias = {up.begin() + 1, 1}}), 4);
  // A mask comes last.
  const std::vector<int32_t> masked = {3, 0, 0};
  EXPECT_EQ(greedy({.bias = up, .masked = masked}), 4);
  EXPECT_EQ(Drawn(*backend_, logits, {.temperature = 5, .masked = masked}),
            (std::set<int32_t>{1, 2, 4, 5}));
}

TEST_P(SamplingConformance, OnlyWhatAConstraintAllowsIsDrawn) {
  using Tokens = std::set<int32_t>;
  const std::vector<float> logits = {4, 3.9f, 3.2f, 1, -2, 3.8f};
  const std::vector<uint32_t> odd = {0b101010}, none = {0}, all = {~uint32_t{0}};
  const std::vector<int32_t> masked = {1};
  const std::vector<std::pair<int32_t, float>> up = {{0, 50.0f}};
  Backend& b = *backend_;
  EXPECT_EQ(RunOne(b, logits, {.allowed = odd}).choice.token, 1);
  EXPECT_EQ(Drawn(b, logits, {.temperature = 5, .allowed = odd}), (Tokens{1, 3, 5}));
  EXPECT_EQ(Drawn(b, logits, {.temperature = 5, .masked = masked, .allowed = odd}), (Tokens{3, 5}));
  EXPECT_EQ(Drawn(b, logits, {.temperature = 5, .top_k = 2, .bias = up, .allowed = odd}),
            (Tokens{1, 5}));  // neither a bias nor top_k lets in what is forbidden
  EXPECT_EQ(Drawn(b, logits, {.temperature = 5, .allowed = all}), (Tokens{0, 1, 2, 3, 4, 5}));
  EXPECT_TRUE(RunOne(b, logits, {.allowed = none}).failed);
  // Log-probabilities are of the raw logits, and prompt tokens are scored whatever is allowed.
  const SampledRow asked = RunOne(b, logits, {.allowed = odd, .top_logprobs = 2});
  const SampledRow free = RunOne(b, logits, {.top_logprobs = 2, .scored = 1});
  EXPECT_EQ(asked.choice.logprob, free.choice.logprob);
  EXPECT_EQ(asked.choice.top, free.choice.top);
  EXPECT_EQ(RunOne(b, logits, {.allowed = none, .scored = 0}).choice.token, 0);
  // The last of a large vocabulary whose size is no multiple of 32.
  constexpr int32_t kVocab = 32003;
  std::vector<float> many(kVocab, 1.0f);
  std::vector<uint32_t> last(MaskWords(kVocab));
  last.back() = uint32_t{1} << ((kVocab - 1) % 32);
  EXPECT_EQ(RunOne(b, many, {.temperature = 1, .allowed = last, .uniform = 0.3}).choice.token,
            kVocab - 1);
}

TEST_P(SamplingConformance, RowsThatCannotBeDrawnFromFail) {
  const std::vector<int32_t> first = {0};
  const std::vector<std::pair<int32_t, float>> infinite = {{1, kInf}}, sunk = {{1, -kInf}};
  for (const float temperature : {0.0f, 1.0f}) {
    const SamplingRow row = {.temperature = temperature};
    const auto fails = [&](const std::vector<float>& logits, const SamplingRow& asked) {
      return RunOne(*backend_, logits, asked).failed;
    };
    EXPECT_TRUE(fails({1, kNan, 2}, row));
    EXPECT_TRUE(fails({1, -kNan, 2}, row));
    EXPECT_TRUE(fails({1, kInf, 2}, row));
    EXPECT_TRUE(fails({-kInf, -kInf, -kInf}, row));
    EXPECT_FALSE(fails({-kInf, 3, -kInf}, row));
    EXPECT_TRUE(fails({1, -kInf, -kInf}, {.temperature = temperature, .masked = first}));
    EXPECT_TRUE(fails({1, 2, 3}, {.temperature = temperature, .bias = infinite}));
    EXPECT_TRUE(fails({1, kInf, 3}, {.temperature = temperature, .bias = sunk}));
    // Masked before it does harm, unless the raw logits are asked about.
    EXPECT_FALSE(fails({kNan, 2, 3}, {.temperature = temperature, .masked = first}));
    EXPECT_TRUE(
        fails({kNan, 2, 3}, {.temperature = temperature, .masked = first, .top_logprobs = 0}));
    EXPECT_TRUE(fails({1, kNan, 2}, {.scored = 0}));
    EXPECT_TRUE(fails({-kInf, -kInf}, {.scored = 0}));
    EXPECT_FALSE(fails({1, 0, 2}, {.scored = 0}));
  }
  // Among others, only its own row.
  Host three = RandomHost(3, 700, 9);
  three.at(1, 699) = kNan;
  const std::vector<SampledRow> results =
      SampleAll(*backend_, three, std::vector<SamplingRow>(3, {.temperature = 1, .uniform = 0.5}));
  EXPECT_FALSE(results[0].failed);
  EXPECT_TRUE(results[1].failed);
  EXPECT_FALSE(results[2].failed);
}

TEST_P(SamplingConformance, LogprobsAreOfTheRawLogits) {
  std::mt19937 random(5);
  for (const int32_t vocab : {1, 7, 300, 4096}) {
    Host logits = RandomHost(8, vocab, static_cast<uint64_t>(vocab) + 70, 3.0f);
    std::vector<SamplingRow> rows;
    const std::vector<std::pair<int32_t, float>> bias = {{vocab / 2, 50.0f}};
    for (int32_t i = 0; i < 8; ++i) {
      for (int32_t t = 0; t < vocab; t += 3) {
        logits.at(i, t) = logits.at(i, t % 40);  // ties, at the last alternative too
      }
      if (vocab > 7) {
        logits.at(i, vocab - 1) = -kInf;
      }
      const int32_t wanted[] = {0, 1, 5, 20, vocab, vocab + 9, 500, 13};
      const int32_t top = std::min(wanted[i], 500);
      rows.push_back(
          i % 2 == 0
              ? SamplingRow{.top_logprobs = top,
                            .scored = static_cast<int32_t>(random() % static_cast<uint32_t>(vocab))}
              : SamplingRow{.temperature = 1, .bias = bias, .uniform = 0.5, .top_logprobs = top});
    }
    rows[0].top_logprobs = -1;  // a scored row tells its log-probability all the same
    const std::vector<SampledRow> results = SampleAll(*backend_, logits, rows);
    for (int32_t i = 0; i < 8; ++i) {
      const auto at = static_cast<size_t>(i);
      const auto begin = logits.values.begin() + int64_t{i} * vocab;
      EXPECT_TRUE(ExpectAsReference(*reference_, {begin, begin + vocab}, rows[at], results[at],
                                    std::to_string(vocab) + " tokens, row " + std::to_string(i)));
    }
  }
}

// 40 rows are more than the limits hold at once, and so are the prompts of four.
TEST_P(SamplingConformance, ARowDoesNotDependOnTheOthers) {
  std::mt19937 random(11);
  constexpr int32_t kRows = 40, kVocab = 333;
  const Host logits = RandomHost(kRows, kVocab, 12, 3.0f);
  std::vector<Asked> asked;
  std::vector<SamplingRow> rows;
  for (int32_t i = 0; i < kRows; ++i) {
    asked.push_back(RandomAsked(random, kVocab));
    if (i >= kRows - 4) {
      asked.back().row.repetition_penalty = 1.1f;
      asked.back().prompt = RandomIds(random, kVocab,
                                      static_cast<size_t>(kPromptMax) - asked.back().output.size() -
                                          asked.back().masked.size() - asked.back().bias.size());
    }
  }
  for (const Asked& a : asked) {
    rows.push_back(a.get());
  }
  const std::vector<SampledRow> together = SampleAll(*backend_, logits, rows);
  for (int32_t i = 0; i < kRows; ++i) {
    const auto at = static_cast<size_t>(i);
    const SampledRow alone = RunOne(*backend_, logits.RowRange(i, 1).values, rows[at]);
    EXPECT_EQ(alone.failed, together[at].failed);
    EXPECT_EQ(alone.choice.token, together[at].choice.token) << "row " << i;
    EXPECT_EQ(alone.choice.logprob, together[at].choice.logprob) << "row " << i;
    EXPECT_EQ(alone.choice.top, together[at].choice.top) << "row " << i;
  }
}

TEST_P(SamplingConformance, ALargeVocabulary) {
  constexpr int32_t kVocab = 131072;
  const Host logits = RandomHost(4, kVocab, 13, 3.0f);
  const std::vector<SamplingRow> rows = {
      {.top_logprobs = 3},
      {.temperature = 1, .top_p = 0.95f, .uniform = 0.7},
      {.temperature = 0.8f, .top_k = 50, .uniform = 0.3, .top_logprobs = 20},
      {.temperature = 2, .uniform = 0.9999999}};
  const std::vector<SampledRow> results = SampleAll(*backend_, logits, rows);
  for (int32_t i = 0; i < 4; ++i) {
    ExpectAsReference(*reference_, logits.RowRange(i, 1).values, rows[static_cast<size_t>(i)],
                      results[static_cast<size_t>(i)], "row " + std::to_string(i));
  }
}

ALCCA_CONFORMANCE_OVER(SamplingConformance, SamplingCases);

// The reference itself, against the textbook in double and by full sorts. `margin` is how far the
// nearest top_p or min_p decision was from going the other way.
std::vector<double> Textbook(const std::vector<float>& logits, const SamplingRow& p,
                             double* margin) {
  std::vector<double> x(logits.begin(), logits.end());
  const auto at = [&](int32_t token) -> double& { return x[static_cast<size_t>(token)]; };
  for (const auto& [token, bias] : p.bias) {
    at(token) += bias;
  }
  std::map<int32_t, int> output;
  for (const int32_t token : p.output) {
    ++output[token];
  }
  std::map<int32_t, int> all = output;
  for (const int32_t token : p.prompt) {
    ++all[token];
  }
  for (const auto& [token, count] : all) {
    at(token) = at(token) > 0 ? at(token) / p.repetition_penalty : at(token) * p.repetition_penalty;
  }
  for (const auto& [token, count] : output) {
    at(token) -= p.frequency_penalty * count + p.presence_penalty;
  }
  for (const int32_t token : p.masked) {
    at(token) = -kInf;
  }
  for (size_t token = 0; token < x.size() && !p.allowed.empty(); ++token) {
    x[token] = (p.allowed[token / 32] >> (token % 32) & 1) != 0 ? x[token] : -kInf;
  }
  for (double& value : x) {
    value /= p.temperature;
  }
  std::vector<size_t> order(x.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return x[a] > x[b]; });
  if (p.top_k > 0 && static_cast<size_t>(p.top_k) < x.size()) {
    const double kth = x[order[static_cast<size_t>(p.top_k) - 1]];
    for (double& value : x) {
      value = value < kth ? -kInf : value;
    }
  }
  std::vector<double> prob(x.size());
  const double max = x[order[0]];
  double total = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    total += prob[i] = std::exp(x[i] - max);
  }
  *margin = 1;
  if (p.top_p < 1) {
    double before = 0;
    for (const size_t i : order) {
      *margin = std::min(*margin, std::abs(before / total - p.top_p));
      const double mass = prob[i];
      if (before / total >= p.top_p) {
        prob[i] = 0;
      }
      before += mass;
    }
  }
  for (double& value : prob) {
    if (value != 1) {
      *margin = std::min(*margin, p.min_p > 0 ? std::abs(value - p.min_p) : 1);
    }
    value = value < p.min_p ? 0 : value;
  }
  total = std::accumulate(prob.begin(), prob.end(), 0.0);
  for (double& value : prob) {
    value /= total;
  }
  return prob;
}

TEST(SamplingReference, DistributionEqualsTheTextbooks) {
  std::mt19937 random(3);
  int compared = 0;
  for (const int32_t vocab : {5, 61, 1000, 4096}) {
    for (int i = 0; i < 400; ++i) {
      const Host logits = RandomHost(1, vocab, random(), 3.0f);
      Asked asked = RandomAsked(random, vocab);
      asked.row.temperature = std::max(asked.row.temperature, 0.1f);
      double margin = 0;
      const std::vector<double> expected = Textbook(logits.values, asked.get(), &margin);
      if (margin < 1e-5) {
        continue;  // adjusted logits are f32 here
      }
      ++compared;
      const std::vector<double> actual = DistributionReference(logits.values, asked.get());
      ASSERT_EQ(actual.size(), expected.size());
      for (size_t token = 0; token < expected.size(); ++token) {
        ASSERT_NEAR(actual[token], expected[token], 2e-6) << "vocab " << vocab << " case " << i;
      }
    }
  }
  EXPECT_GT(compared, 1000);
}

TEST(SamplingReference, DrawInvertsTheCumulativeDistribution) {
  const auto reference = MakeReferenceBackend();
  const std::vector<float> logits = {std::log(0.1f), std::log(0.2f), std::log(0.3f),
                                     std::log(0.4f)};
  std::mt19937 random(2);
  for (int i = 0; i < 2000; ++i) {
    const double u = Uniform(random);
    const int32_t expected = u < 0.1 ? 0 : u < 0.3 ? 1 : u < 0.6 ? 2 : 3;
    if (std::abs(u - 0.1) > 1e-6 && std::abs(u - 0.3) > 1e-6 && std::abs(u - 0.6) > 1e-6) {
      ASSERT_EQ(RunOne(*reference, logits, {.temperature = 1, .uniform = u}).choice.token,
                expected);
    }
  }
}

}  // namespace
}  // namespace alcca
