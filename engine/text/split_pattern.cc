#include "engine/text/split_pattern.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "base/utf8.h"

namespace alcca {
namespace {

// Steps of PCRE2's matcher: a first try, and all of a text's in sum.
constexpr uint32_t kFirstSteps = 256;
constexpr uint64_t kStepsPerText = 10'000;
constexpr uint64_t kStepsPerByte = 64;
constexpr uint32_t kMaxHeapKib = 64 << 10;

pcre2_code* Code(const std::shared_ptr<const void>& code) {
  return static_cast<pcre2_code*>(const_cast<void*>(code.get()));
}

std::string ErrorText(int code) {
  PCRE2_UCHAR text[256];
  pcre2_get_error_message(code, text, sizeof(text));
  return reinterpret_cast<const char*>(text);
}

}  // namespace

struct MatchMemory::Impl {
  pcre2_match_data* data = pcre2_match_data_create(1, nullptr);
  pcre2_match_context* context = pcre2_match_context_create(nullptr);
};

MatchMemory::MatchMemory() : impl_(std::make_unique<Impl>()) {
  ALCCA_CHECK(impl_->data != nullptr && impl_->context != nullptr);
  pcre2_set_heap_limit(impl_->context, kMaxHeapKib);
}

MatchMemory::~MatchMemory() {
  pcre2_match_data_free(impl_->data);
  pcre2_match_context_free(impl_->context);
}

absl::StatusOr<SplitPattern> SplitPattern::Compile(std::string_view pattern) {
  ASSIGN_OR_RETURN(const std::string translated, ToPcre2(pattern));
  const std::unique_ptr<pcre2_compile_context, decltype(&pcre2_compile_context_free)> context(
      pcre2_compile_context_create(nullptr), pcre2_compile_context_free);
  ALCCA_CHECK(context != nullptr);
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  constexpr uint32_t kOptions = PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_ANCHORED |
                                PCRE2_NEVER_BACKSLASH_C | PCRE2_NO_AUTO_CAPTURE;
  int error = 0;
  PCRE2_SIZE at = 0;
  pcre2_code* code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()),
                                   translated.size(), kOptions, &error, &at, context.get());
  if (code == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat("the regular expression is refused: ", ErrorText(error)));
  }
  return SplitPattern(std::shared_ptr<const void>(code, [](const void* p) {
    pcre2_code_free(static_cast<pcre2_code*>(const_cast<void*>(p)));
  }));
}

absl::StatusOr<SplitPattern> SplitPattern::Literal(std::string_view text) {
  std::string pattern;
  for (const char c : text) {
    // Any ASCII character but letters, digits and '_' stands for itself after a backslash.
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x80 && byte > 0x20 && std::isalnum(byte) == 0 && c != '_') {
      pattern += '\\';
    }
    pattern += c;
  }
  return Compile(pattern);
}

absl::Status SplitPattern::FindAll(std::string_view text, MatchMemory* memory,
                                   std::vector<TextRange>* matches) const {
  pcre2_match_data* data = memory->impl_->data;
  pcre2_match_context* context = memory->impl_->context;
  const auto* bytes = reinterpret_cast<PCRE2_SPTR>(text.data());
  const uint64_t most = kStepsPerText + kStepsPerByte * text.size();
  uint64_t steps = 0;
  size_t last_end = std::string_view::npos;
  // A match is looked for at each place by itself, first with few steps and then with ever more:
  // that is how the steps are counted, which PCRE2 does not tell.
  for (size_t at = 0; at <= text.size();) {
    int found = PCRE2_ERROR_MATCHLIMIT;
    for (uint64_t limit = kFirstSteps; found == PCRE2_ERROR_MATCHLIMIT; limit *= 2) {
      if (steps > most) {
        return absl::ResourceExhaustedError(
            absl::StrCat("the tokenizer's regular expression needs more than ", most, " steps for ",
                         text.size(), " bytes of this text"));
      }
      pcre2_set_match_limit(context, static_cast<uint32_t>(std::min<uint64_t>(limit, 1u << 31)));
      found = pcre2_match(Code(code_), bytes, text.size(), at, PCRE2_NO_UTF_CHECK, data, context);
      steps += found == PCRE2_ERROR_MATCHLIMIT ? limit : 1;
    }
    if (found < 0 && found != PCRE2_ERROR_NOMATCH) {
      return absl::ResourceExhaustedError(
          absl::StrCat("the tokenizer's regular expression failed: ", ErrorText(found)));
    }
    if (found >= 0) {
      const PCRE2_SIZE* offsets = pcre2_get_ovector_pointer(data);
      const TextRange match{offsets[0], offsets[1]};
      if (match.begin < at || match.end < match.begin) {
        return absl::ResourceExhaustedError(
            "the tokenizer's regular expression moves the begin of a match");
      }
      if (match.begin < match.end || match.end != last_end) {
        matches->push_back(match);
        last_end = at = match.end;
        continue;
      }
    }
    at += at < text.size() ? static_cast<size_t>(std::max(1, Utf8CharLength(text.substr(at)))) : 1;
  }
  return absl::OkStatus();
}

namespace {

// What Oniguruma and Rust call white space and word characters; PCRE2's \s and \w differ by a few.
constexpr std::string_view kSpace =
    R"(\t-\r \x{85}\x{A0}\x{1680}\x{2000}-\x{200A}\x{2028}\x{2029}\x{202F}\x{205F}\x{3000})";
constexpr std::string_view kWord = R"(\p{Alphabetic}\p{M}\p{Nd}\p{Pc})";
constexpr std::string_view kHex = "0-9A-Fa-f";

// Rewrites one pattern. Everything that both sides read alike is copied.
class Translator {
 public:
  explicit Translator(std::string_view pattern) : rest_(pattern) {}

  absl::StatusOr<std::string> Run() {
    while (!rest_.empty()) {
      const char c = Take();
      if (c == '\\' && !rest_.empty()) {
        RETURN_IF_ERROR(Escape());
        continue;
      }
      out_ += c;
      if (in_class_) {
        RETURN_IF_ERROR(InClass(c));
      } else if (c == '[') {
        in_class_ = true;
        if (rest_.starts_with('^')) {
          out_ += Take();
        }
        if (rest_.starts_with(']')) {
          out_ += Take();
        }
      } else if (c == '}' && rest_.starts_with('+')) {
        return absl::UnimplementedError(
            "the regular expression has '}+', which libraries read in two ways");
      }
    }
    return std::move(out_);
  }

 private:
  char Take() {
    const char c = rest_.front();
    rest_.remove_prefix(1);
    return c;
  }

  absl::Status InClass(char c) {
    if (c == ']') {
      in_class_ = false;
    }
    if (c == '[' && rest_.starts_with(':') && rest_.find(":]") != std::string_view::npos) {
      const size_t end = rest_.find(":]") + 2;
      out_ += rest_.substr(0, end);
      rest_.remove_prefix(end);
    } else if (c == '[' || (c == '&' && rest_.starts_with('&'))) {
      return absl::UnimplementedError(
          "the regular expression has a character class inside another");
    }
    return absl::OkStatus();
  }

  void Set(std::string_view members, bool negated) {
    out_ += in_class_ ? "" : negated ? "[^" : "[";
    out_ += members;
    out_ += in_class_ ? "" : "]";
  }

  // After a backslash.
  absl::Status Escape() {
    const char c = Take();
    switch (c) {
      case 's':
      case 'w':
      case 'h':
        Set(c == 's' ? kSpace : c == 'w' ? kWord : kHex, false);
        return absl::OkStatus();
      case 'S':
      case 'W':
      case 'H':
        if (in_class_) {
          return absl::UnimplementedError(
              absl::StrCat("the regular expression has \\", std::string(1, c), " in a class"));
        }
        Set(c == 'S' ? kSpace : c == 'W' ? kWord : kHex, true);
        return absl::OkStatus();
      case 'p':
      case 'P':
        out_ += '\\';
        out_ += c;
        Property();
        return absl::OkStatus();
      default:
        out_ += '\\';
        out_ += c;
        return absl::OkStatus();
    }
  }

  // After \p: names of more than two letters are scripts, and PCRE2 takes a bare one for the wider
  // set of script extensions.
  void Property() {
    constexpr std::string_view kNoScripts[] = {"Any", "Alphabetic", "Lowercase", "Uppercase",
                                               "White_Space"};
    const size_t end = rest_.find('}');
    if (!rest_.starts_with('{') || end == std::string_view::npos) {
      return;
    }
    std::string_view name = rest_.substr(1, end - 1);
    rest_.remove_prefix(end + 1);
    const bool negated = name.starts_with('^');
    name.remove_prefix(negated ? 1 : 0);
    const bool script =
        name.size() > 2 && name.find_first_of(":=") == std::string_view::npos &&
        std::find(std::begin(kNoScripts), std::end(kNoScripts), name) == std::end(kNoScripts);
    absl::StrAppend(&out_, "{", negated ? "^" : "", script ? "sc:" : "", std::string(name), "}");
  }

  std::string_view rest_;
  std::string out_;
  bool in_class_ = false;
};

}  // namespace

absl::StatusOr<std::string> ToPcre2(std::string_view pattern) {
  if (pattern.size() > kMaxPatternBytes) {
    return absl::InvalidArgumentError(absl::StrCat("the regular expression has ", pattern.size(),
                                                   " bytes, at most ", kMaxPatternBytes));
  }
  if (!IsValidUtf8(pattern)) {
    return absl::InvalidArgumentError("the regular expression is not UTF-8");
  }
  return Translator(pattern).Run();
}

}  // namespace alcca
