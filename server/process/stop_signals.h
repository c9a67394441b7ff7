// SIGTERM and SIGINT. The process's first thread does nothing but take them while the daemon works
// on another: the kernel hands a signal sent to the process to its first thread whenever that one
// has not blocked it, so the handler never runs inside a thread of gRPC, of the engine or of a
// library that started threads before main (OpenBLAS does, which is why sigwait behind a mask would
// not do: such a thread blocks nothing).
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
