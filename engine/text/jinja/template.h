#pragma once

// The Jinja of chat templates (tokenizer_config.json, chat_template.jinja, GGUF metadata): parsed
// once, rendered per request. What it renders is what Python's jinja2 3.1 renders with the settings
// of transformers: trim_blocks, lstrip_blocks, an immutable sandbox, loopcontrols, `generation`,
// tojson as json.dumps, raise_exception, strftime_now.
//
// A template is outside input and so are the messages: parsing and rendering allocate and compute
// within Limits, whatever they hold. Not implemented, and refused by name: tags that read files,
// recursive loops, filters and tests that no known chat template uses. Generators (map, select)
// compute all of their items at once.

#include <ctime>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "engine/text/jinja/interpreter.h"
#include "engine/text/jinja/meter.h"
#include "engine/text/jinja/text.h"

namespace alcca::jinja {

// Immutable after parsing, so safe for any number of threads.
class Template {
 public:
  // `name` stands for the file in error messages: "NAME: line 3: ...".
  static absl::StatusOr<Template> Parse(std::string_view source, std::string_view name);

  // `now` is the local time that strftime_now tells.
  // INVALID_ARGUMENT: the template refuses these variables, or computes what Python could not.
  // RESOURCE_EXHAUSTED: a limit.
  absl::StatusOr<Text> Render(const Variables& variables, const std::tm& now,
                              const Limits& limits = {}) const;

 private:
  Template(std::string name, Body body) : name_(std::move(name)), body_(std::move(body)) {}

  std::string name_;
  Body body_;
};

}  // namespace alcca::jinja
