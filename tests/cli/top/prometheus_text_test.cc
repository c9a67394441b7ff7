#include "tools/cli/top/prometheus_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "tools/cli/top/http_get.h"

namespace alcca::cli {
namespace {

using ::testing::HasSubstr;

TEST(PrometheusText, ReadsWhatTheFormatAllows) {
  const auto samples = ParsePrometheusText(
      "# HELP a_total Help with {braces} \"and\" 1 2 3\n"
      "# TYPE a_total counter\n"
      "\n"
      "a_total 3\n"
      "b{x=\"1\",y=\"q\\\"\\\\\\n,}\",} -2.5e-3 1700000000000\r\n"
      "  c:rate { le = \"+Inf\" } +Inf # {trace_id=\"x\"} 0.5 1.7e9\n"
      "d\tNaN");
  ASSERT_TRUE(samples.ok()) << samples.status();
  ASSERT_EQ(samples->size(), 4u);
  EXPECT_EQ((*samples)[0].name, "a_total");
  EXPECT_EQ((*samples)[0].value, 3);
  EXPECT_EQ((*samples)[1].labels.at("x"), "1");
  EXPECT_EQ((*samples)[1].labels.at("y"), "q\"\\\n,}");
  EXPECT_EQ((*samples)[1].value, -2.5e-3);
  EXPECT_EQ((*samples)[2].name, "c:rate");
  EXPECT_EQ((*samples)[2].labels.at("le"), "+Inf");
  EXPECT_TRUE(std::isinf((*samples)[2].value));
  EXPECT_TRUE(std::isnan((*samples)[3].value));
  EXPECT_TRUE(ParsePrometheusText("").value().empty());
}

TEST(PrometheusText, ErrorsNameTheirLine) {
  struct Row {
    const char* line;
    const char* says;
  };
  for (const Row& row : std::initializer_list<Row>{{"1a 2", "a metric's name"},
                                                   {"a", "a number"},
                                                   {"a x", "a number"},
                                                   {"a 1 x", "a timestamp"},
                                                   {"a 1 2 3", "unexpected text"},
                                                   {"a{b=\"1\" 2", ", or }"},
                                                   {"a{b=\"1} 2", "not a closed string"},
                                                   {"a{b=\"1\\", "not a closed string"},
                                                   {"a{b:c=\"1\"} 2", "name=\"value\""},
                                                   {"a{b=1} 2", "not a closed string"},
                                                   {"a{b=\"1\",b=\"2\"} 3", "twice"}}) {
    const auto samples = ParsePrometheusText(std::string("ok 1\n") + row.line + "\n");
    ASSERT_FALSE(samples.ok()) << row.line;
    EXPECT_THAT(std::string(samples.status().message()), HasSubstr("line 2: ")) << row.line;
    EXPECT_THAT(std::string(samples.status().message()), HasSubstr(row.says)) << row.line;
  }
}

TEST(PrometheusText, EverythingIsBounded) {
  std::string many_labels = "a{";
  for (size_t i = 0; i <= kMaxLabels; ++i) {
    many_labels += "l" + std::to_string(i) + "=\"\",";
  }
  EXPECT_FALSE(ParsePrometheusText(many_labels + "} 1").ok());
  std::string many_samples;
  for (size_t i = 0; i <= kMaxSamples; ++i) {
    many_samples += "a 1\n";
  }
  EXPECT_FALSE(ParsePrometheusText(many_samples).ok());
  EXPECT_FALSE(ParsePrometheusText(std::string(kMaxMetricsBytes + 1, '\n')).ok());
}

TEST(HttpBody, TakesOnlyAWhole200) {
  EXPECT_EQ(HttpBody("HTTP/1.1 200 OK\r\nX: y\r\n\r\nabc").value(), "abc");
  EXPECT_EQ(HttpBody("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nabc").value(), "ab");
  for (const char* bad :
       {"", "abc", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 404 Not Found\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n", "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "HTTP/2 200\r\n\r\n"}) {
    EXPECT_EQ(HttpBody(bad).status().code(), absl::StatusCode::kFailedPrecondition) << bad;
  }
  EXPECT_THAT(std::string(HttpBody("HTTP/1.1 404 Not Found\r\n\r\n").status().message()),
              HasSubstr("404 Not Found"));
}

}  // namespace
}  // namespace alcca::cli
