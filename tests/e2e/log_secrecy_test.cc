// docs/secure.md: what clients send and receive never reaches the log, whatever happens to the
// call.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include "tests/e2e/client.h"

namespace alcca::e2e {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(Logs, NeverHoldWhatClientsSendOrReceive) {
  testing::DaemonProcess daemon({"--log-level=debug"});
  ASSERT_TRUE(daemon.serving());
  Client client(daemon.grpc());
  const std::string secret = "swordfish";
  const Reply answered = client.Generate(Greedy("The " + secret + " sat down.", 20));
  ASSERT_TRUE(answered.status.ok());
  ASSERT_GT(answered.text.size(), 10u);

  v1::GenerateRequest too_long = Greedy(secret, 1u << 30);  // refused by validation
  EXPECT_EQ(client.Generate(too_long).status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  v1::GenerateRequest stops = Greedy("Once", 5);
  stops.mutable_sampling_params()->add_stop(secret);
  ASSERT_TRUE(client.Generate(stops).status.ok());
  v1::ChatRequest chat;  // the embedded model has no instruct format, or answers: both may not tell
  chat.mutable_sampling_params()->set_max_tokens(3);
  for (const char* role : {"user", "nobody"}) {
    chat.clear_messages();
    chat.add_messages()->set_role(role);
    chat.mutable_messages(0)->set_content(secret);
    chat.set_tools_json("[\"" + secret + "\"]");
    (void)client.Chat(chat);
  }
  v1::TokenizeRequest tokenize;
  tokenize.set_text(secret);
  v1::TokenizeResponse tokens;
  grpc::ClientContext context;
  ASSERT_TRUE(client.stub().Tokenize(&context, tokenize, &tokens).ok());

  daemon.Signal(SIGTERM);
  ASSERT_EQ(daemon.Wait(60), 0);
  EXPECT_THAT(daemon.Log(), HasSubstr("\"call\""));  // it does log
  EXPECT_THAT(daemon.Log(), Not(HasSubstr(secret)));
  EXPECT_THAT(daemon.Log(), Not(HasSubstr(answered.text.substr(0, 10))));
}

TEST(Logs, NeverObeyAClientsId) {
  for (const char* format : {"text", "json"}) {
    testing::DaemonProcess daemon({std::string("--log-format=") + format});
    ASSERT_TRUE(daemon.serving());
    v1::GenerateRequest request = Greedy("Once", 1);
    request.set_request_id(
        "a\nb\x1b]0;c\x07\x7f\xc2\x9b"
        "d\xc3\xa9");
    ASSERT_TRUE(Client(daemon.grpc()).Generate(request).status.ok());
    daemon.Signal(SIGTERM);
    ASSERT_EQ(daemon.Wait(60), 0);
    const std::string log = daemon.Log();
    EXPECT_THAT(log, HasSubstr("a\\u000ab\\u001b]0;c\\u0007")) << format;
    EXPECT_THAT(log, HasSubstr("d\xc3\xa9")) << format;
    if (std::string(format) == "text") {
      EXPECT_THAT(log, HasSubstr("\\u007f\\u009bd"));
    }
  }
}

}  // namespace
}  // namespace alcca::e2e
