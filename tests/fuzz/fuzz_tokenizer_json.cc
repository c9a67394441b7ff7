// Fuzzes the readers of tokenizer.json, tekken.json and tokenizer_config.json, and the tokenizers
// that result: whatever the file says, text goes in and valid UTF-8 comes out. Seeds: the golden
// files of tools/golden/make_bpe_golden.py, cut down.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/utf8.h"
#include "engine/text/tekken.h"
#include "engine/text/tokenizer_config.h"
#include "engine/text/tokenizer_json.h"

namespace alcca {
namespace {

constexpr int64_t kMaxVocab = 1 << 16;

void Expect(bool condition) {
  if (!condition) {
    std::abort();
  }
}

void CheckText(const BpeTokenizer& tokenizer, std::string_view text) {
  const absl::StatusOr<std::vector<int32_t>> ids = tokenizer.Encode(text);
  if (!ids.ok()) {
    return;  // too many steps
  }
  for (const int32_t id : *ids) {
    Expect(id >= 0 && id < tokenizer.vocab_size() && !tokenizer.IsControl(id));
  }
  const std::string whole = tokenizer.Decode(*ids);
  Expect(IsValidUtf8(whole));
  const auto stream = tokenizer.NewText({}, true);
  std::string streamed;
  for (const int32_t id : *ids) {
    const std::string part = stream->Push(id);
    Expect(IsValidUtf8(part));
    streamed += part;
  }
  Expect(streamed + stream->Flush() == whole);
  const size_t half = text.size() / 2;
  const TextRun runs[] = {{text.substr(0, half), true}, {text.substr(half), false}};
  if (const auto trusted = tokenizer.Encode(runs); trusted.ok()) {
    Expect(IsValidUtf8(tokenizer.Decode(*trusted, false)));
  }
}

void CheckTokenizer(const absl::StatusOr<std::unique_ptr<BpeTokenizer>>& tokenizer,
                    std::string_view input) {
  if (!tokenizer.ok()) {
    Expect(tokenizer.status().message().find('\n') == std::string_view::npos);
    return;
  }
  CheckText(**tokenizer, input.substr(0, 2048));
  std::string pieces;
  for (int32_t id = 0; id < (*tokenizer)->vocab_size() && pieces.size() < 2048; ++id) {
    pieces += (*tokenizer)->IdToPiece(id);
    Expect(IsValidUtf8((*tokenizer)->IdToPiece(id)));
    Expect((*tokenizer)->TextBytes(id) <= (*tokenizer)->longest_piece());
  }
  CheckText(**tokenizer, pieces);
}

}  // namespace
}  // namespace alcca

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  alcca::TokenizerConfig config;
  if (auto read = alcca::ParseTokenizerConfig(input, "fuzz"); read.ok()) {
    config = *std::move(read);
  }
  alcca::CheckTokenizer(alcca::ParseTokenizerJson(input, "fuzz", config, alcca::kMaxVocab), input);
  alcca::CheckTokenizer(alcca::ParseTekken(input, "fuzz", alcca::kMaxVocab), input);
  return 0;
}
