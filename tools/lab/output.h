#pragma once

// Where results and errors of the lab's commands go.

#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace alcca::lab {

// "-" is stdout. A file is replaced whole: if writing fails, the old content stays. An error names
// the path.
absl::Status WriteFile(const std::string& path, std::string_view text);

// Prints a status that is not OK on stderr, as the client does; returns its code.
int Report(const absl::Status& status);

}  // namespace alcca::lab
