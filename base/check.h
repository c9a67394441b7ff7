#pragma once

// Checks for our own bugs. Data that a client or a file can shape is never checked with these: it
// gets an absl::Status (docs/contracts.md, "Errors").

#include <cstdio>
#include <cstdlib>

#define ALCCA_CHECK(condition)                                                           \
  do {                                                                                   \
    if (!(condition)) [[unlikely]] {                                                     \
      std::fprintf(stderr, "%s:%d: check failed: %s\n", __FILE__, __LINE__, #condition); \
      std::abort();                                                                      \
    }                                                                                    \
  } while (0)

// For inner loops: compiled out of release builds.
#ifdef NDEBUG
#define ALCCA_DCHECK(condition) \
  do {                          \
  } while (0)
#else
#define ALCCA_DCHECK(condition) ALCCA_CHECK(condition)
#endif
