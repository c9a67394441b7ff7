#include "tools/cli/top/prometheus_text.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace alcca::cli {
namespace {

bool IsNameByte(char c, bool first, bool colons) {
  return absl::ascii_isalpha(static_cast<unsigned char>(c)) || c == '_' || (colons && c == ':') ||
         (!first && absl::ascii_isdigit(static_cast<unsigned char>(c)));
}

// One line, consumed from the front. Each step returns what is wrong, or null.
class Line {
 public:
  explicit Line(std::string_view text) : rest_(text) {}

  const char* Parse(PrometheusSample* sample) {
    sample->name = Name(/*colons=*/true);
    if (sample->name.empty()) {
      return "expected a metric's name";
    }
    SkipBlanks();
    if (Take('{')) {
      if (const char* wrong = Labels(&sample->labels)) {
        return wrong;
      }
      SkipBlanks();
    }
    if (!Number(&sample->value)) {
      return "expected a number after the name";
    }
    SkipBlanks();
    double timestamp = 0;
    if (!rest_.empty() && rest_[0] != '#' && !Number(&timestamp)) {
      return "expected a timestamp after the value";
    }
    SkipBlanks();
    return rest_.empty() || rest_[0] == '#' ? nullptr : "unexpected text after the value";
  }

 private:
  void SkipBlanks() {
    while (!rest_.empty() && (rest_[0] == ' ' || rest_[0] == '\t')) {
      rest_.remove_prefix(1);
    }
  }

  bool Take(char c) {
    if (rest_.empty() || rest_[0] != c) {
      return false;
    }
    rest_.remove_prefix(1);
    return true;
  }

  std::string Name(bool colons) {
    size_t size = 0;
    while (size < rest_.size() && IsNameByte(rest_[size], size == 0, colons)) {
      ++size;
    }
    std::string name(rest_.substr(0, size));
    rest_.remove_prefix(size);
    return name;
  }

  bool Number(double* value) {
    const size_t size = std::min(rest_.find_first_of(" \t"), rest_.size());
    const bool ok = absl::SimpleAtod(std::string(rest_.substr(0, size)), value);
    rest_.remove_prefix(size);
    return ok;
  }

  // After '{', through '}'.
  const char* Labels(std::map<std::string, std::string>* labels) {
    while (true) {
      SkipBlanks();
      if (Take('}')) {
        return nullptr;
      }
      const std::string name = Name(/*colons=*/false);
      SkipBlanks();
      if (name.empty() || !Take('=')) {
        return "expected name=\"value\" in the labels";
      }
      SkipBlanks();
      std::string value;
      if (!Quoted(&value)) {
        return "a label's value is not a closed string";
      }
      if (!labels->emplace(name, std::move(value)).second) {
        return "a label is given twice";
      }
      if (labels->size() > kMaxLabels) {
        return "too many labels";
      }
      SkipBlanks();
      if (!Take(',') && (rest_.empty() || rest_[0] != '}')) {
        return "expected , or } after a label";
      }
    }
  }

  bool Quoted(std::string* value) {
    if (!Take('"')) {
      return false;
    }
    while (!rest_.empty()) {
      char c = rest_[0];
      rest_.remove_prefix(1);
      if (c == '"') {
        return true;
      }
      if (c == '\\') {
        if (rest_.empty()) {
          return false;
        }
        c = rest_[0] == 'n' ? '\n' : rest_[0];
        rest_.remove_prefix(1);
      }
      value->push_back(c);
    }
    return false;
  }

  std::string_view rest_;
};

}  // namespace

absl::StatusOr<std::vector<PrometheusSample>> ParsePrometheusText(std::string_view page) {
  if (page.size() > kMaxMetricsBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("a page of ", page.size(), " bytes; ", kMaxMetricsBytes, " are read at most"));
  }
  std::vector<PrometheusSample> samples;
  for (size_t number = 1; !page.empty(); ++number) {
    const size_t end = std::min(page.find('\n'), page.size());
    std::string_view text = page.substr(0, end);
    const size_t first = std::min(text.find_first_not_of(" \t\r"), text.size());
    text = text.substr(first, text.find_last_not_of(" \t\r") + 1 - first);
    page.remove_prefix(std::min(end + 1, page.size()));
    if (text.empty() || text[0] == '#') {
      continue;
    }
    if (samples.size() == kMaxSamples) {
      return absl::InvalidArgumentError(
          absl::StrCat("line ", number, ": more than ", kMaxSamples, " samples"));
    }
    PrometheusSample sample;
    if (const char* wrong = Line(text).Parse(&sample)) {
      return absl::InvalidArgumentError(absl::StrCat("line ", number, ": ", wrong));
    }
    samples.push_back(std::move(sample));
  }
  return samples;
}

}  // namespace alcca::cli
