#pragma once

// A handler returns its reactor on one thread, and gRPC calls OnCancel on another. Atomics inside
// libgrpc++, which is not instrumented, order the two. These two calls tell ThreadSanitizer so; in
// other builds they do nothing.

#if defined(__SANITIZE_THREAD__)  // GCC
#define ALCCA_TSAN 1
#elif defined(__has_feature)  // clang
#if __has_feature(thread_sanitizer)
#define ALCCA_TSAN 1
#endif
#endif
#ifdef ALCCA_TSAN
#include <sanitizer/tsan_interface.h>
#endif

namespace alcca {

// The last thing a handler does with the reactor it returns.
template <typename Reactor>
Reactor* HandOver(Reactor* reactor) {
#ifdef ALCCA_TSAN
  __tsan_release(reactor);
#endif
  return reactor;
}

// The first thing in a reaction that gRPC may call from a thread of its own.
template <typename Reactor>
void TakeOver([[maybe_unused]] Reactor* reactor) {
#ifdef ALCCA_TSAN
  __tsan_acquire(reactor);
#endif
}

}  // namespace alcca
