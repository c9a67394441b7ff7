#pragma once

// The two halves of the table of filters, for CallFilter.

#include <string_view>
#include <unordered_map>

#include "absl/status/statusor.h"
#include "engine/text/jinja/runtime.h"
#include "engine/text/jinja/value.h"

namespace alcca::jinja {

using Filter = absl::StatusOr<Value> (*)(const Value& input, const Arguments&, Runtime*);
using Filters = std::unordered_map<std::string_view, Filter>;

const Filters& SequenceFilters();  // Of lists and dicts: sequence_filters.cc.

}  // namespace alcca::jinja
