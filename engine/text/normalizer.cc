#include "engine/text/normalizer.h"

#include <utility>

#include "base/status_macros.h"

namespace alcca {
namespace {

absl::StatusOr<std::string> Replace(const std::string& text, const SplitPattern& pattern,
                                    const std::string& by, MatchMemory* memory) {
  std::vector<TextRange> matches;
  RETURN_IF_ERROR(pattern.FindAll(text, memory, &matches));
  std::string out;
  size_t done = 0;
  for (const TextRange& match : matches) {
    out.append(text, done, match.begin - done);
    out += by;
    done = match.end;
  }
  out.append(text, done);
  return out;
}

std::string Strip(std::string_view text, bool left, bool right) {
  size_t bytes = 0;
  while (left && !text.empty() && IsWhiteSpace(FrontCharacter(text, &bytes))) {
    text.remove_prefix(bytes);
  }
  while (right && !text.empty()) {
    const size_t last = BackCharacterBytes(text);
    if (!IsWhiteSpace(FrontCharacter(text.substr(text.size() - last), &bytes))) {
      break;
    }
    text.remove_suffix(last);
  }
  return std::string(text);
}

}  // namespace

absl::StatusOr<std::string> Normalizer::Apply(std::string text, MatchMemory* memory) const {
  for (const NormalizerStep& step : steps_) {
    switch (step.kind) {
      case NormalizerStep::Kind::kForm:
        text = ToNormalForm(text, step.form);
        break;
      case NormalizerStep::Kind::kLowerCase:
        text = ToLowerCase(text);
        break;
      case NormalizerStep::Kind::kPrepend:
        text = text.empty() ? text : step.text + text;
        break;
      case NormalizerStep::Kind::kReplace: {
        ASSIGN_OR_RETURN(text, Replace(text, *step.pattern, step.text, memory));
        break;
      }
      case NormalizerStep::Kind::kStrip:
        text = Strip(text, step.left, step.right);
        break;
    }
  }
  return text;
}

}  // namespace alcca
