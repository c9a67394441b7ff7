#include "engine/text/jinja/template.h"

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/utf8.h"
#include "engine/text/jinja/parser.h"

namespace alcca::jinja {

absl::StatusOr<Template> Template::Parse(std::string_view source, std::string_view name) {
  const absl::string_view file(name.data(), name.size());
  if (!IsValidUtf8(source)) {
    return absl::InvalidArgumentError(absl::StrCat(file, ": is not UTF-8"));
  }
  absl::StatusOr<Body> body = jinja::Parse(source);
  if (!body.ok()) {
    return absl::InvalidArgumentError(absl::StrCat(file, ": ", body.status().message()));
  }
  return Template(std::string(name), *std::move(body));
}

absl::StatusOr<Text> Template::Render(const Variables& variables, const std::tm& now,
                                      const Limits& limits) const {
  Runtime runtime(limits, now);
  absl::StatusOr<Text> text = Interpreter(body_, variables, &runtime).Run();
  if (!text.ok()) {
    return absl::Status(text.status().code(), absl::StrCat(name_, ": ", text.status().message()));
  }
  return text;
}

}  // namespace alcca::jinja
