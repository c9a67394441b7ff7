// Fuzzes the reader of tokenizer.model, and the tokenizer that results: whatever the file says,
// text goes in and valid UTF-8 comes out. Seeds: tools/golden/make_tokenizer_golden.py.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/utf8.h"
#include "engine/text/sentencepiece_tokenizer.h"

namespace alcca {
namespace {

void Expect(bool condition) {
  if (!condition) {
    std::abort();
  }
}

void CheckText(const SentencePieceTokenizer& tokenizer, std::string_view text) {
  const std::vector<int32_t> ids = tokenizer.Encode(text, {.bos = true, .eos = true}).value();
  // Each byte of the text is at most a U+FFFD in bytes, or a space of three; and the dummy prefix.
  Expect(ids.size() <= 3 * text.size() + 3 + 2);
  for (size_t i = 0; i < ids.size(); ++i) {
    Expect(ids[i] >= 0 && ids[i] < tokenizer.vocab_size());
    Expect(i == 0 || i + 1 == ids.size() || !tokenizer.IsControl(ids[i]));
  }
  const std::string whole = tokenizer.Decode(ids);
  Expect(IsValidUtf8(whole));
  Expect(whole.size() <= ids.size() * (kMaxPieceBytes + tokenizer.model().unk_surface().size()));
  for (const size_t cut : {size_t{0}, ids.size() / 2}) {
    const auto stream = tokenizer.NewText(std::span(ids).first(cut), true);
    std::string streamed;
    for (size_t i = cut; i < ids.size(); ++i) {
      const std::string part = stream->Push(ids[i]);
      Expect(IsValidUtf8(part));
      streamed += part;
    }
    streamed += stream->Flush();
    Expect(cut > 0 || streamed == whole);
  }
}

}  // namespace
}  // namespace alcca

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const absl::StatusOr<alcca::SentencePieceTokenizer> tokenizer =
      alcca::SentencePieceTokenizer::FromBytes(input, "fuzz");
  if (!tokenizer.ok()) {
    alcca::Expect(tokenizer.status().message().find('\n') == std::string_view::npos);
    return 0;
  }
  // The file itself is a text that is rich in its own pieces; so are its pieces in a row.
  alcca::CheckText(*tokenizer, input.substr(0, 4096));
  std::string pieces;
  std::vector<int32_t> ids;
  for (int32_t id = 0; id < tokenizer->vocab_size() && pieces.size() < 4096; ++id) {
    alcca::Expect(tokenizer->PieceToId(tokenizer->IdToPiece(id)) == id);
    pieces += tokenizer->IdToPiece(id);
    ids.push_back(id);
  }
  alcca::CheckText(*tokenizer, pieces);
  alcca::Expect(alcca::IsValidUtf8(tokenizer->Decode(ids, /*skip_special=*/false)));
  return 0;
}
