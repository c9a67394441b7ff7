// Structured output through the real daemon: every answer satisfies what was asked, and what cannot
// be answered fails alone. tests/e2e/constrained_answers_test.py asks random schemas.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <regex>
#include <string>
#include <thread>
#include <vector>

#include "google/rpc/error_details.pb.h"
#include "tests/e2e/client.h"
#include "tests/testing/checkpoint_writer.h"

namespace alcca::e2e {
namespace {

using ::testing::AnyOf;
using testing::DaemonProcess;
using ::testing::HasSubstr;
using testing::ProgramResult;
using testing::RunProgram;

constexpr char kPerson[] = R"({
  "type": "object",
  "properties": {
    "name": {"type": "string", "minLength": 1, "maxLength": 12},
    "age": {"type": "integer", "minimum": 0, "maximum": 150},
    "friends": {"type": "array", "items": {"type": "string", "maxLength": 8}, "maxItems": 3}
  },
  "required": ["name", "age"],
  "additionalProperties": false
})";

v1::GenerateRequest Asks(uint32_t tokens, int32_t seed) {
  v1::GenerateRequest request;
  request.set_text("Once upon a time");
  request.set_stream(true);
  request.mutable_sampling_params()->set_max_tokens(tokens);
  request.mutable_sampling_params()->set_seed(seed);
  return request;
}

void ExpectPerson(const std::string& text) {
  const auto json = nlohmann::json::parse(text, nullptr, false);
  ASSERT_TRUE(json.is_object()) << text;
  EXPECT_TRUE(json.at("name").is_string()) << text;
  EXPECT_TRUE(json.at("age").is_number_integer()) << text;
  EXPECT_LE(json.at("age"), 150) << text;
  EXPECT_LE(json.size(), 3u) << text;
}

class Constraints : public ::testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(daemon_.serving()); }

  DaemonProcess daemon_;
  Client client_{daemon_.grpc()};
};

TEST_F(Constraints, EachKindInEachAttentionMode) {
  for (const v1::AttentionMode mode :
       {v1::ATTENTION_MODE_DENSE, v1::ATTENTION_MODE_ALCCA, v1::ATTENTION_MODE_MULTIPOLE,
        v1::ATTENTION_MODE_WINDOW, v1::ATTENTION_MODE_TOPK}) {
    const auto answer = [&](const std::function<void(v1::SamplingParams*)>& ask) {
      v1::GenerateRequest request = Asks(200, 7);
      request.mutable_attention()->set_mode(mode);
      ask(request.mutable_sampling_params());
      const Reply reply = client_.Generate(request);
      EXPECT_TRUE(reply.status.ok()) << reply.status.error_message();
      EXPECT_EQ(reply.complete().finish_reason(), "stop") << reply.text;
      EXPECT_EQ(reply.text, reply.complete().text());
      return reply.text;
    };
    ExpectPerson(answer([](v1::SamplingParams* p) { p->set_json_schema(kPerson); }));
    const std::string date = answer([](v1::SamplingParams* p) { p->set_regex("\\d{4}-\\d\\d"); });
    EXPECT_TRUE(std::regex_match(date, std::regex("\\d{4}-\\d\\d"))) << date;
    const std::string sum = answer([](v1::SamplingParams* p) {
      p->set_grammar("root ::= n (\"+\" n){1,3}\nn ::= [1-9] [0-9]{0,2}\n");
    });
    EXPECT_TRUE(std::regex_match(sum, std::regex("[1-9]\\d{0,2}(\\+[1-9]\\d{0,2}){1,3}"))) << sum;
    EXPECT_THAT(answer([](v1::SamplingParams* p) {
                  p->mutable_choice()->add_choices("the fox");
                  p->mutable_choice()->add_choices("the owl");
                }),
                AnyOf("the fox", "the owl"));
  }
}

TEST_F(Constraints, AnObjectEndsByItselfOrByItsLimit) {
  for (int32_t seed = 0; seed < 8; ++seed) {
    v1::GenerateRequest request = Asks(60, seed);
    request.mutable_sampling_params()->set_json_object(true);
    const Reply reply = client_.Generate(request);
    ASSERT_TRUE(reply.status.ok()) << reply.status.error_message();
    EXPECT_EQ(reply.text.front(), '{');
    if (reply.complete().finish_reason() == "stop") {
      EXPECT_TRUE(nlohmann::json::parse(reply.text, nullptr, false).is_object()) << reply.text;
    } else {
      EXPECT_EQ(reply.complete().finish_reason(), "length");
    }
  }
}

// Alone, then beside others in one batch; the second round takes compiled constraints.
TEST_F(Constraints, TokensDependOnTheRequestAlone) {
  constexpr int kRequests = 8;
  const auto request = [](int i) {
    v1::GenerateRequest one = Asks(80, i);
    if (i % 2 == 0) {
      one.mutable_sampling_params()->set_json_schema(kPerson);
    } else {
      one.mutable_sampling_params()->set_regex("(the|a) [a-z]{3,9}( [a-z]{2,8}){4}\\.");
    }
    return one;
  };
  std::vector<std::string> alone;
  for (int i = 0; i < kRequests; ++i) {
    alone.push_back(client_.Generate(request(i)).text);
  }
  std::vector<std::string> together(kRequests);
  std::vector<std::thread> threads;
  for (int i = 0; i < kRequests; ++i) {
    threads.emplace_back([&, i] { together[i] = client_.Generate(request(i)).text; });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  EXPECT_EQ(together, alone);
  const auto scrape = Scrape(daemon_.metrics());
  EXPECT_EQ(Total(scrape, "alcca_constraint_cache_misses_total"), 2);
  EXPECT_EQ(Total(scrape, "alcca_constraint_cache_hits_total"), 2 * kRequests - 2);
  EXPECT_EQ(Total(scrape, "alcca_constraint_failures_total"), 0);
  EXPECT_EQ(Total(scrape, "alcca_constraint_compile_seconds_count"), 2);
  EXPECT_GT(Total(scrape, "alcca_constraint_mask_seconds_count"), 0);
}

TEST_F(Constraints, WhatCannotBeCompiledIsInvalidByName) {
  std::string large = "root ::= ";
  while (large.size() < (1 << 20)) {
    large += "\"abcdefgh\" | ";
  }
  struct Bad {
    const char* field;
    std::function<void(v1::SamplingParams*)> ask;
    const char* text;
  };
  const std::vector<Bad> all = {
      {"json_schema", [](auto* p) { p->set_json_schema("{\"type\": \"thing\"}"); }, "type"},
      {"json_schema", [](auto* p) { p->set_json_schema("{"); }, "JSON"},
      {"json_schema", [](auto* p) { p->set_json_schema("false"); }, "no text satisfies"},
      {"json_schema",
       [](auto* p) {
         p->set_json_schema(R"({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#"}}})");
       },
       "$ref"},
      {"json_schema", [](auto* p) { p->set_json_schema(R"({"unevaluatedProperties": false})"); },
       "unevaluatedProperties"},
      {"regex", [](auto* p) { p->set_regex("(a"); }, "byte 2"},
      {"regex", [](auto* p) { p->set_regex("(a)\\1"); }, "regular expression"},
      {"grammar", [](auto* p) { p->set_grammar("root ::= x"); }, "x"},
      {"grammar", [](auto* p) { p->set_grammar("root ::= root \"a\""); }, "no text satisfies"},
      {"grammar", [&](auto* p) { p->set_grammar(large); }, "bytes"},
      {"structural_tag", [](auto* p) { p->set_structural_tag("{}"); }, "/structures"},
      {"choice", [](auto* p) { p->mutable_choice(); }, "choice"},
  };
  for (const Bad& bad : all) {
    v1::GenerateRequest request = Asks(20, 1);
    bad.ask(request.mutable_sampling_params());
    const Reply reply = client_.Generate(request);
    EXPECT_EQ(reply.status.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << bad.field;
    EXPECT_THAT(reply.status.error_message(), HasSubstr(bad.text));
    EXPECT_THAT(reply.status.error_message(),
                HasSubstr(std::string("sampling_params.") + bad.field + ": "));
    google::rpc::Status details;
    EXPECT_TRUE(details.ParseFromString(reply.status.error_details()));
    EXPECT_EQ(details.details_size(), 1) << bad.field;
  }
  const auto scrape = Scrape(daemon_.metrics());
  EXPECT_EQ(Total(scrape, "alcca_constraint_failures_total"), static_cast<double>(all.size()));
  EXPECT_EQ(Total(scrape, "alcca_requests_rejected_total"), static_cast<double>(all.size()));
  EXPECT_TRUE(client_.Generate(Greedy("Once", 3)).status.ok());
}

TEST_F(Constraints, LogprobsAndCompletionsCompose) {
  v1::GenerateRequest request = Asks(80, 3);
  request.mutable_sampling_params()->set_json_schema(kPerson);
  request.mutable_sampling_params()->set_n(3);
  request.mutable_sampling_params()->set_logprobs(2);
  const Reply reply = client_.Generate(request);
  ASSERT_TRUE(reply.status.ok()) << reply.status.error_message();
  ASSERT_EQ(reply.completes.size(), 3u);
  for (const v1::GenerateComplete& complete : reply.completes) {
    ExpectPerson(complete.text());
    EXPECT_EQ(complete.output_logprobs().token_logprobs_size(), complete.output_ids_size());
    // Of the raw logits: what a mask left alone would have 0.
    EXPECT_LT(complete.output_logprobs().token_logprobs(0), -0.01f);
  }
}

// A cancelled client, while its constraint is compiled or while it runs, leaves nothing behind.
TEST_F(Constraints, CancelWhileCompilingOrRunning) {
  for (int i = 0; i < 20; ++i) {
    grpc::ClientContext context;
    v1::GenerateRequest request = Asks(400, i);
    request.mutable_sampling_params()->set_regex("(a|b){" + std::to_string(300 + i) + "}");
    auto reader = client_.stub().Generate(&context, request);
    std::this_thread::sleep_for(std::chrono::milliseconds(i % 4));
    context.TryCancel();
    EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
  }
  std::map<std::string, double> scrape;
  for (int i = 0; i < 500; ++i) {
    scrape = Scrape(daemon_.metrics());
    if (Total(scrape, "alcca_requests_started_total") ==
        Total(scrape, "alcca_requests_finished_total") +
            Total(scrape, "alcca_requests_rejected_total")) {
      break;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  EXPECT_EQ(Total(scrape, "alcca_requests_started_total"),
            Total(scrape, "alcca_requests_finished_total") +
                Total(scrape, "alcca_requests_rejected_total"));
  EXPECT_EQ(Total(scrape, "alcca_num_requests_running"), 0);
  EXPECT_TRUE(client_.Generate(Greedy("Once", 3)).status.ok());
}

TEST_F(Constraints, TheClientsFlags) {
  const testing::TempDir dir;
  const std::string schema = dir.Write("person.json", kPerson);
  const std::string grammar = dir.Write("yes.gbnf", "root ::= \"yes\" | \"no\"\n");
  const auto alcca = [this](std::vector<std::string> args) {
    args.insert(args.begin(), {"generate", "Once", "--max-tokens=200"});
    args.push_back("--target=" + daemon_.grpc());
    return RunProgram(ALCCA_CLI_PATH, args);
  };
  ProgramResult result = alcca({"--json-schema=" + schema});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  ExpectPerson(result.out);
  result = alcca({"--grammar=" + grammar});
  EXPECT_THAT(result.out, AnyOf("yes\n", "no\n")) << result.err;
  result = alcca({"--choice=red", "--choice=blue"});
  EXPECT_THAT(result.out, AnyOf("red\n", "blue\n")) << result.err;
  result = alcca({"--regex=[0-9]{5}"});
  EXPECT_TRUE(std::regex_match(result.out, std::regex("\\d{5}\n"))) << result.out << result.err;
  EXPECT_EQ(alcca({"--regex=a", "--choice=b"}).exit_code, 64);
  EXPECT_EQ(alcca({"--regex=("}).exit_code, 3);
}

// One thread, one place in the queue: what comes when both are taken may be tried again.
TEST(ConstraintQueue, AFullQueueIsResourceExhausted) {
  DaemonProcess daemon({"--constraint-threads=1", "--constraint-queue=1"});
  ASSERT_TRUE(daemon.serving());
  std::string schema = R"({"allOf": [)";  // takes a while
  for (int i = 0; i < 12; ++i) {
    schema += std::string(i > 0 ? "," : "") + R"({"anyOf": [{"pattern": "a.{1)" +
              std::to_string(i) + R"(}b"}, {"pattern": "c.{1)" + std::to_string(i) + R"(}d"}]})";
  }
  schema += R"(], "type": "string", "maxLength": )";
  std::atomic<int> full = 0, other = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 12; ++i) {
    threads.emplace_back([&, i] {
      v1::GenerateRequest request = Asks(2, i);
      request.mutable_sampling_params()->set_json_schema(schema + std::to_string(100 + i) + "}");
      Client client(daemon.grpc());
      const Reply reply = client.Generate(request);
      if (reply.status.error_code() == grpc::StatusCode::RESOURCE_EXHAUSTED) {
        EXPECT_THAT(reply.status.error_message(), HasSubstr("wait to be compiled"));
        EXPECT_EQ(reply.trailers.count("grpc-retry-pushback-ms"), 1u);
        ++full;
      } else {
        ++other;  // compiled, or refused by a limit
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  EXPECT_GT(full, 0);
  EXPECT_GT(other, 0);
  EXPECT_TRUE(Client(daemon.grpc()).Generate(Greedy("Once", 3)).status.ok());
}

}  // namespace
}  // namespace alcca::e2e
