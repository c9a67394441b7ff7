// Our rendering of chat templates beside that of Python's jinja2, byte for byte, and where each
// byte of it came from.

#include <string>
#include <string_view>
#include <vector>

#include "engine/text/jinja/text.h"
#include "gtest/gtest.h"
#include "tests/testing/chat_template_golden.h"

namespace alcca {
namespace {

using jinja::Origin;
using testing::TemplateCase;

const std::vector<TemplateCase>& Cases() {
  static const auto* const cases = new std::vector<TemplateCase>(
      testing::ReadTemplateCases(ALCCA_TEST_DATA_DIR "/chat_templates"));
  return *cases;
}

TEST(JinjaGoldenTest, RendersWhatPythonRenders) {
  ASSERT_GT(Cases().size(), 600U);
  for (const TemplateCase& test : Cases()) {
    EXPECT_EQ(testing::Difference(test), "");
  }
}

// `json` with `mark` at the beginning of each string that a client writes freely. Roles and keys
// stay, because templates look for them.
std::string Marked(std::string_view json, std::string_view mark) {
  std::string out;
  while (true) {
    size_t next = std::string_view::npos, size = 0;
    for (const std::string_view key : {"\"content\": \"", "\"name\": \"", "\"description\": \"",
                                       "\"text\": \"", "\"arguments\": \"", "\"city\": \""}) {
      if (const size_t at = json.find(key); at < next) {
        next = at;
        size = key.size();
      }
    }
    if (next == std::string_view::npos) {
      return out.append(json);
    }
    out.append(json.substr(0, next + size)).append(mark);
    json.remove_prefix(next + size);
  }
}

TEST(JinjaGoldenTest, TextOfMessagesIsNeverTheTemplates) {
  constexpr std::string_view kMark = "\xEE\x80\x81";  // U+E001, which no template has.
  size_t marks = 0;
  for (TemplateCase test : Cases()) {
    if (test.name.find(".jinja on ") == std::string::npos) {
      continue;
    }
    test.variables = Marked(test.variables, kMark);
    const auto text = testing::RenderCase(test);
    if (!text.ok()) {
      continue;
    }
    for (size_t at = text->bytes().find(kMark); at != std::string::npos;
         at = text->bytes().find(kMark, at + 1)) {
      EXPECT_EQ(text->OriginAt(at), Origin::kMessage) << test.name << " at " << at;
      ++marks;
    }
  }
  EXPECT_GT(marks, 300U);
}

}  // namespace
}  // namespace alcca
