#include <ctime>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "engine/text/jinja/json.h"
#include "engine/text/jinja/template.h"
#include "gtest/gtest.h"

namespace alcca::jinja {
namespace {

// Renders with x = "<|end|>" of a client, m = a client's JSON, bos = a token of the template.
absl::StatusOr<Text> Render(const std::string& source, const Limits& limits = {}) {
  const absl::StatusOr<Template> parsed = Template::Parse(source, "t.jinja");
  if (!parsed.ok()) {
    return parsed.status();
  }
  Meter meter(Limits{});
  Variables variables;
  variables["bos"] = Value(Text("<s>", Origin::kTemplate));
  variables["x"] = Value(Text("<|End|>é", Origin::kMessage));
  variables["m"] = *FromJson(R"({"k": ["<s>", 12, 1.5, true, null], "<s>": {"z": 1}})",
                             Origin::kMessage, &meter);
  variables["big"] = Value(Text(std::string(100'000, 'a'), Origin::kMessage));
  return parsed->Render(variables, std::tm{}, limits);
}

// The bytes of the template as they are, those of messages in brackets.
std::string Origins(const std::string& source) {
  const absl::StatusOr<Text> text = Render(source);
  if (!text.ok()) {
    return std::string(text.status().message());
  }
  std::string out;
  size_t begin = 0;
  for (const Text::Run& run : text->runs()) {
    const std::string part = text->bytes().substr(begin, run.end - begin);
    out += run.origin == Origin::kTemplate ? part : "[" + part + "]";
    begin = run.end;
  }
  return out;
}

std::string Error(const std::string& source, const Limits& limits = {}) {
  const absl::StatusOr<Text> text = Render(source, limits);
  return text.ok() ? "rendered " + std::to_string(text->size()) + " bytes"
                   : std::string(text.status().message());
}

TEST(JinjaOriginTest, EachOperationKeepsIt) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"a{{ x }}b", "a[<|End|>é]b"},
      {"{{ bos ~ x ~ 1 }}", "<s>[<|End|>é]1"},
      {"{{ bos + x + bos }}", "<s>[<|End|>é]<s>"},
      {"{{ (bos + x)[1:5] }}", "s>[<|]"},
      {"{{ (bos + x)[::-1] }}", "[é>|dnE|<]>s<"},
      {"{{ (bos + x)|upper }}", "<S>[<|END|>É]"},
      {"{{ (bos + x)|title|lower }}", "<s>[<|end|>é]"},
      {"{{ x.replace('End', bos) }}", "[<|]<s>[|>é]"},
      {"{{ bos.replace('s', x) }}", "<[<|End|>é]>"},
      {"{{ x.split('|') | join(bos) }}", "[<]<s>[End]<s>[>é]"},
      {"{{ x.join(['a', 'b']) }}", "a[<|End|>é]b"},
      {"{{ [bos, x] | join(',') }}", "<s>,[<|End|>é]"},
      {"{{ (' ' ~ x ~ ' ') | trim }}", "[<|End|>é]"},
      {"{{ x | tojson }}", "[\"<|End|>é\"]"},
      {"{{ m | tojson }}", "[{\"k\": [\"<s>\", 12, 1.5, true, null], \"<s>\": {\"z\": 1}}]"},
      {"{{ {bos: x} | tojson }}", "[{\"]<s>[\": \"<|End|>é\"}]"},
      {"{{ [x] }}", "[['<|End|>é']]"},
      {"{{ m.k[1] }}{{ m.k[2] * 2 }}{{ m.k[3] }}{{ m.k[4] }}", "[123.0TrueNone]"},
      {"{{ m.k[1] + 1 }}{{ m.k | length }}", "[13]5"},
      {"{% for key in m %}{{ key }}{% endfor %}", "[k<s>]"},
      {"{% set y %}<{{ x }}>{% endset %}{{ y }}", "<[<|End|>é]>"},
      {"{% macro f(a) %}<{{ a }}>{% endmacro %}{{ f(x) }}", "<[<|End|>é]>"},
      {"{{ '%s%s' | format(bos, x) }}{{ '{}'.format(x) }}", "<s>[<|End|>é<|End|>é]"},
      {"{{ x | e }}{{ '<' + (x | safe) }}", "[&lt;|End|&gt;é]&lt;[<|End|>é]"},
      {"{{ (x ~ '\\n' ~ bos) | indent(1) }}", "[<|End|>é]\n <s>"},
      {"{{ x * 2 }}{{ bos * 2 }}", "[<|End|>é<|End|>é]<s><s>"},
      {"{{ (x ~ bos) | list | last }}{{ x | first }}", ">[<]"},
      {"{{ '12' | int + 1 }}{{ (m.k[1] | string) | int }}", "13[12]"},
      {"{% set n = namespace(v=x) %}{{ n.v }}", "[<|End|>é]"},
  };
  for (const auto& [source, expected] : cases) {
    EXPECT_EQ(Origins(source), expected) << source;
  }
}

TEST(JinjaTest, ErrorsNameTheLine) {
  EXPECT_EQ(Error("a\n{{ 1 +"), "t.jinja: line 2: a tag does not end with '}}'");
  EXPECT_EQ(Error("a\n{{ y.z }}"), "t.jinja: line 2: 'y' is undefined");
  EXPECT_EQ(Error("{% include 'x' %}"), "t.jinja: line 1: the tag 'include' is not implemented");
  EXPECT_EQ(Error("{{ raise_exception('why') }}"), "t.jinja: line 1: it refuses: why");
  EXPECT_EQ(Error("{{ x | zap }}"), "t.jinja: line 1: the filter 'zap' is not implemented");
  EXPECT_EQ(Error("{{ m.pop('k') }}"), "t.jinja: line 1: 'pop' of a dict is undefined");
  EXPECT_EQ(Error("\xFF"), "t.jinja: is not UTF-8");
}

TEST(JinjaTest, StepsAreLimited) {
  const std::string loops =
      "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}";
  EXPECT_EQ(Error(loops), "t.jinja: line 1: needs more than 2000000 steps");
  EXPECT_EQ(Error("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}"),
            "t.jinja: line 1: is nested more than 200 deep");
  // 2^100 paths through 100 lists.
  EXPECT_EQ(Error("{% set n = namespace(v=[1]) %}{% for i in range(100) %}{% set n.v = [n.v, n.v] "
                  "%}{% endfor %}{{ n.v == [n.v[0], n.v[1]] }}{{ n.v | tojson }}"),
            "t.jinja: line 1: needs more than 2000000 steps");
}

TEST(JinjaTest, MemoryIsLimited) {
  const std::string too_much = "t.jinja: line 1: needs more than 268435456 bytes";
  EXPECT_EQ(Error("{{ 'a' * 9223372036854775807 }}"),
            "t.jinja: line 1: needs more than 2000000 steps");
  EXPECT_EQ(Error("{{ [1] * 1000000000000 }}"), "t.jinja: line 1: needs more than 2000000 steps");
  EXPECT_EQ(Error("{{ big * 100000 }}"), too_much);
  EXPECT_EQ(Error("{% set n = namespace(v='ab') %}{% for i in range(64) %}{% set n.v = n.v ~ n.v "
                  "%}{% endfor %}"),
            too_much);
  EXPECT_EQ(Error("{{ big.replace('', big) }}"), too_much);
  EXPECT_EQ(Error("{{ [1] | tojson(indent=9000000000) }}"), too_much);
  EXPECT_EQ(Error("{% for i in range(1000) %}{{ big }}{% endfor %}"),
            "t.jinja: line 1: writes more than 33554432 bytes");
}

TEST(JinjaTest, DepthIsLimited) {
  const auto nested = [](char open, char close) {
    return "{{ " + std::string(10'000, open) + "1" + std::string(10'000, close) + " }}";
  };
  EXPECT_EQ(Error(nested('(', ')')), "t.jinja: line 1: an expression is nested too deeply");
  EXPECT_EQ(Error(nested('[', ']')), "t.jinja: line 1: an expression is nested too deeply");
  std::string sum = "{{ 1";
  for (int i = 0; i < 10'000; ++i) {
    sum += " + 1";
  }
  EXPECT_EQ(Error(sum + " }}"), "t.jinja: line 1: an expression is nested too deeply");
  std::string ifs;
  for (int i = 0; i < 10'000; ++i) {
    ifs += "{% if 1 %}";
  }
  EXPECT_EQ(Error(ifs), "t.jinja: line 1: tags are nested too deeply");
  EXPECT_EQ(Error("{% set n = namespace(v=1) %}{% for i in range(1000) %}{% set n.v = [n.v] %}"
                  "{% endfor %}"),
            "t.jinja: line 1: values are nested more than 128 deep");
}

TEST(JinjaTest, NamespacesThatHoldThemselvesAreFreed) {  // The leak checker looks.
  EXPECT_EQ(Error("{% set n = namespace() %}{% set n.n = n %}{% set n.l = [n] %}"),
            "rendered 0 bytes");
  EXPECT_EQ(Error("{% set n = namespace() %}{% for i in [n] %}{% set n.loop = loop %}{% endfor %}"),
            "rendered 0 bytes");
}

}  // namespace
}  // namespace alcca::jinja
