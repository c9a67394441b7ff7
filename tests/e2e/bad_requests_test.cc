// What outsiders send. Each row is a good request spoiled in one place; the daemon names the field,
// and serves the next request.

#include <gmock/gmock.h>
#include <grpcpp/generic/generic_stub.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>

#include "tests/e2e/client.h"

namespace alcca::e2e {
namespace {

using grpc::StatusCode;
using testing::DaemonProcess;
using ::testing::HasSubstr;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();
const std::string kBadUtf8 = "caf\xC3";

struct Row {
  const char* name;
  std::function<void(v1::GenerateRequest&, v1::SamplingParams&, v1::AttentionParams&)> spoil;
  StatusCode code;
  const char* names;  // in the message
};
using G = v1::GenerateRequest;
using S = v1::SamplingParams;
using A = v1::AttentionParams;
constexpr StatusCode kInvalid = StatusCode::INVALID_ARGUMENT;
constexpr StatusCode kUnimplemented = StatusCode::UNIMPLEMENTED;

const std::vector<Row>& Rows() {
  static const std::vector<Row> rows = {
      {"no input", [](G& g, S&, A&) { g.clear_input(); }, kInvalid, "input"},
      {"empty text", [](G& g, S&, A&) { g.set_text(""); }, kInvalid, "text"},
      {"empty ids", [](G& g, S&, A&) { g.mutable_tokenized(); }, kInvalid, "input_ids"},
      {"id past the vocabulary", [](G& g, S&, A&) { g.mutable_tokenized()->add_input_ids(4096); },
       kInvalid, "4096"},
      {"huge id", [](G& g, S&, A&) { g.mutable_tokenized()->add_input_ids(4294967295u); }, kInvalid,
       "input_ids[0]"},
      {"prompt over the context",
       [](G& g, S&, A&) {
         for (int i = 0; i < 2000; ++i) {
           g.mutable_tokenized()->add_input_ids(300);
         }
       },
       kInvalid, "context"},
      {"prompt fills the context",
       [](G& g, S& s, A&) {
         for (int i = 0; i < 1024; ++i) {
           g.mutable_tokenized()->add_input_ids(300);
         }
         s.set_max_tokens(1);
       },
       kInvalid, "context"},
      {"long request_id", [](G& g, S&, A&) { g.set_request_id(std::string(300, 'x')); }, kInvalid,
       "request_id"},
      {"temperature NaN", [](G&, S& s, A&) { s.set_temperature(kNan); }, kInvalid, "temperature"},
      {"temperature inf", [](G&, S& s, A&) { s.set_temperature(kInf); }, kInvalid, "temperature"},
      {"temperature negative", [](G&, S& s, A&) { s.set_temperature(-0.1f); }, kInvalid,
       "temperature"},
      {"temperature huge", [](G&, S& s, A&) { s.set_temperature(1e30f); }, kInvalid, "temperature"},
      {"top_p zero", [](G&, S& s, A&) { s.set_top_p(0); }, kInvalid, "top_p"},
      {"top_p above one", [](G&, S& s, A&) { s.set_top_p(1.0001f); }, kInvalid, "top_p"},
      {"top_p negative", [](G&, S& s, A&) { s.set_top_p(-1); }, kInvalid, "top_p"},
      {"top_p NaN", [](G&, S& s, A&) { s.set_top_p(kNan); }, kInvalid, "top_p"},
      {"top_k huge", [](G&, S& s, A&) { s.set_top_k(4294967295u); }, kInvalid, "top_k"},
      {"min_p negative", [](G&, S& s, A&) { s.set_min_p(-0.5f); }, kInvalid, "min_p"},
      {"min_p above one", [](G&, S& s, A&) { s.set_min_p(2); }, kInvalid, "min_p"},
      {"min_p NaN", [](G&, S& s, A&) { s.set_min_p(kNan); }, kInvalid, "min_p"},
      {"frequency_penalty low", [](G&, S& s, A&) { s.set_frequency_penalty(-2.5f); }, kInvalid,
       "frequency_penalty"},
      {"frequency_penalty high", [](G&, S& s, A&) { s.set_frequency_penalty(2.5f); }, kInvalid,
       "frequency_penalty"},
      {"frequency_penalty NaN", [](G&, S& s, A&) { s.set_frequency_penalty(kNan); }, kInvalid,
       "frequency_penalty"},
      {"presence_penalty low", [](G&, S& s, A&) { s.set_presence_penalty(-9); }, kInvalid,
       "presence_penalty"},
      {"presence_penalty inf", [](G&, S& s, A&) { s.set_presence_penalty(kInf); }, kInvalid,
       "presence_penalty"},
      {"repetition_penalty zero", [](G&, S& s, A&) { s.set_repetition_penalty(0); }, kInvalid,
       "repetition_penalty"},
      {"repetition_penalty negative", [](G&, S& s, A&) { s.set_repetition_penalty(-1); }, kInvalid,
       "repetition_penalty"},
      {"repetition_penalty NaN", [](G&, S& s, A&) { s.set_repetition_penalty(kNan); }, kInvalid,
       "repetition_penalty"},
      {"max_tokens zero", [](G&, S& s, A&) { s.set_max_tokens(0); }, kInvalid, "max_tokens"},
      {"max_tokens over the context", [](G&, S& s, A&) { s.set_max_tokens(1024); }, kInvalid,
       "max_tokens"},
      {"max_tokens huge", [](G&, S& s, A&) { s.set_max_tokens(4294967295u); }, kInvalid,
       "max_tokens"},
      {"min_tokens over max_tokens",
       [](G&, S& s, A&) {
         s.set_max_tokens(4);
         s.set_min_tokens(5);
       },
       kInvalid, "min_tokens"},
      {"empty stop", [](G&, S& s, A&) { s.add_stop(""); }, kInvalid, "stop[0]"},
      {"long stop", [](G&, S& s, A&) { s.add_stop(std::string(257, 'x')); }, kInvalid, "stop[0]"},
      {"many stops",
       [](G&, S& s, A&) {
         for (int i = 0; i < 17; ++i) {
           s.add_stop("x");
         }
       },
       kInvalid, "stop"},
      {"unknown stop id", [](G&, S& s, A&) { s.add_stop_token_ids(5000); }, kInvalid,
       "stop_token_ids[0]"},
      {"many stop ids",
       [](G&, S& s, A&) {
         for (int i = 0; i < 257; ++i) {
           s.add_stop_token_ids(5);
         }
       },
       kInvalid, "stop_token_ids"},
      {"n zero", [](G&, S& s, A&) { s.set_n(0); }, kInvalid, "sampling_params.n"},
      {"n large", [](G&, S& s, A&) { s.set_n(17); }, kInvalid, "sampling_params.n"},
      {"n huge", [](G&, S& s, A&) { s.set_n(4294967295u); }, kInvalid, "sampling_params.n"},
      {"logprobs negative", [](G&, S& s, A&) { s.set_logprobs(-1); }, kInvalid, "logprobs"},
      {"logprobs many", [](G&, S& s, A&) { s.set_logprobs(21); }, kInvalid, "logprobs"},
      {"prompt_logprobs negative", [](G&, S& s, A&) { s.set_prompt_logprobs(-5); }, kInvalid,
       "prompt_logprobs"},
      {"prompt_logprobs many", [](G&, S& s, A&) { s.set_prompt_logprobs(2147483647); }, kInvalid,
       "prompt_logprobs"},
      {"bias of an unknown id", [](G&, S& s, A&) { (*s.mutable_logit_bias())[4096] = 1; }, kInvalid,
       "logit_bias[4096]"},
      {"bias of a negative id", [](G&, S& s, A&) { (*s.mutable_logit_bias())[-1] = 1; }, kInvalid,
       "logit_bias[-1]"},
      {"bias NaN", [](G&, S& s, A&) { (*s.mutable_logit_bias())[5] = kNan; }, kInvalid,
       "logit_bias[5]"},
      {"bias too strong", [](G&, S& s, A&) { (*s.mutable_logit_bias())[5] = 101; }, kInvalid,
       "logit_bias[5]"},
      {"many biases",
       [](G&, S& s, A&) {
         for (int i = 0; i < 1025; ++i) {
           (*s.mutable_logit_bias())[i] = 1;
         }
       },
       kInvalid, "logit_bias"},
      {"truncate to nothing", [](G&, S& s, A&) { s.set_truncate_prompt_tokens(0); }, kInvalid,
       "truncate_prompt_tokens"},
      {"truncate negative", [](G&, S& s, A&) { s.set_truncate_prompt_tokens(-3); }, kInvalid,
       "truncate_prompt_tokens"},
      {"theta NaN", [](G&, S&, A& a) { a.set_theta(kNan); }, kInvalid, "attention.theta"},
      {"theta negative", [](G&, S&, A& a) { a.set_theta(-1); }, kInvalid, "attention.theta"},
      {"theta inf", [](G&, S&, A& a) { a.set_theta(kInf); }, kInvalid, "attention.theta"},
      {"k zero", [](G&, S&, A& a) { a.set_k(0); }, kInvalid, "attention.k"},
      {"k large", [](G&, S&, A& a) { a.set_k(2049); }, kInvalid, "attention.k"},
      {"k huge", [](G&, S&, A& a) { a.set_k(4294967295u); }, kInvalid, "attention.k"},
      {"epsilon zero", [](G&, S&, A& a) { a.set_epsilon(0); }, kInvalid, "attention.epsilon"},
      {"epsilon negative", [](G&, S&, A& a) { a.set_epsilon(-1); }, kInvalid, "attention.epsilon"},
      {"epsilon NaN", [](G&, S&, A& a) { a.set_epsilon(kNan); }, kInvalid, "attention.epsilon"},
      {"unknown mode", [](G&, S&, A& a) { a.set_mode(static_cast<v1::AttentionMode>(99)); },
       kInvalid, "attention.mode"},
      {"unknown search", [](G&, S&, A& a) { a.set_search(static_cast<v1::AttentionSearch>(7)); },
       kInvalid, "attention.search"},
      {"mass above 1", [](G&, S&, A& a) { a.set_mass(1.5f); }, kInvalid, "attention.mass"},
      {"recent zero", [](G&, S&, A& a) { a.set_recent(0); }, kInvalid, "attention.recent"},
      {"window zero", [](G&, S&, A& a) { a.set_window(0); }, kInvalid, "attention.window"},
      {"sparsity zero", [](G&, S&, A& a) { a.set_sparsity(0); }, kInvalid, "attention.sparsity"},
      {"tree distances zero", [](G&, S&, A& a) { a.set_tree_distances(0); }, kInvalid,
       "attention.tree_distances"},
      {"regex", [](G&, S& s, A&) { s.set_regex("(a"); }, kInvalid, "sampling_params.regex"},
      {"choice", [](G&, S& s, A&) { s.mutable_choice(); }, kInvalid, "sampling_params.choice"},
  };
  return rows;
}

struct ChatRow {
  const char* name;
  std::function<void(v1::ChatRequest&)> spoil;
  const char* names;
};
using C = v1::ChatRequest;

void Say(C& chat, const char* role, const char* content) {
  v1::ChatMessage* message = chat.add_messages();
  message->set_role(role);
  message->set_content(content);
}

const std::vector<ChatRow>& ChatRows() {
  static const std::vector<ChatRow> rows = {
      {"no messages", [](C& c) { c.clear_messages(); }, "messages"},
      {"unknown role", [](C& c) { c.mutable_messages(0)->set_role("oracle"); }, "role must be"},
      {"empty role", [](C& c) { c.mutable_messages(0)->set_role(""); }, "role"},
      {"nothing to answer", [](C& c) { Say(c, "assistant", "Hi"); }, "last message"},
      {"tools not JSON", [](C& c) { c.set_tools_json("[{"); }, "tools"},
      {"tools not an array", [](C& c) { c.set_tools_json("{\"a\": 1}"); }, "tools"},
      {"too many tools",
       [](C& c) {
         std::string tools = "[";
         for (int i = 0; i < 1025; ++i) {
           tools += "{},";
         }
         tools.back() = ']';
         c.set_tools_json(tools);
       },
       "too many members"},
      {"short call id",
       [](C& c) {
         Say(c, "assistant", "");
         v1::ToolCall* call = c.mutable_messages(1)->add_tool_calls();
         call->set_id("x");
         call->set_name("f");
         call->set_arguments("{}");
         Say(c, "tool", "1");
         c.mutable_messages(2)->set_tool_call_id("x");
       },
       "9"},
      {"temperature NaN", [](C& c) { c.mutable_sampling_params()->set_temperature(kNan); },
       "temperature"},
  };
  return rows;
}

TEST(BadRequests, AreNamedAndTheDaemonServesOn) {
  DaemonProcess daemon;
  ASSERT_TRUE(daemon.serving());
  Client client(daemon.grpc());
  ASSERT_GE(Rows().size() + ChatRows().size(), 60u);
  for (const Row& row : Rows()) {
    SCOPED_TRACE(row.name);
    G request;
    request.set_text("Once");
    row.spoil(request, *request.mutable_sampling_params(), *request.mutable_attention());
    const Reply reply = client.Generate(request);
    EXPECT_EQ(reply.status.error_code(), row.code) << reply.status.error_message();
    EXPECT_THAT(reply.status.error_message(), HasSubstr(row.names));
    EXPECT_TRUE(reply.completes.empty());
  }
  for (const ChatRow& row : ChatRows()) {
    SCOPED_TRACE(row.name);
    C request;
    Say(request, "user", "Hello");
    row.spoil(request);
    const Reply reply = client.Chat(request);
    EXPECT_EQ(reply.status.error_code(), kInvalid) << reply.status.error_message();
    EXPECT_THAT(reply.status.error_message(), HasSubstr(row.names));
  }
  EXPECT_TRUE(client.Generate(Greedy("Once", 4)).status.ok());
  const auto scrape = Scrape(daemon.metrics());
  EXPECT_EQ(Total(scrape, "alcca_requests_rejected_total"), Rows().size() + ChatRows().size());
}

// Bytes that a protobuf library would not let us send as a string: raw messages on the wire.
TEST(BadRequests, RawBytes) {
  DaemonProcess daemon;
  ASSERT_TRUE(daemon.serving());
  grpc::GenericStub stub(grpc::CreateChannel(daemon.grpc(), grpc::InsecureChannelCredentials()));
  const auto send = [&](const std::string& bytes) {
    grpc::Slice slice(bytes);
    const grpc::ByteBuffer request(&slice, 1);
    grpc::ByteBuffer response;
    grpc::ClientContext context;
    Client::SetDeadline(&context, 60);
    grpc::CompletionQueue queue;
    const auto call =
        stub.PrepareUnaryCall(&context, "/alcca.v1.Inference/Tokenize", request, &queue);
    call->StartCall();
    grpc::Status status;
    call->Finish(&response, &status, nullptr);
    void* tag = nullptr;
    bool ok = false;
    queue.Next(&tag, &ok);
    return status;
  };
  const std::string bad_text = std::string("\x0A", 1) + char(kBadUtf8.size()) + kBadUtf8;
  EXPECT_FALSE(send(bad_text).ok());
  EXPECT_FALSE(send(std::string("\x0A\xFF\xFF\xFF\xFF\x0F", 6)).ok());  // length past the end
  EXPECT_FALSE(send(std::string(200, '\xFF')).ok());
  EXPECT_TRUE(send(std::string("\x0A\x01x", 3)).ok());
  EXPECT_TRUE(Client(daemon.grpc()).Generate(Greedy("Once", 4)).status.ok());
}

TEST(BadRequests, AMessageOverTheLimitIsRefused) {
  DaemonProcess daemon({"--max-message-bytes=65536"});
  ASSERT_TRUE(daemon.serving());
  Client client(daemon.grpc());
  const Reply reply = client.Generate(Greedy(std::string(100000, 'x'), 4));
  EXPECT_EQ(reply.status.error_code(), StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_TRUE(client.Generate(Greedy("Once", 4)).status.ok());
}

TEST(BadRequests, MetadataOverTheLimitIsRefused) {
  DaemonProcess daemon;
  ASSERT_TRUE(daemon.serving());
  const auto status_with = [&](size_t bytes) {
    Client client(daemon.grpc());  // of its own: a refusal of headers may cost the connection
    grpc::ClientContext context;
    Client::SetDeadline(&context, 60);
    context.AddMetadata("x", std::string(bytes, 'y'));
    const G request = Greedy("Once", 4);
    return Client::Collect(client.stub().Generate(&context, request).get(), &context).status;
  };
  EXPECT_EQ(status_with(17000).error_code(), StatusCode::RESOURCE_EXHAUSTED);
  const grpc::Status good = status_with(15000);
  EXPECT_TRUE(good.ok()) << good.error_code() << " " << good.error_message();
}

TEST(BadRequests, DetailsNameTheFieldForMachines) {
  DaemonProcess daemon;
  ASSERT_TRUE(daemon.serving());
  Client client(daemon.grpc());
  G request = Greedy("Once", 4);
  request.mutable_sampling_params()->set_top_p(7);
  const Reply reply = client.Generate(request);
  EXPECT_THAT(reply.status.error_details(), HasSubstr("google.rpc.BadRequest"));
  EXPECT_THAT(reply.status.error_details(), HasSubstr("sampling_params.top_p"));
}

}  // namespace
}  // namespace alcca::e2e
