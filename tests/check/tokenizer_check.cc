// Compares our tokens and texts with those of the vocabularies' own libraries, in folders of golden
// data that are too large or not ours to commit: tokenizer_check DIR...
// (tools/golden/make_bpe_golden.py big writes them).

#include <cstdio>
#include <ctime>
#include <string>

#include "tests/testing/tokenizer_golden.h"

int main(int argc, char** argv) {
  int all_differences = 0;
  for (int i = 1; i < argc; ++i) {
    const auto tokenizer = alcca::testing::ReadGoldenTokenizer(argv[i]);
    if (!tokenizer.ok()) {
      std::printf("%s: %s\n", argv[i], std::string(tokenizer.status().message()).c_str());
      ++all_differences;
      continue;
    }
    int cases = 0, differences = 0;
    double bytes = 0, seconds = 0;
    for (const auto& test : alcca::testing::ReadTokenizerCases(argv[i])) {
      ++cases;
      if (test.text) {
        const std::clock_t begin = std::clock();
        const bool ok = (*tokenizer)->Encode(*test.text).ok();
        seconds += static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC;
        bytes += ok ? static_cast<double>(test.text->size()) : 0;
      }
      const std::string difference = alcca::testing::Difference(**tokenizer, test);
      if (!difference.empty() && ++differences <= 20) {
        std::printf("%s\n", difference.c_str());
      }
    }
    std::printf("%s: %d cases, %d differ; encoding %.1f MB per second of CPU time\n", argv[i],
                cases, differences, bytes / seconds / 1e6);
    all_differences += differences + (cases == 0 ? 1 : 0);
  }
  return argc > 1 && all_differences == 0 ? 0 : 1;
}
