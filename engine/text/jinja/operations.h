#pragma once

// What Python's operators, str() and repr() do with values. INVALID_ARGUMENT is Python's exception;
// RESOURCE_EXHAUSTED a limit of the meter.

#include <string_view>

#include "absl/status/statusor.h"
#include "engine/text/jinja/meter.h"
#include "engine/text/jinja/value.h"

namespace alcca::jinja {

// a op b, for + - * / // % **.
absl::StatusOr<Value> Arithmetic(std::string_view op, const Value& a, const Value& b, Meter* meter);
absl::StatusOr<Value> Negate(const Value& value);

absl::StatusOr<bool> Equal(const Value& a, const Value& b, Meter* meter);
absl::StatusOr<bool> Less(const Value& a, const Value& b, Meter* meter);
absl::StatusOr<bool> Contains(const Value& container, const Value& item, Meter* meter);

// str(value), and the same as a text to append.
absl::StatusOr<Value> ToStringValue(const Value& value, Meter* meter);
absl::Status AppendString(const Value& value, Meter* meter, Text* out);
// repr(value), appended.
absl::Status AppendRepr(const Value& value, Meter* meter, Text* out);

// The parts that a loop over the value visits: items, keys, characters. Reads a generator.
absl::StatusOr<std::vector<Value>> Iterate(const Value& value, Meter* meter);
// len(value).
absl::StatusOr<int64_t> Length(const Value& value, Meter* meter);

// value[index] for a list or string; undefined beyond the end.
absl::StatusOr<Value> Index(const Value& value, int64_t index, Meter* meter);
// value[start:stop:step]; parts that are None are the defaults.
absl::StatusOr<Value> Slice(const Value& value, const Value& start, const Value& stop,
                            const Value& step, Meter* meter);

// An error that says what was done with a value that is not defined; OK for others.
absl::Status CheckDefined(const Value& value);

// HTML-escaped, as Python's markupsafe does.
Text EscapeHtml(const Text& text);

}  // namespace alcca::jinja
