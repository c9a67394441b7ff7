// Frames of `alcca top`, compared letter by letter with tests/golden/top. After a change that is
// meant: ALCCA_WRITE_GOLDEN=1 build/release/bin/cli_tests --gtest_filter=TopView.*, then read the
// difference.

#include "tools/cli/top/top_view.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "tools/cli/top/top_watch.h"

namespace alcca::cli {
namespace {

TopDaemon Busy() {
  TopDaemon d;
  d.name = "127.0.0.1:50051";
  TopSample& s = d.sample;
  s.state = TopState::kServing;
  s.uptime = 3 * 3600 + 12 * 60 + 5;
  s.model = "Mistral-7B-Instruct-v0.3";
  s.weights = "int8";
  s.device = "cpu";
  s.version = "0.1.0";
  s.load = TopLoad{.running = 3, .waiting = 12, .max_running = 32};
  TopFigures f;
  f.running = 3;
  f.waiting = 12;
  f.waiting_tokens = 1234;
  f.kv_usage = .52;
  f.kv_pages = 256;
  f.index_bytes = 1.25 * (1 << 20);
  f.recall_wanted = 1000;
  f.recall_found = 970;
  s.figures = f;
  TopRates r;
  r.seconds = 1;
  r.prompt_tokens = 812.4;
  r.generation_tokens = 2322.2;
  r.finished = 4.5;
  r.rejected = .25;
  r.first_token = {.count = 4, .p50 = TopQuantile{.012}, .p95 = TopQuantile{.034}};
  r.token_gap = {.count = 90, .p50 = TopQuantile{.00043}, .p95 = TopQuantile{.0009}};
  r.request = {.count = 4, .p50 = TopQuantile{1.23}, .p95 = TopQuantile{7680, true}};
  r.modes["alcca"] = {.cost = {.123, .0456}, .near = .03, .queries = 100};
  r.modes["dense"] = {.cost = {1, std::nullopt}, .near = 0, .queries = 10};
  r.cost = .0811;
  r.recall = .985;
  d.rates = r;
  for (int i = 0; i < 30; ++i) {
    d.generation_history.push_back(i * i % 23);
    d.prompt_history.push_back(i % 2 == 0 ? 0 : i);
  }
  return d;
}

TopDaemon Named(std::string name, TopState state) {
  TopDaemon d;
  d.name = std::move(name);
  d.sample.state = state;
  return d;
}

TopFrame Fleet() {
  TopFrame frame;
  frame.interval_seconds = 2;
  frame.keys = true;
  frame.daemons = {Busy(), Named("node-2.cluster.example:50051", TopState::kLoading),
                   Named("node-3.cluster.example:50051", TopState::kDown), Busy()};
  frame.daemons[2].sample.problem = "failed to connect to all addresses; Connection refused";
  frame.daemons[3].name = "node-4.cluster.example:50051";
  frame.daemons[3].sample.state = TopState::kDraining;
  frame.daemons[3].rates->restarted = true;
  frame.daemons[3].sample.figures->kv_usage = .97;
  frame.selected = 3;
  return frame;
}

std::string Text(const std::vector<std::string>& lines) {
  std::string text;
  for (const std::string& line : lines) {
    text += line + "\n";
  }
  return text;
}

void ExpectGolden(const std::string& name, const std::vector<std::string>& lines) {
  const std::string path = ALCCA_TEST_DATA_DIR "/top/" + name + ".txt";
  if (std::getenv("ALCCA_WRITE_GOLDEN") != nullptr) {
    std::ofstream(path) << Text(lines);
    return;
  }
  std::ifstream file(path);
  std::ostringstream golden;
  golden << file.rdbuf();
  EXPECT_EQ(golden.str(), Text(lines)) << path;
}

int Columns(const std::string& line) {
  return Span{line}.columns();
}

TEST(TopView, OneDaemonAtEveryWidth) {
  TopFrame frame;
  frame.keys = true;
  frame.daemons = {Busy()};
  for (const int width : {40, 80, 120}) {
    TermLook look;
    look.width = width;
    look.unicode = width != 80;
    ExpectGolden("one_" + std::to_string(width), RenderTop(frame, look));
  }
}

TEST(TopView, ManyDaemonsAtEveryWidth) {
  for (const int width : {40, 80, 132}) {
    TermLook look;
    look.width = width;
    look.height = width == 80 ? 12 : 0;  // a low window: the table scrolls, the details are cut
    ExpectGolden("fleet_" + std::to_string(width), RenderTop(Fleet(), look));
  }
}

TEST(TopView, ColoursAreEscapesAndNothingElse) {
  TermLook look;
  look.color = true;
  const std::vector<std::string> painted = RenderTop(Fleet(), look);
  ExpectGolden("fleet_80_color", painted);
  look.color = false;
  const std::vector<std::string> plain = RenderTop(Fleet(), look);
  ASSERT_EQ(painted.size(), plain.size());
  for (size_t i = 0; i < plain.size(); ++i) {
    std::string bare;
    for (size_t at = 0; at < painted[i].size(); ++at) {
      if (painted[i][at] == '\x1b') {
        at = painted[i].find('m', at);
      } else {
        bare += painted[i][at];
      }
    }
    EXPECT_EQ(bare, plain[i]);
  }
}

TEST(TopView, FitsAnyWindow) {
  TopFrame alone;
  alone.daemons = {Busy()};
  alone.daemons[0].sample.problem = std::string(300, 'x');
  for (int width = 1; width < 200; ++width) {
    for (const int height : {1, 2, 5, 24, 60}) {
      TermLook look;
      look.width = width;
      look.height = height;
      look.unicode = true;
      for (const TopFrame& frame : {alone, Fleet(), TopFrame()}) {
        const std::vector<std::string> lines = RenderTop(frame, look);
        EXPECT_LE(lines.size(), size_t(height));
        for (const std::string& line : lines) {
          ASSERT_LE(Columns(line), width) << line;
        }
      }
    }
  }
}

TEST(TopView, NamesFromOutsideCannotDriveTheTerminal) {
  TopFrame frame;
  frame.daemons = {Busy()};
  frame.daemons[0].sample.model = "evil\x1b[2J\x07\xc2\x9b\n";
  frame.daemons[0].sample.problem = "a\x1b]0;title\x07";
  frame.daemons[0].rates->modes["\x1b[31m"] = {.cost = {1, 1}, .near = 0, .queries = 1};
  const std::string text = Text(RenderTop(frame, TermLook()));
  EXPECT_EQ(text.find('\x1b'), std::string::npos);
  EXPECT_EQ(text.find('\x07'), std::string::npos);
  EXPECT_NE(text.find("evil?[2J???"), std::string::npos) << text;
  EXPECT_EQ(TopJson(frame.daemons[0]).dump().find('\x1b'), std::string::npos);
}

TEST(TopView, JsonHasWhatIsKnownAndNullForTheRest) {
  const nlohmann::json busy = TopJson(Busy());
  EXPECT_EQ(busy["state"], "serving");
  EXPECT_EQ(busy["now"]["waiting"], 12);
  EXPECT_EQ(busy["rates"]["generation_tokens_per_second"], 2322.2);
  EXPECT_EQ(busy["rates"]["time_to_first_token"]["p95_seconds"], .034);
  EXPECT_EQ(busy["rates"]["modes"]["alcca"]["decode_cost_over_dense"], .0456);
  EXPECT_TRUE(busy["rates"]["modes"]["dense"]["decode_cost_over_dense"].is_null());
  const nlohmann::json down = TopJson(Named("x:1", TopState::kDown));
  EXPECT_TRUE(down["rates"].is_null());
  EXPECT_TRUE(down["now"].is_null());
  EXPECT_TRUE(down["uptime_seconds"].is_null());
}

TEST(TermText, NumbersAtAHumanSize) {
  EXPECT_EQ(HumanSeconds(.00043), "0.43 ms");
  EXPECT_EQ(HumanSeconds(.0043), "4.3 ms");
  EXPECT_EQ(HumanSeconds(.043), "43 ms");
  EXPECT_EQ(HumanSeconds(.9999), "1.0 s");
  EXPECT_EQ(HumanSeconds(340), "340 s");
  EXPECT_EQ(HumanUptime(59), "59s");
  EXPECT_EQ(HumanUptime(3599), "59m59s");
  EXPECT_EQ(HumanUptime(86400 * 12 + 3600 * 3), "12d3h");
  EXPECT_EQ(HumanCount(0), "0");
  EXPECT_EQ(HumanCount(3), "3");
  EXPECT_EQ(HumanCount(.25), "0.25");
  EXPECT_EQ(HumanCount(2322.2), "2,322");
  EXPECT_EQ(HumanCount(1.2e6), "1.2M");
  EXPECT_EQ(HumanCount(1e300).substr(0, 1), "1");
  EXPECT_EQ(HumanBytes(1023), "1023 B");
  EXPECT_EQ(HumanBytes(26.3 * 1024), "26.3 KiB");
  EXPECT_EQ(Bar(.5, 6, false), "[##..]");
  EXPECT_EQ(Sparkline({5, 0, 1, 2}, 3, false), "_+@");
  EXPECT_EQ(Sparkline({0, 0}, 9, true), "▁▁");
}

TEST(TopWatch, TheMetricsAreWhereTheDaemonIs) {
  EXPECT_EQ(MetricsAddress("10.0.0.7:50051", 9090), "10.0.0.7:9090");
  EXPECT_EQ(MetricsAddress("dns:///host.example:50051", 9090), "host.example:9090");
  EXPECT_EQ(MetricsAddress("[::1]:50051", 9090), "[::1]:9090");
  for (const char* none : {"unix:/tmp/socket", "host", ":1", "ipv4:127.0.0.1:1", "xds:///a:1"}) {
    EXPECT_EQ(MetricsAddress(none, 9090), "") << none;
  }
  EXPECT_EQ(MetricsAddress("host:1", 0), "");
}

}  // namespace
}  // namespace alcca::cli
