#include "tests/testing/tokenizer_golden.h"

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/check.h"
#include "base/utf8.h"
#include "engine/text/gguf_bpe.h"
#include "engine/text/load_tokenizer.h"

namespace alcca::testing {
namespace {

using nlohmann::json;

std::string Ids(const std::vector<int32_t>& ids) {
  return absl::StrJoin(ids, " ");
}

// The text of the ids one by one; nothing if a part is no UTF-8.
std::optional<std::string> Streamed(const Tokenizer& tokenizer, const std::vector<int32_t>& ids) {
  const std::unique_ptr<TextStream> stream = tokenizer.NewText({}, /*skip_special=*/false);
  std::string text;
  for (const int32_t id : ids) {
    const std::string part = stream->Push(id);
    if (!IsValidUtf8(part)) {
      return std::nullopt;
    }
    text += part;
  }
  return text + stream->Flush();
}

}  // namespace

std::vector<TokenizerCase> ReadTokenizerCases(const std::string& folder) {
  std::vector<TokenizerCase> cases;
  std::ifstream in(folder + "/cases.jsonl");
  ALCCA_CHECK(in.good());
  for (std::string line; std::getline(in, line);) {
    const json entry = json::parse(line);
    TokenizerCase& test = cases.emplace_back();
    if (!entry[0].is_null()) {
      test.text = entry[0].get<std::string>();
    }
    test.ids = entry[1].get<std::vector<int32_t>>();
    test.decoded = entry[2].get<std::string>();
  }
  return cases;
}

absl::StatusOr<std::unique_ptr<Tokenizer>> ReadGoldenTokenizer(const std::string& folder) {
  const std::string path = folder + "/gguf.json";
  if (!std::filesystem::exists(path)) {
    return LoadTokenizer(folder);
  }
  std::ifstream in(path);
  const json entry = json::parse(in);
  GgufBpe vocabulary;
  vocabulary.tokens = entry["tokens"].get<std::vector<std::string>>();
  vocabulary.token_types = entry["token_types"].get<std::vector<int32_t>>();
  vocabulary.merges = entry["merges"].get<std::vector<std::string>>();
  vocabulary.pre = entry["pre"].get<std::string>();
  return MakeGgufBpeTokenizer(std::move(vocabulary), path);
}

std::string Difference(const Tokenizer& tokenizer, const TokenizerCase& test) {
  if (test.text) {
    const absl::StatusOr<std::vector<int32_t>> ids = tokenizer.Encode(*test.text);
    if (!ids.ok()) {
      return absl::StrCat(json(*test.text).dump(), ": ", ids.status().ToString());
    }
    if (*ids != test.ids) {
      return absl::StrCat(json(*test.text).dump(), ":\n  expected ", Ids(test.ids), "\n  found    ",
                          Ids(*ids));
    }
  }
  const std::string decoded = tokenizer.Decode(test.ids, /*skip_special=*/false);
  if (decoded != test.decoded) {
    return absl::StrCat("text of ", Ids(test.ids), ":\n  expected ", json(test.decoded).dump(),
                        "\n  found    ", json(decoded).dump());
  }
  return Streamed(tokenizer, test.ids) == decoded
             ? ""
             : absl::StrCat("the streamed text of ", Ids(test.ids), " differs");
}

}  // namespace alcca::testing
