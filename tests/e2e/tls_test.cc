// TLS from flag to token: the daemon, the client's flags, and the plaintext port of the probes.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "grpc/health/v1/health.grpc.pb.h"
#include "tests/e2e/client.h"
#include "tests/testing/certificates.h"
#include "tests/testing/checkpoint_writer.h"

namespace alcca::e2e {
namespace {

using testing::CertificateAuthority;
using testing::DaemonProcess;
using ::testing::HasSubstr;
using testing::ProgramResult;
using testing::RunProgram;

ProgramResult Alcca(const std::string& target, std::vector<std::string> args) {
  args.insert(args.end(), {"--target", target, "--timeout", "60"});
  return RunProgram(ALCCA_CLI_PATH, args);
}

TEST(Tls, MutualTlsServesWhoShowsACertificateAndNobodyElse) {
  const testing::TempDir dir;
  const CertificateAuthority authority(dir.path(), "root");
  const auto server = authority.Sign("server", "alcca.example");
  const auto client = authority.Sign("client", "client");
  DaemonProcess daemon({"--tls-cert=" + server.cert, "--tls-key=" + server.key,
                        "--tls-client-ca=" + authority.ca(), "--health-listen=127.0.0.1:0"});
  ASSERT_TRUE(daemon.serving());
  const std::vector<std::string> us = {"--tls-ca",  authority.ca(), "--tls-cert",
                                       client.cert, "--tls-key",    client.key};
  const auto with = [&](std::vector<std::string> args, std::vector<std::string> more) {
    args.insert(args.end(), us.begin(), us.end());
    args.insert(args.end(), more.begin(), more.end());
    return Alcca(daemon.grpc(), args);
  };
  const ProgramResult reply = with({"generate", "Once upon a time", "--max-tokens", "8"}, {});
  EXPECT_EQ(reply.exit_code, 0) << reply.err;
  EXPECT_FALSE(reply.out.empty());
  EXPECT_EQ(with({"health"}, {"--tls-server-name", "alcca.example"}).exit_code, 0);
  EXPECT_NE(with({"health"}, {"--tls-server-name", "other.example"}).exit_code, 0);
  EXPECT_NE(Alcca(daemon.grpc(), {"health", "--tls-ca", authority.ca()}).exit_code, 0);
  EXPECT_NE(Alcca(daemon.grpc(), {"health"}).exit_code, 0);  // plaintext
  EXPECT_THAT(daemon.Log(), HasSubstr("CN=server"));
}

// The probes' port must not lead around TLS.
TEST(Tls, TheHealthPortServesHealthAlone) {
  const testing::TempDir dir;
  const CertificateAuthority authority(dir.path(), "root");
  const auto server = authority.Sign("server", "localhost");
  DaemonProcess daemon(
      {"--tls-cert=" + server.cert, "--tls-key=" + server.key, "--health-listen=127.0.0.1:0"});
  ASSERT_TRUE(daemon.serving());
  ASSERT_FALSE(daemon.health().empty());
  for (const char* service : {"", "alcca.v1.Inference", "readiness", "liveness"}) {
    const auto answer = Alcca(daemon.health(), {"health", "--service", service});
    EXPECT_EQ(answer.exit_code, 0) << service << answer.err;
  }
  Client client(daemon.health());
  EXPECT_EQ(client.Generate(Greedy("Once", 2)).status.error_code(),
            grpc::StatusCode::UNIMPLEMENTED);

  // Both ports hear of the drain, and a watch on either ends.
  const auto stub = grpc::health::v1::Health::NewStub(client.channel());
  grpc::ClientContext context;
  Client::SetDeadline(&context, 60);
  const auto watch = stub->Watch(&context, {});
  grpc::health::v1::HealthCheckResponse state;
  ASSERT_TRUE(watch->Read(&state));
  EXPECT_EQ(state.status(), grpc::health::v1::HealthCheckResponse::SERVING);
  daemon.Signal(SIGTERM);
  ASSERT_TRUE(watch->Read(&state));
  EXPECT_EQ(state.status(), grpc::health::v1::HealthCheckResponse::NOT_SERVING);
  EXPECT_FALSE(watch->Read(&state));
  EXPECT_EQ(daemon.Wait(20), 0);
}

TEST(Tls, WrongFilesFailTheStartBeforeAPortIsOpened) {
  const testing::TempDir dir;
  const CertificateAuthority authority(dir.path(), "root");
  const auto server = authority.Sign("server", "localhost");
  const auto other = authority.Sign("other", "localhost");
  struct Row {
    std::vector<std::string> flags;
    int exit_code;
    const char* says;
  };
  for (const Row& row : std::initializer_list<Row>{
           {{"--tls-cert=" + server.cert}, 64, "tls_key"},
           {{"--tls-client-ca=" + authority.ca()}, 64, "tls_client_ca needs"},
           {{"--tls-cert=" + server.cert, "--tls-key=/no/such.key"}, 78, "/no/such.key"},
           {{"--tls-cert=" + server.cert, "--tls-key=" + other.key}, 78, "does not belong"},
       }) {
    for (const char* action : {"--check", "--listen=127.0.0.1:0"}) {
      std::vector<std::string> flags = row.flags;
      flags.insert(flags.end(), {action, "--metrics-listen=127.0.0.1:0"});
      const ProgramResult result = RunProgram(ALCCA_ALCCAD_PATH, flags);
      EXPECT_THAT(result.err, HasSubstr(row.says));
      EXPECT_EQ(result.exit_code, row.exit_code) << result.err;
    }
  }
}

}  // namespace
}  // namespace alcca::e2e
