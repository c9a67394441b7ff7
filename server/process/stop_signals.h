// SIGTERM and SIGINT. The first thread of the process only takes these signals, and the daemon runs
// on another thread. The kernel delivers a signal of the process to its first thread if that thread
// has not blocked it. The handler therefore never runs inside a thread of gRPC, of the engine, or
// of a library that started threads before main. OpenBLAS starts such threads, and they block no
// signal, so sigwait behind a mask would not work.
#pragma once

#include <functional>

namespace alcca {

// Runs `daemon` on a new thread and returns what it returns. Call it on the first thread, before
// any other is started: `daemon` and every thread it starts block both signals. A signal ends the
// process at once with 128 + its number, unless DrainOnNextStopSignal has been called. SIGPIPE is
// ignored from here on.
int RunBesideStopSignals(const std::function<int()>& daemon);

// The next signal asks to stop instead of ending the process; the one after it ends it at once.
void DrainOnNextStopSignal();

// Waits for the signal that asks to stop; its number.
int AwaitStopSignal();

}  // namespace alcca
