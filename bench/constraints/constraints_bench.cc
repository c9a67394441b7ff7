// JSON schemas with instances that are marked valid or not, through the constraint engine: how many
// schemas compile, whether every valid instance is accepted and every invalid one stopped, what a
// compilation and a mask cost. Single-threaded; docs/constraints.md says how to read it.
//
// Input: JSON lines {"name", "schema", "tests": [{"valid", "data"}]}, as MaskBench's schemas
// flattened (`zcat sample.jsonl.gz | constraints_bench --vocabulary tokens.txt`); the vocabulary as
// one token a line, its bytes in hexadecimal, an empty line for a token without text.

#include <time.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "CLI/CLI.hpp"
#include "engine/constraint/matcher.h"
#include "nlohmann/json.hpp"

namespace alcca {
namespace {

using nlohmann::ordered_json;

// Microseconds that this thread has computed: other processes' turns are not counted.
double Now() {
  timespec time = {};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) * 1e6 + static_cast<double>(time.tv_nsec) / 1e3;
}

class Samples {
 public:
  void Add(double value) { values_.push_back(value); }
  void Print(const char* name) {
    std::sort(values_.begin(), values_.end());
    if (values_.empty()) {
      return;
    }
    const auto at = [this](double share) {
      return values_[std::min(values_.size() - 1,
                              static_cast<size_t>(share * static_cast<double>(values_.size())))];
    };
    double sum = 0;
    for (const double value : values_) {
      sum += value;
    }
    std::printf("%-24s n %zu  mean %.1f  p50 %.1f  p90 %.1f  p99 %.1f  max %.1f us\n", name,
                values_.size(), sum / static_cast<double>(values_.size()), at(0.5), at(0.9),
                at(0.99), values_.back());
  }

 private:
  std::vector<double> values_;
};

std::vector<std::string> ReadVocabulary(const std::string& path) {
  std::vector<std::string> tokens;
  std::ifstream in(path);
  for (std::string line; std::getline(in, line);) {
    std::string bytes;
    for (size_t i = 0; i + 1 < line.size(); i += 2) {
      bytes += static_cast<char>(std::stoi(line.substr(i, 2), nullptr, 16));
    }
    tokens.push_back(std::move(bytes));
  }
  return tokens;
}

// Tokens of a text: the longest that fits, as a model would mostly write it.
std::vector<int32_t> Tokenize(const std::map<std::string, int32_t, std::less<>>& ids,
                              std::string_view text, size_t longest) {
  std::vector<int32_t> tokens;
  while (!text.empty()) {
    size_t size = std::min(longest, text.size());
    auto it = ids.end();
    for (; size > 0; --size) {
      it = ids.find(text.substr(0, size));
      if (it != ids.end()) {
        break;
      }
    }
    if (size == 0) {
      return {};
    }
    tokens.push_back(it->second);
    text.remove_prefix(size);
  }
  return tokens;
}

struct Totals {
  int schemas = 0, compiled = 0;
  int valid = 0, valid_refused = 0, invalid = 0, invalid_accepted = 0;
  int limits_met = 0;
  Samples compile, mask, first_mask, accept;
  std::map<std::string, int> errors;
};

class Bench {
 public:
  Bench(std::shared_ptr<const ConstraintVocabulary> vocabulary, JsonSchemaOptions options,
        bool verbose)
      : vocabulary_(std::move(vocabulary)), options_(options), verbose_(verbose) {
    const TokenTrie& trie = vocabulary_->trie();
    for (int32_t id = 0; id < static_cast<int32_t>(trie.vocab_size()); ++id) {
      if (!trie.bytes(id).empty() && !trie.IsEnd(id)) {
        ids_.emplace(trie.bytes(id), id);
      }
    }
    mask_.resize(trie.mask_words());
  }

  void Run(const ordered_json& row) {
    ++totals.schemas;
    ConstraintSpec spec;
    spec.kind = ConstraintSpec::Kind::kJsonSchema;
    spec.text = row["schema"].dump();
    spec.json = options_;
    const double begin = Now();
    const auto constraint = CompileConstraint(spec, vocabulary_);
    const double took = Now() - begin;
    const std::string name = row["name"];
    if (!constraint.ok()) {
      std::string error(constraint.status().message());
      if (verbose_) {
        std::printf("REFUSED %s: %s\n", name.c_str(), error.c_str());
      }
      ++totals.errors[error];
      return;
    }
    ++totals.compiled;
    totals.compile.Add(took);
    if (verbose_ && took > 50000) {
      std::printf("SLOW %s: %.0f us\n", name.c_str(), took);
    }
    for (const auto& test : row["tests"]) {
      std::vector<std::string> texts = {test["data"].dump()};
      if (options_.whitespace == JsonWhitespace::kFlexible) {
        texts.push_back(test["data"].dump(2));
      }
      for (const std::string& text : texts) {
        const bool valid = test["valid"];
        std::string where;
        const bool accepted = Accepts(*constraint, text, name, &where);
        ++(valid ? totals.valid : totals.invalid);
        totals.valid_refused += valid && !accepted;
        totals.invalid_accepted += !valid && accepted;
        if (verbose_ && valid != accepted) {
          std::printf("WRONG %s: %s %s%s\n", name.c_str(), valid ? "refused" : "accepted",
                      text.substr(0, 400).c_str(), where.c_str());
        }
      }
    }
  }

  Totals totals;

 private:
  bool Accepts(const std::shared_ptr<const CompiledConstraint>& constraint, const std::string& text,
               const std::string& name, std::string* where) {
    Matcher matcher(constraint);
    const std::vector<int32_t> tokens = Tokenize(ids_, text, vocabulary_->trie().longest_token());
    size_t at = 0;
    for (size_t i = 0; i < tokens.size(); ++i) {
      double begin = Now();
      const absl::Status status = matcher.Mask(mask_);
      const double took = Now() - begin;
      totals.mask.Add(took);
      if (verbose_ && took > 3000) {
        std::printf("SLOWMASK %s: %.0f us at %s\n", name.c_str(), took,
                    text.substr(at > 30 ? at - 30 : 0, std::min<size_t>(at, 30)).c_str());
      }
      if (!status.ok()) {
        ++totals.limits_met;
        return false;
      }
      const bool allowed = (mask_[tokens[i] / 32] >> (tokens[i] % 32) & 1) != 0;
      begin = Now();
      const bool accepted = matcher.Accept(tokens[i]).ok();
      totals.accept.Add(Now() - begin);
      if (allowed != accepted) {
        std::printf("BUG %s: mask and step disagree\n", name.c_str());
      }
      if (!accepted) {
        *where = " | at " + text.substr(at, 30);
        return false;
      }
      at += vocabulary_->trie().bytes(tokens[i]).size();
    }
    *where = " | at the end";
    return matcher.MayEnd();
  }

  const std::shared_ptr<const ConstraintVocabulary> vocabulary_;
  const JsonSchemaOptions options_;
  const bool verbose_;
  std::map<std::string, int32_t, std::less<>> ids_;
  std::vector<uint32_t> mask_;
};

int Main(int argc, char** argv) {
  CLI::App app("Constraints over schemas with instances");
  std::string vocabulary_path;
  bool flexible = false, any_order = false, verbose = false;
  app.add_option("--vocabulary", vocabulary_path)->required();
  app.add_flag("--flexible", flexible, "white space as JSON allows it");
  app.add_flag("--any-order", any_order, "members in any order");
  app.add_flag("--verbose", verbose);
  CLI11_PARSE(app, argc, argv);
  VocabularyBytes bytes = {
      .bytes = ReadVocabulary(vocabulary_path), .end_tokens = {2}, .loses_space = {}};
  const double begin = Now();
  const auto vocabulary = ConstraintVocabulary::Build(std::move(bytes));
  if (!vocabulary.ok()) {
    std::fprintf(stderr, "%s\n", std::string(vocabulary.status().message()).c_str());
    return 1;
  }
  std::printf("vocabulary of %zu tokens: %.1f ms\n", (*vocabulary)->trie().vocab_size(),
              (Now() - begin) / 1000);
  Bench bench(*vocabulary,
              {.whitespace = flexible ? JsonWhitespace::kFlexible : JsonWhitespace::kCompact,
               .ordered = !any_order},
              verbose);
  for (std::string line; std::getline(std::cin, line);) {
    bench.Run(ordered_json::parse(line));
  }
  Totals& totals = bench.totals;
  std::printf("compiled %d of %d schemas (%.1f %%)\n", totals.compiled, totals.schemas,
              100.0 * totals.compiled / std::max(1, totals.schemas));
  std::printf("valid %d, of them refused %d; invalid %d, of them accepted %d; limits met %d\n",
              totals.valid, totals.valid_refused, totals.invalid, totals.invalid_accepted,
              totals.limits_met);
  totals.compile.Print("compile");
  totals.mask.Print("mask");
  totals.accept.Print("accept");
  return 0;
}

}  // namespace
}  // namespace alcca

int main(int argc, char** argv) {
  return alcca::Main(argc, argv);
}
