#pragma once

// Methods of Python's strings that filters use as well.

#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/text/jinja/meter.h"
#include "engine/text/jinja/value.h"

namespace alcca::jinja {

enum class Side { kBoth, kLeft, kRight };

// str.strip, lstrip, rstrip: without white space, or without the characters of `characters`.
absl::StatusOr<Value> Strip(const Text& text, const Text* characters, Side side, Meter* meter);

// str.replace; `count` < 0 = all.
absl::StatusOr<Value> Replace(const Text& text, const Text& old, const Text& replacement,
                              int64_t count, Meter* meter);

// str.split and rsplit (`right`); `limit` < 0 = none. Without separator: at white space.
absl::StatusOr<Value> Split(const Text& text, const Text* separator, int64_t limit, bool right,
                            Meter* meter);

absl::StatusOr<std::vector<Text>> SplitLines(const Text& text, bool keep_ends, Meter* meter);

// separator.join(items), each item a string.
absl::StatusOr<Value> JoinTexts(const Text& separator, const std::vector<Value>& items,
                                Meter* meter);

}  // namespace alcca::jinja
