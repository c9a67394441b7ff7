// Fuzzes the interpreter of chat templates: the input is a template, rendered over a conversation
// whose contents are taken from the input as well. Whatever it says, rendering ends within its
// limits, writes valid UTF-8, and no text of a message becomes text of the template.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "base/utf8.h"
#include "engine/text/jinja/json.h"
#include "engine/text/jinja/template.h"

namespace alcca::jinja {
namespace {

constexpr std::string_view kMark = "\xEE\x80\x81";  // U+E001

void Expect(bool condition) {
  if (!condition) {
    std::abort();
  }
}

Value Message(std::string_view role, std::string_view content) {
  Dict dict;
  const auto text = [](std::string_view s) { return Value(Text(s, Origin::kMessage)); };
  dict.Add(text("role"), text(role));
  dict.Add(text("content"), text(content));
  Meter meter(Limits{});
  return *MakeDict(std::move(dict), &meter);
}

void RenderSource(std::string_view source) {
  const absl::StatusOr<Template> parsed = Template::Parse(source, "fuzz");
  if (!parsed.ok()) {
    Expect(parsed.status().message().find('\n') == std::string_view::npos);
    return;
  }
  Meter meter(Limits{});
  const std::string content = std::string(kMark) + std::string(source.substr(0, 64)) + " x";
  Variables variables;
  if (IsValidUtf8(content)) {
    variables["messages"] = *MakeList(
        {Message("system", content), Message("user", content), Message("assistant", kMark)},
        &meter);
  }
  variables["tools"] = *FromJson(R"([{"function": {"name": "f", "parameters": {"a": [1, null]}}}])",
                                 Origin::kMessage, &meter);
  variables["bos_token"] = Value(Text("<s>", Origin::kTemplate));
  Limits limits;
  limits.steps = 20'000;
  limits.bytes = 8 << 20;
  limits.output_bytes = 1 << 20;
  const absl::StatusOr<Text> text = parsed->Render(variables, std::tm{}, limits);
  if (!text.ok()) {
    return;
  }
  Expect(IsValidUtf8(text->bytes()));
  size_t end = 0;
  for (const Text::Run& run : text->runs()) {
    Expect(run.end > end);
    end = run.end;
  }
  Expect(end == text->size());
  if (source.find(kMark) == std::string_view::npos && source.find('\\') == std::string_view::npos) {
    for (size_t at = text->bytes().find(kMark); at != std::string::npos;
         at = text->bytes().find(kMark, at + 1)) {
      Expect(text->OriginAt(at) == Origin::kMessage);
    }
  }
}

}  // namespace
}  // namespace alcca::jinja

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  alcca::jinja::RenderSource({reinterpret_cast<const char*>(data), size});
  return 0;
}
