#include "server/process/service_manager.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>

#include "server/logging.h"

namespace alcca {

ServiceManager::ServiceManager(std::string_view socket) {
  sockaddr_un address = {};
  if (socket.empty()) {
    return;
  }
  if ((socket[0] != '/' && socket[0] != '@') || socket.size() >= sizeof(address.sun_path)) {
    Log(LogLevel::kWarn, "NOTIFY_SOCKET is no address of a Unix socket: not notifying",
        {{"address", std::string(socket)}});
    return;
  }
  address.sun_family = AF_UNIX;
  std::copy(socket.begin(), socket.end(), address.sun_path);
  if (socket[0] == '@') {
    address.sun_path[0] = '\0';
  }
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + socket.size());
  fd_ = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd_ < 0 || connect(fd_, reinterpret_cast<const sockaddr*>(&address), size) != 0) {
    Log(LogLevel::kWarn, "NOTIFY_SOCKET cannot be reached: not notifying",
        {{"address", std::string(socket)}, {"error", std::string(std::strerror(errno))}});
    if (fd_ >= 0) {
      close(fd_);
      fd_ = -1;
    }
  }
}

ServiceManager::~ServiceManager() {
  if (fd_ >= 0) {
    close(fd_);
  }
}

void ServiceManager::Loading() const {
  Send("STATUS=Loading the model");
}
void ServiceManager::Ready() const {
  Send("READY=1\nSTATUS=Serving");
}
void ServiceManager::Progress() const {
  Send("WATCHDOG=1");
}
void ServiceManager::Stopping() const {
  Send("STOPPING=1\nSTATUS=Draining");
}

void ServiceManager::Send(std::string_view assignments) const {
  if (fd_ < 0) {
    return;
  }
  while (send(fd_, assignments.data(), assignments.size(), MSG_NOSIGNAL) < 0 && errno == EINTR) {
  }
}

}  // namespace alcca
