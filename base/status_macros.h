#pragma once

// Early return for absl::Status and absl::StatusOr (Debian's absl has no such macros yet).

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#define RETURN_IF_ERROR(expression)                           \
  do {                                                        \
    if (absl::Status status_ = (expression); !status_.ok()) { \
      return status_;                                         \
    }                                                         \
  } while (0)

#define ALCCA_CONCAT_INNER_(a, b) a##b
#define ALCCA_CONCAT_(a, b) ALCCA_CONCAT_INNER_(a, b)

// ASSIGN_OR_RETURN(auto file, Open(path));
#define ASSIGN_OR_RETURN(lhs, expression) \
  ASSIGN_OR_RETURN_IMPL_(ALCCA_CONCAT_(status_or_, __LINE__), lhs, expression)

// `lhs` may be a declaration, and names take no parentheses.
// NOLINTBEGIN(bugprone-macro-parentheses)
#define ASSIGN_OR_RETURN_IMPL_(status_or, lhs, expression) \
  auto status_or = (expression);                           \
  if (!status_or.ok()) {                                   \
    return status_or.status();                             \
  }                                                        \
  lhs = *std::move(status_or)
// NOLINTEND(bugprone-macro-parentheses)
