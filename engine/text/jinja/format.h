#pragma once

#include "absl/status/statusor.h"
#include "engine/text/jinja/meter.h"
#include "engine/text/jinja/value.h"

namespace alcca::jinja {

// Python's `format % values`: %s, %r, %d, %i and %%, without widths. INVALID_ARGUMENT for others.
absl::StatusOr<Value> PercentFormat(const Text& format, const Value& values, Meter* meter);

// Python's format.format(...): {}, {0}, {name}, {{ and }}, without attributes and specifications.
absl::StatusOr<Value> BraceFormat(const Text& format, const Arguments& arguments, Meter* meter);

// `pattern` as C's strftime writes it in the C locale, at `time`; INVALID_ARGUMENT if the result is
// longer than 256 bytes.
absl::StatusOr<Value> FormatTime(const Value& pattern, const struct tm& time, Meter* meter);

}  // namespace alcca::jinja
