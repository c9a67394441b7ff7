#pragma once

// Tells the service manager the state of the daemon by systemd's notification protocol
// (sd_notify(3)): a datagram of assignments to the Unix socket in NOTIFY_SOCKET. Without such a
// socket nothing is sent.

#include <string>
#include <string_view>

namespace alcca {

class ServiceManager {
 public:
  // `socket`: a path, "@name" for the abstract namespace, or empty when nobody listens.
  explicit ServiceManager(std::string_view socket);
  ~ServiceManager();
  ServiceManager(const ServiceManager&) = delete;
  ServiceManager& operator=(const ServiceManager&) = delete;

  void Loading() const;   // a text for `systemctl status`
  void Ready() const;     // health says SERVING
  void Progress() const;  // feeds the manager's watchdog; a lost one is made up for by the next
  void Stopping() const;  // the drain begins

 private:
  void Send(std::string_view assignments) const;

  int fd_ = -1;  // connected; -1: nobody listens
};

}  // namespace alcca
