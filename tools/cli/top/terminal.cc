#include "tools/cli/top/terminal.h"

#include <fcntl.h>
#include <langinfo.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <clocale>
#include <csignal>
#include <cstdlib>
#include <cstring>

namespace alcca::cli {
namespace {

// Signal handlers and Wake write here; Wait reads. 'q' quit, 'z' stop, anything else wakes.
int wake_pipe[2] = {-1, -1};

void Poke(char why) {
  const int saved = errno;
  (void)!write(wake_pipe[1], &why, 1);  // full: a wake is on its way already
  errno = saved;
}

extern "C" void OnSignal(int signal) {
  Poke(signal == SIGTSTP ? 'z' : signal == SIGWINCH || signal == SIGCONT ? 'w' : 'q');
}

constexpr std::array kSignals = {SIGINT, SIGTERM, SIGHUP, SIGTSTP, SIGWINCH};

void HandleSignals(bool ours) {
  struct sigaction action = {};
  action.sa_handler = ours ? OnSignal : SIG_DFL;
  action.sa_flags = SA_RESTART;
  for (const int signal : kSignals) {
    sigaction(signal, &action, nullptr);
  }
}

void WriteAll(const std::string& text) {
  size_t done = 0;
  while (done < text.size()) {
    const ssize_t wrote = write(STDOUT_FILENO, text.data() + done, text.size() - done);
    if (wrote < 0 && errno != EINTR) {
      return;  // the terminal is gone; Wait will say so
    }
    done += wrote > 0 ? static_cast<size_t>(wrote) : 0;
  }
}

}  // namespace

Terminal::Terminal() {
  if (pipe2(wake_pipe, O_CLOEXEC | O_NONBLOCK) != 0) {
    wake_pipe[0] = wake_pipe[1] = -1;
  }
  raw_ = tcgetattr(STDIN_FILENO, &saved_) == 0;
  HandleSignals(true);
  Enter();
}

Terminal::~Terminal() {
  Leave();
  HandleSignals(false);
  // The pipe stays: a thread may be about to Wake.
}

void Terminal::Enter() {
  if (raw_) {
    termios keys = saved_;
    keys.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO);
    keys.c_cc[VMIN] = 0;
    keys.c_cc[VTIME] = 0;
    tcsetattr(STDIN_FILENO, TCSANOW, &keys);
  }
  WriteAll("\x1b[?1049h\x1b[?25l\x1b[H\x1b[J");
}

void Terminal::Leave() {
  WriteAll("\x1b[0m\x1b[?25h\x1b[?1049l");
  if (raw_) {
    tcsetattr(STDIN_FILENO, TCSANOW, &saved_);
  }
}

void Terminal::Wake() {
  Poke('w');
}

Terminal::Key Terminal::ReadKey() {
  char bytes[64];
  const ssize_t got = read(STDIN_FILENO, bytes, sizeof(bytes));
  if (got <= 0) {
    return got < 0 && (errno == EINTR || errno == EAGAIN) ? Key::kNone : Key::kQuit;
  }
  const std::string_view keys(bytes, static_cast<size_t>(got));
  if (keys == "\x1b[A" || keys == "\x1bOA" || keys == "k") {
    return Key::kUp;
  }
  if (keys == "\x1b[B" || keys == "\x1bOB" || keys == "j" || keys == "\t") {
    return Key::kDown;
  }
  const bool quits = keys == "\x1b" || keys.find_first_of("qQ\x03\x04") != std::string_view::npos;
  return quits ? Key::kQuit : Key::kNone;
}

Terminal::Key Terminal::Wait(double seconds) {
  std::array<pollfd, 2> fds = {
      pollfd{.fd = wake_pipe[0], .events = POLLIN, .revents = 0},
      pollfd{.fd = raw_ ? STDIN_FILENO : -1, .events = POLLIN, .revents = 0}};
  const int ready = poll(fds.data(), fds.size(), static_cast<int>(std::max(0., seconds) * 1e3));
  if (ready <= 0) {
    return Key::kNone;
  }
  if (fds[0].revents != 0) {
    char why[64];
    const ssize_t got = read(wake_pipe[0], why, sizeof(why));
    const std::string_view reasons(why, static_cast<size_t>(std::max<ssize_t>(got, 0)));
    if (reasons.find('q') != std::string_view::npos) {
      return Key::kQuit;
    }
    if (reasons.find('z') != std::string_view::npos) {  // Ctrl-Z: give the terminal back, then stop
      Leave();
      raise(SIGSTOP);
      Enter();
    }
  }
  return fds[1].revents != 0 ? ReadKey() : Key::kNone;
}

void Terminal::Show(const std::vector<std::string>& lines) const {
  std::string frame = "\x1b[H";
  for (size_t i = 0; i < lines.size(); ++i) {
    frame += (i == 0 ? "" : "\r\n") + lines[i] + "\x1b[K";
  }
  WriteAll(frame + "\x1b[J");
}

TermLook LookOfStdout() {
  TermLook look;
  std::setlocale(LC_CTYPE, "");
  look.unicode = std::strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
  std::setlocale(LC_CTYPE, "C");
  winsize size = {};
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) {
    look.width = size.ws_col;
    look.height = size.ws_row;
  }
  const char* no_color = std::getenv("NO_COLOR");
  const char* term = std::getenv("TERM");
  look.color = isatty(STDOUT_FILENO) != 0 && (no_color == nullptr || *no_color == '\0') &&
               term != nullptr && std::strcmp(term, "dumb") != 0;
  return look;
}

}  // namespace alcca::cli
