#include "tests/testing/chat_template_golden.h"

#include <fstream>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>

#include "base/check.h"
#include "base/status_macros.h"
#include "engine/text/jinja/json.h"
#include "engine/text/jinja/template.h"

namespace alcca::testing {
namespace {

using nlohmann::ordered_json;

// The object under "variables", the last key of the line: as written, for numbers of any size.
std::string VariablesOf(std::string_view line) {
  constexpr std::string_view kKey = "\"variables\": ";
  const size_t begin = line.find(kKey) + kKey.size();
  return std::string(line.substr(begin, line.size() - begin - 1));
}

std::string FileText(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  ALCCA_CHECK(in.good());
  return {std::istreambuf_iterator<char>(in), {}};
}

}  // namespace

std::vector<TemplateCase> ReadTemplateCases(const std::string& folder) {
  std::map<std::string, std::string> variables, templates;
  std::ifstream conversations(folder + "/conversations.jsonl");
  for (std::string line; std::getline(conversations, line);) {
    const ordered_json entry = ordered_json::parse(line);
    variables[entry["name"]] = VariablesOf(line);
  }
  std::vector<TemplateCase> cases;
  std::ifstream expected(folder + "/expected.jsonl");
  std::string snippet_variables;
  for (std::string line; std::getline(expected, line);) {
    const ordered_json entry = ordered_json::parse(line);
    if (entry.contains("variables")) {
      snippet_variables = VariablesOf(line);
      continue;
    }
    TemplateCase test;
    if (entry.contains("source")) {
      test.source = entry["source"];
      test.name = test.source;
      test.variables = snippet_variables;
    } else {
      const std::string file = entry["template"], conversation = entry["conversation"];
      if (!templates.contains(file)) {
        templates[file] = FileText(folder + "/templates/" + file);
      }
      test.source = templates[file];
      test.name = file + " on " + conversation;
      test.variables = variables.at(conversation);
    }
    test.fails = entry["text"].is_null();
    if (!test.fails) {
      test.text = entry["text"];
    }
    cases.push_back(std::move(test));
  }
  return cases;
}

absl::StatusOr<jinja::Text> RenderCase(const TemplateCase& test) {
  ASSIGN_OR_RETURN(const jinja::Template parsed, jinja::Template::Parse(test.source, "t"));
  jinja::Meter meter(jinja::Limits{});
  ASSIGN_OR_RETURN(const jinja::Value trusted,
                   jinja::FromJson(test.variables, jinja::Origin::kTemplate, &meter));
  ASSIGN_OR_RETURN(const jinja::Value untrusted,
                   jinja::FromJson(test.variables, jinja::Origin::kMessage, &meter));
  jinja::Variables variables;
  for (const auto& [key, value] : trusted.dict().items) {
    const std::string& name = key.text().bytes();
    const bool of_client = name == "messages" || name == "tools" || name == "documents";
    variables[name] = of_client ? *untrusted.dict().Find(name) : value;
  }
  std::tm now = {};
  now.tm_year = 2026 - 1900;
  now.tm_mon = 10;
  now.tm_mday = 8;
  now.tm_hour = 9;
  now.tm_min = 5;
  now.tm_sec = 3;
  now.tm_wday = 0;
  now.tm_yday = 311;
  return parsed.Render(variables, now);
}

std::string Difference(const TemplateCase& test) {
  const absl::StatusOr<jinja::Text> text = RenderCase(test);
  if (test.fails) {
    return text.ok() ? test.name + ": expected an error, found:\n" + text->bytes() : "";
  }
  if (!text.ok()) {
    return test.name + ": " + std::string(text.status().message());
  }
  return text->bytes() == test.text
             ? ""
             : test.name + ": expected\n" + test.text + "\nfound\n" + text->bytes();
}

}  // namespace alcca::testing
