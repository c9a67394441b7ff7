// Compares our rendering with that of Python's jinja2 in folders of golden data that are not
// committed: chat_template_check DIR... (tools/golden/make_chat_template_golden.py writes them).

#include <cstdio>
#include <string>

#include "tests/testing/chat_template_golden.h"

int main(int argc, char** argv) {
  int cases = 0, differences = 0;
  for (int i = 1; i < argc; ++i) {
    for (const auto& test : alcca::testing::ReadTemplateCases(argv[i])) {
      const std::string difference = alcca::testing::Difference(test);
      ++cases;
      if (!difference.empty()) {
        ++differences;
        std::printf("%s\n\n", difference.c_str());
      }
    }
  }
  std::printf("%d cases, %d differ\n", cases, differences);
  return cases > 0 && differences == 0 ? 0 : 1;
}
