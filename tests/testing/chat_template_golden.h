#pragma once

// What Python's jinja2 rendered (tools/golden/make_chat_template_golden.py), and what we do.

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/text/jinja/interpreter.h"
#include "engine/text/jinja/text.h"

namespace alcca::testing {

struct TemplateCase {
  std::string name;       // "chatml.jinja on turns+"
  std::string source;     // The template.
  std::string variables;  // A JSON object.
  bool fails = false;     // Python raised.
  std::string text;       // Else: what it rendered.
};

// Of a folder with conversations.jsonl, expected.jsonl and templates/.
std::vector<TemplateCase> ReadTemplateCases(const std::string& folder);

// Renders at the time that the golden data were written with. `messages`, `tools` and `documents`
// are of a client, all other variables of the template's side.
absl::StatusOr<jinja::Text> RenderCase(const TemplateCase& test);

// Empty, or how our answer differs.
std::string Difference(const TemplateCase& test);

}  // namespace alcca::testing
