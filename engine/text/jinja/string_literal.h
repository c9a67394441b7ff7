#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace alcca::jinja {

// The value of a string literal without its quotes, by Python's rules ("unicode-escape"): an escape
// that does not exist keeps its backslash. INVALID_ARGUMENT: a cut escape, a surrogate, or a name
// (\N{...}), which is not implemented.
absl::StatusOr<std::string> Unescape(std::string_view literal);

}  // namespace alcca::jinja
