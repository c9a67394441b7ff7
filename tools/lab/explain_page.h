#pragma once

#include <string_view>

namespace alcca::lab {

// tools/lab/explain_page.html; tools/CMakeLists.txt writes the definition.
extern const std::string_view kExplainPage;

}  // namespace alcca::lab
