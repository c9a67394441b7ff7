#include "engine/text/tokenizer.h"

#include "base/status_macros.h"

namespace alcca {

absl::StatusOr<std::vector<int32_t>> Tokenizer::Encode(std::string_view text,
                                                       EncodeOptions options) const {
  std::vector<int32_t> ids;
  if (options.bos && bos_id() >= 0) {
    ids.push_back(bos_id());
  }
  const TextRun run{text};
  RETURN_IF_ERROR(AppendIds({&run, 1}, &ids));
  if (options.eos && eos_id() >= 0) {
    ids.push_back(eos_id());
  }
  return ids;
}

absl::StatusOr<std::vector<int32_t>> Tokenizer::Encode(std::span<const TextRun> runs) const {
  std::vector<int32_t> ids;
  RETURN_IF_ERROR(AppendIds(runs, &ids));
  return ids;
}

std::string Tokenizer::Decode(std::span<const int32_t> ids, bool skip_special) const {
  const std::unique_ptr<TextStream> stream = NewText({}, skip_special);
  std::string text;
  for (const int32_t id : ids) {
    text += stream->Push(id);
  }
  return text += stream->Flush();
}

}  // namespace alcca
