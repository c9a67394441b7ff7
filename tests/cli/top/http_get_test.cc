// The HTTP client against sockets that behave badly.

#include "tools/cli/top/http_get.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <functional>
#include <thread>

namespace alcca::cli {
namespace {

// Accepts one connection on a free port of loopback and lets `talk` have it.
class OneShotServer {
 public:
  explicit OneShotServer(std::function<void(int)> talk) {
    listener_ = socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    EXPECT_EQ(bind(listener_, reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_EQ(listen(listener_, 1), 0);
    EXPECT_EQ(getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size), 0);
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this, talk] {
      const int fd = accept(listener_, nullptr, nullptr);
      if (fd >= 0) {
        talk(fd);
        close(fd);
      }
    });
  }
  ~OneShotServer() {
    shutdown(listener_, SHUT_RDWR);
    thread_.join();
    close(listener_);
  }
  std::string address() const { return "127.0.0.1:" + std::to_string(port_); }

 private:
  int listener_ = -1;
  int port_ = 0;
  std::thread thread_;
};

void Write(int fd, const std::string& text) {
  (void)!send(fd, text.data(), text.size(), MSG_NOSIGNAL);
}

// Until the client goes away.
void Drain(int fd) {
  char buffer[4096];
  while (recv(fd, buffer, sizeof(buffer), 0) > 0) {
  }
}

TEST(HttpGet, ReadsAnAnswerInPieces) {
  OneShotServer server([](int fd) {
    char request[4096] = {};
    (void)!recv(fd, request, sizeof(request) - 1, 0);
    EXPECT_EQ(std::string(request).substr(0, 23), "GET /metrics HTTP/1.0\r\n");
    for (const char* piece : {"HTTP/1.1 2", "00 OK\r\n", "\r", "\n", "a 1\n", "b 2\n"}) {
      Write(fd, piece);
      std::this_thread::yield();
    }
  });
  const auto body = HttpGet(server.address(), "/metrics", 30, 1000);
  ASSERT_TRUE(body.ok()) << body.status();
  EXPECT_EQ(*body, "a 1\nb 2\n");
}

TEST(HttpGet, GivesUpInTime) {
  OneShotServer server([](int fd) {
    Write(fd, "HTTP/1.1 200 OK\r\n\r\n");  // and never the end
    Drain(fd);
  });
  const auto start = std::chrono::steady_clock::now();
  const auto body = HttpGet(server.address(), "/", .2, 1000);
  EXPECT_EQ(body.status().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(60));
}

TEST(HttpGet, StopsAtItsBound) {
  OneShotServer server([](int fd) {
    Write(fd, "HTTP/1.1 200 OK\r\n\r\n");
    const std::string chunk(64 << 10, 'x');
    while (send(fd, chunk.data(), chunk.size(), MSG_NOSIGNAL) > 0) {
    }
  });
  EXPECT_EQ(HttpGet(server.address(), "/", 60, 1000).status().code(),
            absl::StatusCode::kResourceExhausted);
}

TEST(HttpGet, SaysWhyThereIsNoConnection) {
  int port = 0;
  {
    OneShotServer gone([](int) {});
    port = std::stoi(gone.address().substr(10));
  }
  const auto refused = HttpGet("127.0.0.1:" + std::to_string(port), "/", 30, 10);
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_NE(refused.status().message().find("refused"), std::string::npos) << refused.status();
  for (const char* bad : {"", "host", ":80"}) {
    EXPECT_EQ(HttpGet(bad, "/", 1, 10).status().code(), absl::StatusCode::kInvalidArgument) << bad;
  }
}

}  // namespace
}  // namespace alcca::cli
