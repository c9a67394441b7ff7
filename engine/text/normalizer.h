#pragma once

// What a tokenizer.json does to a text before it is cut: its "normalizer".

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/text/split_pattern.h"
#include "engine/text/unicode_normalization.h"

namespace alcca {

struct NormalizerStep {
  enum class Kind : uint8_t {
    kForm,  // a Unicode normal form
    kLowerCase,
    kPrepend,  // `text` before a text that is not empty
    kReplace,  // each match of `pattern` by `text`
    kStrip,    // white space at the ends
  };
  Kind kind = Kind::kForm;
  NormalForm form = NormalForm::kNfc;
  std::string text;
  std::optional<SplitPattern> pattern;
  bool left = true, right = true;
};

class Normalizer {
 public:
  Normalizer() = default;
  explicit Normalizer(std::vector<NormalizerStep> steps) : steps_(std::move(steps)) {}

  bool empty() const { return steps_.empty(); }
  // `text` is valid UTF-8, and so is the result. RESOURCE_EXHAUSTED as SplitPattern::FindAll.
  absl::StatusOr<std::string> Apply(std::string text, MatchMemory* memory) const;

 private:
  std::vector<NormalizerStep> steps_;
};

}  // namespace alcca
