#pragma once

// GET over plain HTTP, no more of it than reading a metrics page needs: one request per connection,
// one deadline for the whole, a bounded answer.

#include <cstddef>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace alcca::cli {

// Body of http://address/path; `address` is host:port or [v6]:port. UNAVAILABLE, DEADLINE_EXCEEDED
// (after `timeout_seconds`), RESOURCE_EXHAUSTED (above `max_bytes`) or, for an answer that is no
// HTTP or not 200, FAILED_PRECONDITION.
absl::StatusOr<std::string> HttpGet(const std::string& address, const std::string& path,
                                    double timeout_seconds, size_t max_bytes);

// The body of a whole HTTP/1.x answer; pure.
absl::StatusOr<std::string> HttpBody(std::string_view answer);

}  // namespace alcca::cli
