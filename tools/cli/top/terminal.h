#pragma once

// The terminal as a full-screen program uses it. It is restored on every way out. One exists at a
// time.

#include <termios.h>

#include <string>
#include <vector>

#include "tools/cli/top/term_text.h"

namespace alcca::cli {

class Terminal {
 public:
  // Takes the screen: alternate buffer, no cursor, keys as they are pressed. Signals that end or
  // stop a program wake Wait instead.
  Terminal();
  ~Terminal();
  Terminal(const Terminal&) = delete;
  Terminal& operator=(const Terminal&) = delete;

  enum class Key { kNone, kQuit, kUp, kDown };
  // Until a key, a change of the window, a Wake or the timeout. kQuit also for Ctrl-C, SIGTERM and
  // a terminal that hung up.
  Key Wait(double seconds);
  // From any thread: Wait returns kNone.
  static void Wake();

  // Replaces what is shown, without a blank moment between.
  void Show(const std::vector<std::string>& lines) const;

 private:
  void Enter();
  void Leave();
  Key ReadKey();

  bool raw_ = false;  // stdin is a terminal, too
  termios saved_ = {};
};

// Width and height of the terminal that stdout is; 80 by 0 where it is none. UTF-8 as the locale
// says; colour unless NO_COLOR is set or TERM is dumb.
TermLook LookOfStdout();

}  // namespace alcca::cli
