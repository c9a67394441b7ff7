// Regular expressions, grammars, choices and structural tags.

#include <string>
#include <utility>
#include <vector>

#include "engine/constraint/ebnf.h"
#include "engine/constraint/regex.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/engine/constraint/harness.h"

namespace alcca {
namespace {

using ::testing::HasSubstr;
using Kind = ConstraintSpec::Kind;

TEST(RegexConstraintTest, Syntax) {
  CheckCases(TextSpec(Kind::kRegex, ""),
             {
                 {"", {""}, {"a"}},
                 {"abc", {"abc"}, {"ab", "abcd"}},
                 {"^a|b$", {"a", "b"}, {"ab", ""}},
                 {"[a-c]+\\d{2,3}", {"a12", "abc123"}, {"12", "a1", "a1234"}},
                 {"(?:ab)*c?", {"", "abab", "ababc", "c"}, {"aba"}},
                 {"(a{2}){3}", {"aaaaaa"}, {"aaaaa", "aaaaaaa"}},
                 {"(a{0,2}b{1,2}){2}", {"bb", "aabab", "bbbb", "abbaabb"}, {"b", "aaabb", "ab"}},
                 {"(a?){5}", {"", "aaaaa"}, {"aaaaaa"}},
                 {"(a|aa){3}", {"aaa", "aaaaaa"}, {"aa", "aaaaaaa"}},
                 {"x{0}y", {"y"}, {"xy"}},
                 {".", {"a", "\xC3\xA9", "\xF0\x9F\x98\x80"}, {"\n", "\xC3", "ab"}},
                 {"[^a]", {"b", "\xE2\x82\xAC"}, {"a"}},
                 {"[\xC3\xA9-\xE2\x82\xAC]",
                  {"\xC3\xA9", "\xE2\x82\xAC", "\xCF\x80"},
                  {"a", "\xE2\x82\xAD"}},
                 {"\\u00e9\\x41\\t",
                  {"\xC3\xA9"
                   "A\t"},
                  {"eA\t"}},
                 {"\\ud83d\\ude00", {"\xF0\x9F\x98\x80"}, {"x"}},
                 {"a{,2}", {"a{,2}"}, {"aa"}},
                 {"a+?b", {"ab", "aab"}, {"b"}},
                 {"(?<n>a)(?P<m>b)", {"ab"}, {"a"}},
                 {"[\\w-]+", {"a-b_9"}, {"a b"}},
                 {"\\S\\s", {"a ", "\xC3\xA9\t"}, {"  "}},
             });
}

TEST(RegexConstraintTest, RefusedWithOffset) {
  const std::pair<const char*, const char*> kCases[] = {
      {"a(?=b)", "look-around is not supported at byte 3"},
      {"(a)\\1", "back references are not supported at byte 4"},
      {"\\bx", "word borders are not supported at byte 1"},
      {"(a", "missing ')' at byte 2"},
      {"a)", "unmatched ')' at byte 1"},
      {"[a", "missing ']' at byte 2"},
      {"*", "nothing to repeat at byte 0"},
      {"a{3,2}", "repeat from more to less"},
      {"a{2000000}", "repeat of more than"},
      {"(?i)a", "flags"},
      {"a^b", "an anchor inside"},
      {"[z-a]", "range from more to less"},
      {"\\", "backslash at the end"},
      {"[]", "no text satisfies"},
      {"\\p{L}", "Unicode properties"}};
  for (const auto& [pattern, message] : kCases) {
    EXPECT_THAT(CompileError(TextSpec(Kind::kRegex, pattern)), HasSubstr(message)) << pattern;
  }
}

TEST(RegexConstraintTest, CountsAreNotCopies) {
  const auto grammar = CompileRegex("((a{1,1000}b){1000}c){1000}", {});
  ASSERT_TRUE(grammar.ok()) << grammar.status();
  EXPECT_LT(grammar->states.size(), 40u);
}

TEST(EbnfConstraintTest, Gbnf) {
  CheckCases(TextSpec(Kind::kGrammar, ""),
             {
                 {"root ::= \"a\" b # comment\nb ::= [0-9]+ | \"x\"{2,3}",
                  {"a1", "a23", "axx", "axxx"},
                  {"a", "ax", "axxxx"}},
                 {"root ::= (\"a\" | \"b\")* \"c\"?\n", {"", "abab", "ac"}, {"cc"}},
                 {"root ::= \"\\x41\\n\\\"\" [^\\]a]", {"A\n\"b"}, {"A\n\"]", "A\n\"a"}},
                 {"root ::= e\ne ::= e \"+\" t | t\nt ::= \"1\" | \"(\" e \")\"",
                  {"1", "1+1", "(1+1)+1"},
                  {"+1", "1+", "(1"}},
                 {"root ::= a\na ::= b \"x\" | \"a\"\nb ::= a \"y\" | \"b\"",
                  {"a", "bx", "ayx", "bxyx"},
                  {"b", "ax"}},
                 {"root ::= s\ns ::= s s | \"a\"", {"a", "aa", "aaaaaaa"}, {"", "ab"}},
                 {"root ::= \"(\" root \")\" |", {"", "(())"}, {"(", "())"}},
                 {"root ::= list\nlist ::= \"a\" list | \"a\"", {"a", "aaaa"}, {""}},
                 {"root ::= .", {"x", "\n", "\xC3\xA9"}, {"xy"}},
             });
}

TEST(EbnfConstraintTest, Lark) {
  CheckCases(TextSpec(Kind::kGrammar, ""),
             {
                 {"start: item (\",\" item)*\n?item: NUMBER | \"x\"i -> thing\nNUMBER: "
                  "/[0-9]+(\\.[0-9]+)?/",
                  {"1,x,X,2.5"},
                  {"1,", "1.,x"}},
                 {"start: \"a\"..\"c\" [\"!\"]  // optional\n", {"a", "c!"}, {"d", "a!!"}},
                 {"start: (\"ab\" | \"c\")~2..3", {"abc", "ccc"}, {"c", "cccc"}},
                 {"start: expr\nexpr: expr \"+\" term\n    | term\nterm: /\\d/", {"1+2+3"}, {"1+"}},
             });
}

TEST(EbnfConstraintTest, RefusedWithPlace) {
  const std::pair<const char*, const char*> kCases[] = {
      {"root ::= b", "line 1: no rule 'b'"},
      {"x ::= \"a\"", "no rule 'root'"},
      {"root ::= \"a", "line 1, column 12: missing"},
      {"root ::= (\"a\"", "missing ')'"},
      {"root ::= \"a\"\nroot ::= \"b\"", "defined twice"},
      {"start: \"a\"\n%ignore \" \"", "line 2, column 1: directives"},
      {"root ::= root", "no text satisfies"},
      {"root ::= \"\" root", "no text satisfies"},
      {"root ::= \"a\"{3,1}", "repeat from more to less"},
      {"", "no rule 'start'"},
      {"root ::= n root \"a\" | \"b\"\nn ::= \"c\"?",
       "left recursion behind something that may be empty"},
      {"start: /a(?=b)/", "look-around"}};
  for (const auto& [grammar, message] : kCases) {
    EXPECT_THAT(CompileError(TextSpec(Kind::kGrammar, grammar)), HasSubstr(message)) << grammar;
  }
}

TEST(ChoiceConstraintTest, OneOfTheTexts) {
  ConstraintSpec spec = TextSpec(Kind::kChoice, "");
  spec.choices = {"yes", "yes!", "no", "\xC3\xA9"};
  for (const std::string& text : spec.choices) {
    EXPECT_TRUE(Accepts(spec, text));
  }
  EXPECT_FALSE(Accepts(spec, "ye"));
  EXPECT_FALSE(Accepts(spec, "nono"));
  spec.choices.clear();
  EXPECT_THAT(CompileError(spec), HasSubstr("at least one"));
}

TEST(StructuralTagTest, FreeTextAndTags) {
  CheckCases(
      TextSpec(Kind::kStructuralTag, ""),
      {
          {R"({"structures":[{"begin":"<f=a>","schema":{"type":"integer"},"end":"</f>"},{"begin":"<f=b>","end":"</f>"}],"triggers":["<f="]})",
           {"", "hello < <f </f>", "x<f=a>12</f>y<f=b>{}</f>", "<<f=a>1</f>", "<f<f=a>1</f>"},
           {"<f=a>", "<f=c>1</f>", "<f=a>x</f>", "<f=", "<f=a>1"}},
      });
  const std::pair<const char*, const char*> kCases[] = {
      {"{}", "/structures"},
      {R"({"structures":[{"begin":"a","end":"b"}],"triggers":["x"]})", "/structures/0/begin"},
      {R"({"structures":[{"begin":"ab","end":"b"}],"triggers":["a","ab"]})", "/triggers/1"},
      {R"({"structures":[{"begin":"a","end":"b","schema":{"type":"x"}}],"triggers":["a"]})",
       "/structures/0/schema"}};
  for (const auto& [text, message] : kCases) {
    EXPECT_THAT(CompileError(TextSpec(Kind::kStructuralTag, text)), HasSubstr(message)) << text;
  }
}

TEST(JsonObjectTest, AnyObject) {
  const ConstraintSpec spec;
  EXPECT_TRUE(Accepts(spec, R"({"a":[1,{"b":null}],"c":"\u00e9"})"));
  EXPECT_FALSE(Accepts(spec, "[]"));
  EXPECT_FALSE(Accepts(spec, "{\"a\":}"));
}

}  // namespace
}  // namespace alcca
