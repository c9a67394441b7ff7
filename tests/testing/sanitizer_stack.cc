// Sanitizer builds only. The metrics server's library gives its threads stacks of 100 KB, into
// which glibc also puts thread-local storage; a sanitizer's share of that leaves too little.

#include <dlfcn.h>
#include <pthread.h>

#include <algorithm>

extern "C" int pthread_attr_setstacksize(pthread_attr_t* attributes, size_t bytes) {
  using Function = int (*)(pthread_attr_t*, size_t);
  static const auto next =
      reinterpret_cast<Function>(dlsym(RTLD_NEXT, "pthread_attr_setstacksize"));
  return next(attributes, std::max(bytes, size_t{1} << 20));
}
