#include "tools/cli/top/http_get.h"

#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <memory>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace alcca::cli {
namespace {

constexpr size_t kMaxHeaderBytes = 64 << 10;
using Clock = std::chrono::steady_clock;

class Socket {
 public:
  explicit Socket(int fd) : fd_(fd) {}
  ~Socket() {
    if (fd_ >= 0) {
      close(fd_);
    }
  }
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;
  int fd() const { return fd_; }

 private:
  const int fd_;
};

// Until the socket is ready for `events`.
absl::Status Await(int fd, short events, Clock::time_point deadline) {
  while (true) {
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
    if (left <= 0) {
      return absl::DeadlineExceededError("no answer in time");
    }
    pollfd poll_fd = {.fd = fd, .events = events, .revents = 0};
    const int ready = poll(&poll_fd, 1, static_cast<int>(left));
    if (ready > 0) {
      return absl::OkStatus();
    }
    if (ready < 0 && errno != EINTR) {
      return absl::UnavailableError(std::strerror(errno));
    }
  }
}

absl::Status Connect(int fd, const addrinfo& to, Clock::time_point deadline) {
  if (connect(fd, to.ai_addr, to.ai_addrlen) == 0) {
    return absl::OkStatus();
  }
  if (errno != EINPROGRESS) {
    return absl::UnavailableError(std::strerror(errno));
  }
  if (absl::Status status = Await(fd, POLLOUT, deadline); !status.ok()) {
    return status;
  }
  int error = 0;
  socklen_t size = sizeof(error);
  getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
  return error == 0 ? absl::OkStatus() : absl::UnavailableError(std::strerror(error));
}

absl::Status Send(int fd, std::string_view text, Clock::time_point deadline) {
  while (!text.empty()) {
    const ssize_t sent = send(fd, text.data(), text.size(), MSG_NOSIGNAL);
    if (sent >= 0) {
      text.remove_prefix(static_cast<size_t>(sent));
    } else if (errno == EAGAIN || errno == EINTR) {
      if (absl::Status status = Await(fd, POLLOUT, deadline); !status.ok()) {
        return status;
      }
    } else {
      return absl::UnavailableError(std::strerror(errno));
    }
  }
  return absl::OkStatus();
}

// Until the peer closes: the request asks it to.
absl::StatusOr<std::string> ReadAll(int fd, size_t max_bytes, Clock::time_point deadline) {
  std::string answer;
  char buffer[16 << 10];
  while (true) {
    const ssize_t got = recv(fd, buffer, sizeof(buffer), 0);
    if (got == 0) {
      return answer;
    }
    if (got > 0) {
      answer.append(buffer, static_cast<size_t>(got));
      if (answer.size() > max_bytes) {
        return absl::ResourceExhaustedError(
            absl::StrCat("the answer is larger than ", max_bytes, " bytes"));
      }
    } else if (errno == EAGAIN || errno == EINTR) {
      if (absl::Status status = Await(fd, POLLIN, deadline); !status.ok()) {
        return status;
      }
    } else {
      return absl::UnavailableError(std::strerror(errno));
    }
  }
}

absl::StatusOr<std::string> Exchange(const addrinfo& to, const std::string& request,
                                     size_t max_bytes, Clock::time_point deadline) {
  const Socket socket(
      ::socket(to.ai_family, to.ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, to.ai_protocol));
  if (socket.fd() < 0) {
    return absl::UnavailableError(std::strerror(errno));
  }
  absl::Status status = Connect(socket.fd(), to, deadline);
  if (status.ok()) {
    status = Send(socket.fd(), request, deadline);
  }
  if (!status.ok()) {
    return status;
  }
  return ReadAll(socket.fd(), max_bytes, deadline);
}

}  // namespace

absl::StatusOr<std::string> HttpBody(std::string_view answer) {
  const size_t end = answer.substr(0, kMaxHeaderBytes).find("\r\n\r\n");
  if (!answer.starts_with("HTTP/1.") || end == std::string_view::npos) {
    return absl::FailedPreconditionError("the answer is not HTTP/1");
  }
  std::string_view head = answer.substr(0, end);
  std::string_view body = answer.substr(end + 4);
  const std::string_view status_line = head.substr(0, head.find("\r\n"));
  if (status_line.size() < 12 || status_line.substr(8, 4) != " 200" ||
      (status_line.size() > 12 && status_line[12] != ' ')) {
    return absl::FailedPreconditionError(
        absl::StrCat("the answer is '", std::string(status_line), "'"));
  }
  while (!head.empty()) {
    const size_t size = std::min(head.find("\r\n"), head.size());
    const std::string line = absl::AsciiStrToLower(std::string(head.substr(0, size)));
    head.remove_prefix(std::min(size + 2, head.size()));
    uint64_t length = 0;
    if (line.starts_with("content-length:")) {
      if (!absl::SimpleAtoi(line.substr(15), &length) || length > body.size()) {
        return absl::FailedPreconditionError("the answer is shorter than it says");
      }
      body = body.substr(0, length);
    } else if (line.starts_with("transfer-encoding:") || line.starts_with("content-encoding:")) {
      return absl::FailedPreconditionError(absl::StrCat("the answer has '", line, "'"));
    }
  }
  return std::string(body);
}

absl::StatusOr<std::string> HttpGet(const std::string& address, const std::string& path,
                                    double timeout_seconds, size_t max_bytes) {
  const auto deadline = Clock::now() + std::chrono::duration_cast<Clock::duration>(
                                           std::chrono::duration<double>(timeout_seconds));
  const size_t colon = address.rfind(':');
  if (colon == std::string::npos || colon == 0) {
    return absl::InvalidArgumentError(absl::StrCat("'", address, "' is not host:port"));
  }
  std::string host = address.substr(0, colon);
  if (host.starts_with('[') && host.ends_with(']')) {
    host = host.substr(1, host.size() - 2);
  }
  addrinfo hints = {}, *found = nullptr;
  hints.ai_socktype = SOCK_STREAM;
  if (const int error = getaddrinfo(host.c_str(), address.c_str() + colon + 1, &hints, &found)) {
    return absl::UnavailableError(gai_strerror(error));
  }
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> owned(found, &freeaddrinfo);
  // HTTP/1.0: no chunks, and the peer closes when it is done.
  const std::string request =
      absl::StrCat("GET ", path, " HTTP/1.0\r\nHost: ", address,
                   "\r\nAccept: text/plain\r\nUser-Agent: alcca\r\nConnection: close\r\n\r\n");
  absl::StatusOr<std::string> answer = absl::UnavailableError("no address");
  for (const addrinfo* to = found; to != nullptr && !answer.ok(); to = to->ai_next) {
    answer = Exchange(*to, request, max_bytes + kMaxHeaderBytes, deadline);
  }
  if (!answer.ok()) {
    return answer.status();
  }
  return HttpBody(*answer);
}

}  // namespace alcca::cli
