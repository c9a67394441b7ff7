#include "tests/testing/process.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <thread>

namespace alcca::testing {
namespace {

using Clock = std::chrono::steady_clock;
constexpr int kStartSeconds = 120;  // a sanitizer build on a busy machine is slow
constexpr size_t kShownLogBytes = 16 << 10;

std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

// An empty temporary file, removed by the caller.
std::string TemporaryFile() {
  std::string path = "/tmp/alcca_test_XXXXXX";
  close(mkstemp(path.data()));
  return path;
}

pid_t Spawn(const std::string& path, const std::vector<std::string>& args, int in, int out,
            int err) {
  std::vector<char*> argv{const_cast<char*>(path.c_str())};
  for (const std::string& arg : args) {
    argv.push_back(const_cast<char*>(arg.c_str()));
  }
  argv.push_back(nullptr);
  const pid_t pid = fork();
  if (pid == 0) {
    dup2(in, STDIN_FILENO);
    dup2(out, STDOUT_FILENO);
    dup2(err, STDERR_FILENO);
    execvp(path.c_str(), argv.data());
    _exit(127);
  }
  return pid;
}

int ExitCode(int status) {
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

// Exit code, or -1 after so long.
int WaitFor(pid_t pid, double seconds) {
  const auto end = Clock::now() + std::chrono::duration<double>(seconds);
  do {
    int status = 0;
    if (waitpid(pid, &status, WNOHANG) == pid) {
      return ExitCode(status);
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  } while (Clock::now() < end);
  return -1;
}

}  // namespace

ProgramResult RunProgram(const std::string& path, const std::vector<std::string>& args,
                         const std::string& input, int timeout_seconds) {
  const std::string in = TemporaryFile(), out = TemporaryFile(), err = TemporaryFile();
  std::ofstream(in, std::ios::binary) << input;
  const int fds[] = {open(in.c_str(), O_RDONLY | O_CLOEXEC),
                     open(out.c_str(), O_WRONLY | O_CLOEXEC),
                     open(err.c_str(), O_WRONLY | O_CLOEXEC)};
  const pid_t pid = Spawn(path, args, fds[0], fds[1], fds[2]);
  for (int fd : fds) {
    close(fd);
  }
  ProgramResult result;
  result.exit_code = WaitFor(pid, timeout_seconds);
  if (result.exit_code == -1) {
    kill(pid, SIGKILL);
    waitpid(pid, nullptr, 0);
  }
  result.out = ReadFile(out);
  result.err = ReadFile(err);
  for (const std::string& file : {in, out, err}) {
    unlink(file.c_str());
  }
  return result;
}

DaemonProcess::DaemonProcess(const std::vector<std::string>& flags) : log_path_(TemporaryFile()) {
  std::vector<std::string> args = {"--listen=127.0.0.1:0", "--log-format=json"};
  if (std::find(flags.begin(), flags.end(), "--metrics-listen") == flags.end()) {
    args.push_back("--metrics-listen=127.0.0.1:0");
  }
  args.insert(args.end(), flags.begin(), flags.end());
  int out[2];
  if (pipe2(out, O_CLOEXEC) != 0) {
    return;
  }
  const int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
  const int log = open(log_path_.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC);
  pid_ = Spawn(ALCCA_ALCCAD_PATH, args, null, out[1], log);
  close(null);
  close(log);
  close(out[1]);
  if (!AwaitListening(out[0])) {
    std::fprintf(stderr, "alccad did not start; its log:\n%s\n", Log().c_str());
  }
  close(out[0]);
}

DaemonProcess::~DaemonProcess() {
  if (!reaped_ && pid_ > 0) {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  if (::testing::Test::HasFailure()) {  // a sanitizer's report stands there, too
    const std::string log = Log();
    const size_t begin = log.size() - std::min(log.size(), kShownLogBytes);
    std::fprintf(stderr, "the daemon's log:\n%s\n", log.c_str() + begin);
  }
  unlink(log_path_.c_str());
}

// "listening grpc=HOST:PORT metrics=HOST:PORT[ health=HOST:PORT]"
bool DaemonProcess::AwaitListening(int out_fd) {
  const auto end = Clock::now() + std::chrono::seconds(kStartSeconds);
  std::string line;
  while (Clock::now() < end && line.find('\n') == std::string::npos) {
    pollfd poll_fd{.fd = out_fd, .events = POLLIN, .revents = 0};
    if (poll(&poll_fd, 1, 100) > 0) {
      char buffer[256];
      const ssize_t count = read(out_fd, buffer, sizeof(buffer));
      if (count <= 0) {
        return false;
      }
      line.append(buffer, count);
    }
  }
  const size_t grpc = line.find("grpc="), metrics = line.find(" metrics=");
  if (grpc == std::string::npos || metrics == std::string::npos) {
    return false;
  }
  grpc_ = line.substr(grpc + 5, metrics - grpc - 5);
  const size_t end_of_line = line.find('\n');
  const size_t health = std::min(line.find(" health="), end_of_line);
  metrics_ = line.substr(metrics + 9, health - metrics - 9);
  health_ = health < end_of_line ? line.substr(health + 8, end_of_line - health - 8) : "";
  return true;
}

void DaemonProcess::Signal(int number) const {
  kill(pid_, number);
}

int DaemonProcess::Wait(double seconds) {
  if (!reaped_) {
    exit_code_ = WaitFor(pid_, seconds);
    reaped_ = exit_code_ != -1;
  }
  return exit_code_;
}

std::string DaemonProcess::Log() const {
  return ReadFile(log_path_);
}

int64_t DaemonProcess::ResidentBytes() const {
  std::ifstream statm("/proc/" + std::to_string(pid_) + "/statm");
  int64_t size = 0, resident = 0;
  statm >> size >> resident;
  return resident * sysconf(_SC_PAGESIZE);
}

std::string HttpGet(const std::string& address, const std::string& path) {
  const size_t colon = address.rfind(':');
  sockaddr_in server{};
  server.sin_family = AF_INET;
  server.sin_port = htons(static_cast<uint16_t>(std::atoi(address.c_str() + colon + 1)));
  inet_pton(AF_INET, address.substr(0, colon).c_str(), &server.sin_addr);
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  std::string reply;
  if (connect(fd, reinterpret_cast<sockaddr*>(&server), sizeof(server)) == 0) {
    const std::string request =
        "GET " + path + " HTTP/1.0\r\nHost: " + address + "\r\nConnection: close\r\n\r\n";
    (void)!write(fd, request.data(), request.size());
    char buffer[4096];
    for (ssize_t count; (count = read(fd, buffer, sizeof(buffer))) > 0;) {
      reply.append(buffer, count);
    }
  }
  close(fd);
  const size_t body = reply.find("\r\n\r\n");
  const bool ok = reply.substr(0, reply.find('\r')).find(" 200") != std::string::npos;
  return ok && body != std::string::npos ? reply.substr(body + 4) : "";
}

}  // namespace alcca::testing
