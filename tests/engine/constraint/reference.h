// The slow recogniser that the fast one is held against: Earley's algorithm on a grammar, one item
// set per byte, no sharing, no determinising, counters and sets as they are written.

#pragma once

#include <string_view>

#include "engine/constraint/grammar.h"

namespace alcca {

struct Verdict {
  bool prefix = false;    // Some text that begins so satisfies the grammar.
  bool complete = false;  // This text does.
};

Verdict ReferenceVerdict(const Grammar& grammar, std::string_view text);

}  // namespace alcca
