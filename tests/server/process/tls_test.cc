// The files of TLS: what is accepted, what is refused and in which words, and what a rotation does.

#include "server/process/tls.h"

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "server/process/health.h"
#include "tests/testing/certificates.h"
#include "tests/testing/checkpoint_writer.h"
#include "tests/testing/process.h"

namespace alcca {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using testing::CertificateAuthority;
using ::testing::HasSubstr;

std::string Text(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

class TlsTest : public ::testing::Test {
 protected:
  testing::TempDir dir_;
  const CertificateAuthority authority_{dir_.path(), "root"};
  const CertificateAuthority::Leaf leaf_ = authority_.Sign("server", "localhost");
};

TEST_F(TlsTest, GoodFilesAreReadWhole) {
  const auto read = ReadTls({leaf_.cert, leaf_.key, authority_.ca()});
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->cert, Text(leaf_.cert));
  EXPECT_EQ(read->client_ca, Text(authority_.ca()));
  EXPECT_EQ(read->subject, "CN=server");
  const double days =
      std::chrono::duration<double>(read->not_after - std::chrono::system_clock::now()).count() /
      86400;
  EXPECT_GT(days, 29);
  EXPECT_LE(days, 30);
}

// The clients decide about validity; the log warns.
TEST_F(TlsTest, AnExpiredCertificateIsReadAndItsEndIsPast) {
  const auto old = authority_.Sign("old", "localhost", -1);
  const auto read = ReadTls({old.cert, old.key, ""});
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_LT(read->not_after, std::chrono::system_clock::now());
}

TEST_F(TlsTest, EveryMistakeIsNamed) {
  const auto other = authority_.Sign("other", "localhost");
  const std::string empty = dir_.Write("empty.pem", "");
  const std::string junk = dir_.Write("junk.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n");
  const std::string half =
      dir_.Write("half.pem", Text(leaf_.cert) + Text(authority_.ca()).substr(0, 300));
  const std::string damaged = dir_.Write(
      "damaged.pem",
      Text(leaf_.cert) + "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
  const std::string locked = dir_.path() + "/locked.key";
  ASSERT_EQ(testing::RunProgram("openssl", {"pkcs8", "-topk8", "-in", leaf_.key, "-out", locked,
                                            "-passout", "pass:secret"})
                .exit_code,
            0);
  const std::string large = dir_.Write("large.pem", std::string((1 << 20) + 1, 'x'));
  struct Row {
    TlsFiles files;
    const char *names, *rule;
  };
  for (const Row& row : std::initializer_list<Row>{
           {{"/no/such", leaf_.key, ""}, "tls_cert: /no/such", "cannot be read"},
           {{dir_.path(), leaf_.key, ""}, "tls_cert", "cannot be read"},
           {{leaf_.cert, "/no/such", ""}, "tls_key: /no/such", "cannot be read"},
           {{empty, leaf_.key, ""}, "empty.pem", "PEM with a certificate"},
           {{junk, leaf_.key, ""}, "junk.pem", "PEM with a certificate"},
           {{leaf_.key, leaf_.key, ""}, "server.key", "PEM with a certificate"},
           {{half, leaf_.key, ""}, "half.pem", "damaged"},
           {{damaged, leaf_.key, ""}, "damaged.pem", "damaged"},
           {{large, leaf_.key, ""}, "large.pem", "at most 1048576"},
           {{leaf_.cert, leaf_.cert, ""}, "tls_key", "private key"},
           {{leaf_.cert, locked, ""}, "locked.key", "not encrypted"},
           {{leaf_.cert, other.key, ""}, "other.key", "does not belong"},
           {{leaf_.cert, leaf_.key, "/no/such"}, "tls_client_ca: /no/such", "cannot be read"},
           {{leaf_.cert, leaf_.key, empty}, "tls_client_ca", "PEM with a certificate"},
       }) {
    const auto read = ReadTls(row.files);
    ASSERT_FALSE(read.ok()) << row.names;
    EXPECT_THAT(std::string(read.status().message()),
                AllOf(HasSubstr(row.names), HasSubstr(row.rule)));
    EXPECT_FALSE(ReloadingTls(row.files, [](const auto&) { FAIL(); }).ok());
  }
}

// A real server and real handshakes; `root` is what the client trusts.
class TlsServer {
 public:
  explicit TlsServer(const TlsFiles& files) {
    auto credentials = ReloadingTls(files, [this](const absl::StatusOr<TlsMaterial>& read) {
      const std::lock_guard lock(mutex_);
      heard_.push_back(read.ok() ? read->subject : std::string(read.status().message()));
    });
    credentials_ = *credentials;
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", credentials_, &port_);
    builder.RegisterService(&health_);
    server_ = builder.BuildAndStart();
  }
  ~TlsServer() { server_->Shutdown(); }

  std::unique_ptr<grpc::health::v1::Health::Stub> Connect(const grpc::SslCredentialsOptions& tls) {
    grpc::ChannelArguments fresh;  // a connection, and so a handshake, of its own
    fresh.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    return grpc::health::v1::Health::NewStub(grpc::CreateCustomChannel(
        "127.0.0.1:" + std::to_string(port_), grpc::SslCredentials(tls), fresh));
  }
  static grpc::StatusCode Ask(grpc::health::v1::Health::Stub* stub) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(60));
    grpc::health::v1::HealthCheckResponse response;
    return stub->Check(&context, {}, &response).error_code();
  }
  grpc::StatusCode Ask(const grpc::SslCredentialsOptions& tls) { return Ask(Connect(tls).get()); }
  std::vector<std::string> heard() {
    const std::lock_guard lock(mutex_);
    return heard_;
  }

 private:
  std::mutex mutex_;
  std::vector<std::string> heard_;
  HealthService health_;
  std::shared_ptr<grpc::ServerCredentials> credentials_;
  std::unique_ptr<grpc::Server> server_;
  int port_ = 0;
};

TEST_F(TlsTest, ARotationCountsFromTheNextHandshakeAndAMistakeChangesNothing) {
  const CertificateAuthority next(dir_.path(), "next");
  const auto renewed = next.Sign("renewed", "localhost");
  TlsServer server({leaf_.cert, leaf_.key, ""});
  const grpc::SslCredentialsOptions old_root{Text(authority_.ca()), "", ""};
  const grpc::SslCredentialsOptions new_root{Text(next.ca()), "", ""};
  const auto open = server.Connect(old_root);
  EXPECT_EQ(TlsServer::Ask(open.get()), grpc::StatusCode::OK);
  EXPECT_EQ(server.Ask(new_root), grpc::StatusCode::UNAVAILABLE);

  fs::rename(renewed.cert, leaf_.cert);  // half of it: the pair does not fit yet
  EXPECT_EQ(server.Ask(old_root), grpc::StatusCode::OK);
  EXPECT_EQ(server.Ask(old_root), grpc::StatusCode::OK);
  fs::rename(renewed.key, leaf_.key);
  EXPECT_EQ(server.Ask(new_root), grpc::StatusCode::OK);
  EXPECT_EQ(server.Ask(old_root), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(TlsServer::Ask(open.get()), grpc::StatusCode::OK);  // open connections live on

  fs::remove(leaf_.key);
  EXPECT_EQ(server.Ask(new_root), grpc::StatusCode::OK);
  EXPECT_THAT(server.heard(), ::testing::ElementsAre("CN=server", HasSubstr("does not belong"),
                                                     "CN=renewed", HasSubstr("cannot be read")));
}

TEST_F(TlsTest, ClientsMustShowACertificateOfTheirRoot) {
  const CertificateAuthority strangers(dir_.path(), "strangers");
  const auto client = authority_.Sign("client", "client");
  const auto stranger = strangers.Sign("stranger", "client");
  TlsServer server({leaf_.cert, leaf_.key, authority_.ca()});
  const std::string root = Text(authority_.ca());
  EXPECT_EQ(server.Ask({root, Text(client.key), Text(client.cert)}), grpc::StatusCode::OK);
  EXPECT_EQ(server.Ask({root, "", ""}), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(server.Ask({root, Text(stranger.key), Text(stranger.cert)}),
            grpc::StatusCode::UNAVAILABLE);
}

}  // namespace
}  // namespace alcca
