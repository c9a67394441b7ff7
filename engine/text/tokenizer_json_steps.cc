#include "engine/text/tokenizer_json_steps.h"

#include <functional>
#include <nlohmann/json.hpp>
#include <optional>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "base/strict_json.h"

namespace alcca {
namespace {

using nlohmann::json;

absl::Status Refused(const std::string& path, const std::string& type) {
  return absl::UnimplementedError(
      absl::StrCat(path, ": the type '", type.substr(0, 60), "' is not supported"));
}

// One step of a section: its path in the file, its type, and its values.
struct Step {
  std::string path;
  std::string type;
  const json& object;

  absl::Status Invalid(const char* key, const std::string& rule) const {
    return absl::InvalidArgumentError(absl::StrCat(path, ": '", key, "': ", rule));
  }
  absl::StatusOr<std::string> String(const char* key, std::string standard) const {
    JsonReader reader(object, path);
    reader.String(key, &standard);
    RETURN_IF_ERROR(reader.status());
    return standard;
  }
  absl::StatusOr<bool> Bool(const char* key, bool standard) const {
    JsonReader reader(object, path);
    reader.Bool(key, &standard);
    RETURN_IF_ERROR(reader.status());
    return standard;
  }
  // {"String": ...}, {"Regex": ...} or a bare string.
  absl::StatusOr<SplitPattern> Pattern() const;
};

absl::Status AtPath(const std::string& path, const absl::Status& status) {
  return absl::Status(status.code(), absl::StrCat(path, ": 'pattern': ", status.message()));
}

absl::StatusOr<SplitPattern> Step::Pattern() const {
  const auto it = object.find("pattern");
  const json* value = it == object.end() ? nullptr : &*it;
  const bool regex = value != nullptr && value->is_object() && value->contains("Regex");
  if (value != nullptr && value->is_object() && value->size() == 1) {
    value = &value->front();
  }
  if (value == nullptr || !value->is_string() || value->get_ref<const std::string&>().empty()) {
    return Invalid("pattern", "expected {\"String\": ...} or {\"Regex\": ...}");
  }
  const auto& text = value->get_ref<const std::string&>();
  absl::StatusOr<SplitPattern> pattern =
      regex ? SplitPattern::Compile(text) : SplitPattern::Literal(text);
  if (!pattern.ok()) {
    return AtPath(path, pattern.status());
  }
  return pattern;
}

// Calls `read` for each step of a section: of a Sequence, for each of its members.
absl::Status ForEachStep(const json& value, const std::string& path, const char* members,
                         const std::function<absl::Status(const Step&)>& read) {
  if (value.is_null()) {
    return absl::OkStatus();
  }
  if (!value.is_object()) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": expected an object"));
  }
  const Step step{
      path,
      value.value("type", json()).is_string() ? value["type"].get<std::string>() : std::string(),
      value};
  if (step.type != "Sequence") {
    return read(step);
  }
  const auto list = value.find(members);
  if (list == value.end() || !list->is_array()) {
    return step.Invalid(members, "expected a list");
  }
  for (size_t i = 0; i < list->size(); ++i) {
    RETURN_IF_ERROR(
        ForEachStep((*list)[i], absl::StrCat(path, ".", members, "[", i, "]"), members, read));
  }
  return absl::OkStatus();
}

const json& Section(const json& document, const char* key) {
  static const json* const none = new json;
  const auto it = document.find(key);
  return it == document.end() ? *none : *it;
}

absl::StatusOr<NormalizerStep> ReadNormalizerStep(const Step& step) {
  using Kind = NormalizerStep::Kind;
  constexpr std::pair<const char*, NormalForm> kForms[] = {{"NFC", NormalForm::kNfc},
                                                           {"NFD", NormalForm::kNfd},
                                                           {"NFKC", NormalForm::kNfkc},
                                                           {"NFKD", NormalForm::kNfkd}};
  NormalizerStep out;
  for (const auto& [name, form] : kForms) {
    if (step.type == name) {
      out.form = form;
      return out;
    }
  }
  if (step.type == "Lowercase") {
    out.kind = Kind::kLowerCase;
  } else if (step.type == "Prepend") {
    out.kind = Kind::kPrepend;
    ASSIGN_OR_RETURN(out.text, step.String("prepend", ""));
  } else if (step.type == "Strip") {
    out.kind = Kind::kStrip;
    ASSIGN_OR_RETURN(out.left, step.Bool("strip_left", true));
    ASSIGN_OR_RETURN(out.right, step.Bool("strip_right", true));
  } else if (step.type == "Replace") {
    out.kind = Kind::kReplace;
    ASSIGN_OR_RETURN(out.pattern, step.Pattern());
    ASSIGN_OR_RETURN(out.text, step.String("content", ""));
  } else if (step.type == "StripAccents") {
    out.kind = Kind::kReplace;
    ASSIGN_OR_RETURN(out.pattern, SplitPattern::Compile(R"(\p{M})"));
  } else {
    return Refused(step.path, step.type);
  }
  return out;
}

absl::StatusOr<SplitBehavior> ReadBehavior(const Step& step, const char* standard) {
  constexpr std::pair<const char*, SplitBehavior> kBehaviors[] = {
      {"Removed", SplitBehavior::kRemoved},
      {"Isolated", SplitBehavior::kIsolated},
      {"MergedWithPrevious", SplitBehavior::kMergedWithPrevious},
      {"MergedWithNext", SplitBehavior::kMergedWithNext},
      {"Contiguous", SplitBehavior::kContiguous}};
  ASSIGN_OR_RETURN(const std::string name, step.String("behavior", standard));
  for (const auto& [known, behavior] : kBehaviors) {
    if (name == known) {
      return behavior;
    }
  }
  return step.Invalid("behavior", absl::StrCat("unknown: ", name.substr(0, 60)));
}

absl::StatusOr<PreTokenizerStep> ReadMetaspace(const Step& step) {
  PreTokenizerStep out;
  ASSIGN_OR_RETURN(out.space, step.String("replacement", "\u2581"));
  ASSIGN_OR_RETURN(const bool legacy, step.Bool("add_prefix_space", true));
  ASSIGN_OR_RETURN(const std::string scheme,
                   step.String("prepend_scheme", legacy ? "always" : "never"));
  if (scheme != "always" && scheme != "first" && scheme != "never") {
    return step.Invalid("prepend_scheme", "expected always, first or never");
  }
  out.prefix = scheme == "never" ? "" : out.space;
  out.prefix_only_first = scheme == "first";
  ASSIGN_OR_RETURN(const bool split, step.Bool("split", true));
  if (split) {
    ASSIGN_OR_RETURN(out.pattern, SplitPattern::Literal(out.space));
    out.behavior = SplitBehavior::kMergedWithNext;
  }
  return out;
}

absl::StatusOr<PreTokenizerStep> ReadByteLevel(const Step& step) {
  PreTokenizerStep out;
  ASSIGN_OR_RETURN(const bool prefix, step.Bool("add_prefix_space", true));
  ASSIGN_OR_RETURN(const bool regex, step.Bool("use_regex", true));
  out.prefix = prefix ? " " : "";
  if (regex) {
    ASSIGN_OR_RETURN(out.pattern, SplitPattern::Compile(kGpt2Pattern));
  }
  return out;
}

// Steps that cut at the matches of one expression.
absl::StatusOr<PreTokenizerStep> ReadCut(const Step& step) {
  // Rust's \w, which counts the joiners U+200C and U+200D as well.
  constexpr char kWordOrOther[] = R"([\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\x{200C}\x{200D}]+|)"
                                  R"([^\s\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\x{200C}\x{200D}]+)";
  PreTokenizerStep out;
  const auto cut = [&out](const char* pattern, SplitBehavior behavior) -> absl::Status {
    out.behavior = behavior;
    ASSIGN_OR_RETURN(out.pattern, SplitPattern::Compile(pattern));
    return absl::OkStatus();
  };
  if (step.type == "Split") {
    ASSIGN_OR_RETURN(out.pattern, step.Pattern());
    ASSIGN_OR_RETURN(out.behavior, ReadBehavior(step, "Isolated"));
    ASSIGN_OR_RETURN(out.invert, step.Bool("invert", false));
  } else if (step.type == "Digits") {
    ASSIGN_OR_RETURN(const bool each, step.Bool("individual_digits", false));
    RETURN_IF_ERROR(cut(R"(\p{N})", each ? SplitBehavior::kIsolated : SplitBehavior::kContiguous));
  } else if (step.type == "Punctuation") {
    ASSIGN_OR_RETURN(const SplitBehavior behavior, ReadBehavior(step, "Isolated"));
    RETURN_IF_ERROR(cut(R"([\p{P}$+<=>^`|~])", behavior));
  } else if (step.type == "Whitespace") {
    RETURN_IF_ERROR(cut(kWordOrOther, SplitBehavior::kRemoved));
    out.invert = true;
  } else if (step.type == "WhitespaceSplit") {
    RETURN_IF_ERROR(cut(R"(\s)", SplitBehavior::kRemoved));
  } else {
    return Refused(step.path, step.type);
  }
  return out;
}

absl::Status ReadReplacement(const Step& step, DecoderSteps* steps) {
  const auto pattern = step.object.find("pattern");
  const bool text = pattern != step.object.end() && pattern->is_object() &&
                    pattern->contains("String") && (*pattern)["String"].is_string() &&
                    !(*pattern)["String"].get_ref<const std::string&>().empty();
  if (!text) {
    return step.Invalid("pattern", "expected {\"String\": ...}");
  }
  ASSIGN_OR_RETURN(std::string content, step.String("content", ""));
  steps->replacements.emplace_back((*pattern)["String"].get<std::string>(), std::move(content));
  return absl::OkStatus();
}

absl::Status ReadDecoderStep(const Step& step, DecoderSteps* steps) {
  if (step.type == "ByteLevel") {
    steps->byte_level = true;
  } else if (step.type == "ByteFallback") {
    steps->byte_fallback = true;
  } else if (step.type == "Replace") {
    return ReadReplacement(step, steps);
  } else if (step.type == "Metaspace") {
    ASSIGN_OR_RETURN(std::string space, step.String("replacement", "\u2581"));
    ASSIGN_OR_RETURN(const bool legacy, step.Bool("add_prefix_space", true));
    ASSIGN_OR_RETURN(const std::string scheme,
                     step.String("prepend_scheme", legacy ? "always" : "never"));
    steps->replacements.emplace_back(std::move(space), " ");
    steps->drops_leading_space = scheme != "never";
  } else if (step.type == "Strip") {
    int64_t start = 0, stop = 0;
    JsonReader reader(step.object, step.path);
    reader.OptionalInt("start", 0, 1, &start);
    reader.OptionalInt("stop", 0, 0, &stop);
    RETURN_IF_ERROR(reader.status());
    ASSIGN_OR_RETURN(const std::string content, step.String("content", " "));
    if (content != " ") {
      return step.Invalid("content", "only a space is supported");
    }
    steps->drops_leading_space = start == 1;
  } else if (step.type != "Fuse") {
    return Refused(step.path, step.type);
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Normalizer> ReadNormalizer(const json& document) {
  std::vector<NormalizerStep> steps;
  RETURN_IF_ERROR(ForEachStep(Section(document, "normalizer"), "normalizer", "normalizers",
                              [&steps](const Step& step) -> absl::Status {
                                ASSIGN_OR_RETURN(steps.emplace_back(), ReadNormalizerStep(step));
                                return absl::OkStatus();
                              }));
  return Normalizer(std::move(steps));
}

absl::StatusOr<PreTokenizerSteps> ReadPreTokenizer(const json& document) {
  PreTokenizerSteps out;
  std::vector<PreTokenizerStep> steps;
  RETURN_IF_ERROR(ForEachStep(Section(document, "pre_tokenizer"), "pre_tokenizer", "pretokenizers",
                              [&](const Step& step) -> absl::Status {
                                if (out.byte_level) {
                                  return absl::UnimplementedError(absl::StrCat(
                                      step.path, ": a step after ByteLevel is not supported"));
                                }
                                out.byte_level = step.type == "ByteLevel";
                                ASSIGN_OR_RETURN(steps.emplace_back(),
                                                 step.type == "ByteLevel"   ? ReadByteLevel(step)
                                                 : step.type == "Metaspace" ? ReadMetaspace(step)
                                                                            : ReadCut(step));
                                return absl::OkStatus();
                              }));
  out.pre_tokenizer = PreTokenizer(std::move(steps));
  return out;
}

absl::StatusOr<DecoderSteps> ReadDecoder(const json& document) {
  const json& section = Section(document, "decoder");
  if (section.is_null()) {
    return absl::UnimplementedError("decoder: missing, tokens would be joined by spaces");
  }
  DecoderSteps steps;
  RETURN_IF_ERROR(ForEachStep(section, "decoder", "decoders", [&steps](const Step& step) {
    return ReadDecoderStep(step, &steps);
  }));
  return steps;
}

absl::StatusOr<TextEnds> ReadPostProcessor(const json& document) {
  TextEnds ends;
  RETURN_IF_ERROR(ForEachStep(
      Section(document, "post_processor"), "post_processor", "processors",
      [&ends](const Step& step) -> absl::Status {
        if (step.type == "ByteLevel") {
          return absl::OkStatus();  // Only offsets, which nobody asks for.
        }
        if (step.type != "TemplateProcessing") {
          return Refused(step.path, step.type);
        }
        const auto single = step.object.find("single");
        if (single == step.object.end() || !single->is_array()) {
          return step.Invalid("single", "expected a list");
        }
        bool after_text = false;
        for (const json& item : *single) {
          if (item.is_object() && item.contains("Sequence")) {
            after_text = true;
            continue;
          }
          std::string& end = after_text ? ends.last : ends.first;
          const json* token =
              item.is_object() && item.contains("SpecialToken") ? &item["SpecialToken"] : nullptr;
          if (token == nullptr || !token->is_object() || !token->contains("id") ||
              !(*token)["id"].is_string() || !end.empty()) {
            return step.Invalid("single",
                                "expected at most one SpecialToken before and after the "
                                "Sequence");
          }
          end = (*token)["id"].get<std::string>();
        }
        return absl::OkStatus();
      }));
  return ends;
}

}  // namespace alcca
