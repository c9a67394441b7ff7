#include "engine/constraint/json_schema.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/engine/constraint/harness.h"

namespace alcca {
namespace {

using ::testing::HasSubstr;

const JsonSchemaOptions kAnyOrder = {.ordered = false};
const JsonSchemaOptions kSpaces = {.whitespace = JsonWhitespace::kFlexible};

TEST(JsonSchemaTest, Types) {
  CheckCases(SchemaSpec(""),
             {
                 {"true",
                  {"1", "{}", "[1,{\"a\":null}]", "\"x\"", "-0.5e+10"},
                  {"", "01", "[1,]", "{a:1}", "nul"}},
                 {"{}", {"1", "{}", "[]"}, {" 1", "1 "}},
                 {R"({"type":"null"})", {"null"}, {"0", "nulll"}},
                 {R"({"type":"boolean"})", {"true", "false"}, {"True", "1"}},
                 {R"({"type":"integer"})", {"0", "-12", "100"}, {"1.0", "01", "1e3", "-"}},
                 {R"({"type":"number"})", {"0", "-1.5", "1e3", "2E-7"}, {"1.", ".5", "+1"}},
                 {R"({"type":["string","null"]})", {"\"\"", "null"}, {"1"}},
                 {R"({"type":"array"})", {"[]", "[1,\"a\",[]]"}, {"[1 ,2]", "{}"}},
                 {R"({"type":"object"})", {"{}", "{\"a\":{\"b\":1}}"}, {"[]", "{\"a\"}"}},
             });
}

TEST(JsonSchemaTest, EnumAndConst) {
  CheckCases(
      SchemaSpec(""),
      {
          {R"({"enum":["a","ab",1,2.5,null,true,[1,"x"],{"k":[]}]})",
           {"\"a\"", "\"ab\"", "1", "2.5", "null", "true", "[1,\"x\"]", "{\"k\":[]}"},
           {"\"b\"", "\"abc\"", "1.5", "2", "false", "[1]", "{}", "{\"k\":[],\"l\":1}", "2.50"}},
          {R"({"const":"\"\n\u00e9"})", {"\"\\\"\\n\xC3\xA9\""}, {"\"\""}},
          {R"({"type":"integer","enum":[1,"x"]})", {"1"}, {"\"x\""}},
      });
}

TEST(JsonSchemaTest, NumberRangesAreExact) {
  CheckCases(
      SchemaSpec(""),
      {
          {R"({"type":"integer","minimum":-12,"maximum":305})",
           {"-12", "-9", "-1", "0", "9", "99", "300", "305"},
           {"-13", "-20", "306", "1000", "-100"}},
          {R"({"type":"integer","exclusiveMinimum":0})", {"1", "10"}, {"0", "-1", "-0"}},
          {R"({"type":"integer","minimum":0,"exclusiveMinimum":true})", {"1"}, {"0"}},
          {R"({"type":"number","minimum":1.25,"exclusiveMaximum":2})",
           {"1.25", "1.250", "1.9999", "1.3"},
           {"1.24", "2", "2.0", "1", "1.2", "1.2499"}},
          {R"({"type":"number","maximum":-0.5})",
           {"-0.5", "-1", "-0.50"},
           {"-0.4", "0", "1", "-0"}},
          {R"({"type":"number","minimum":0})", {"0", "-0", "0.0", "7"}, {"-0.1", "-1"}},
          {R"({"type":"integer","multipleOf":7})", {"0", "7", "-14", "700"}, {"1", "8", "71"}},
          {R"({"multipleOf":0.25})", {"1", "1.25", "0.5", "-2.75", "\"x\""}, {"0.3", "1.251"}},
          {R"({"type":"integer","multipleOf":2.5})", {"5", "10"}, {"2", "3"}},
      });
}

TEST(JsonSchemaTest, EveryIntegerOfARange) {
  for (const auto& [low, high] : {std::pair{-23, 117}, {0, 9}, {5, 5}, {98, 205}, {-1000, -99}}) {
    const auto constraint =
        CompileConstraint(SchemaSpec("{\"type\":\"integer\",\"minimum\":" + std::to_string(low) +
                                     ",\"maximum\":" + std::to_string(high) + "}"),
                          JsonVocabulary());
    ASSERT_TRUE(constraint.ok()) << constraint.status();
    for (int i = -1200; i <= 1200; ++i) {
      Matcher matcher(*constraint);
      const bool accepted = matcher.AcceptText(std::to_string(i)).ok() && matcher.MayEnd();
      EXPECT_EQ(accepted, low <= i && i <= high) << i << " in " << low << ".." << high;
    }
  }
}

TEST(JsonSchemaTest, Strings) {
  CheckCases(
      SchemaSpec(""),
      {
          {R"({"type":"string"})",
           {"\"\"", "\"a\\\"\\u00e9\\ud83d\\ude00\"", "\"\xF0\x9F\x98\x80\"", "\"\\/\""},
           {"\"\n\"", "\"\xFF\"", "\"\\ud83d\"", "\"\\udc00\"", "\"\xED\xA0\x80\"", "\"\xC0\x80\"",
            "\"\\x\""}},
          {R"({"type":"string","minLength":2,"maxLength":3})",
           {"\"ab\"", "\"\xC3\xA9\\n\\u00e9\"", "\"\xF0\x9F\x98\x80\\ud83d\\ude00\""},
           {"\"a\"", "\"abcd\"", "\"\""}},
          {R"({"type":"string","pattern":"^a+b?$"})",
           {"\"a\"", "\"aaab\""},
           {"\"b\"", "\"ab \"", "\"\""}},
          {R"({"type":"string","pattern":"b"})", {"\"abc\"", "\"b\""}, {"\"ac\""}},
          {R"({"type":"string","pattern":"^[^\"]*\\\\$"})", {R"("x\\")"}, {"\"x\"", R"("\"\\")"}},
          {R"({"type":"string","pattern":"^\\w+$","maxLength":3,"minLength":2})",
           {"\"ab\"", "\"abc\""},
           {"\"a\"", "\"abcd\"", "\"a b\""}},
          {R"({"type":"string","allOf":[{"pattern":"a"},{"pattern":"b"}]})",
           {"\"ab\"", "\"bxa\""},
           {"\"a\"", "\"b\""}},
          {R"({"type":"string","not":{"pattern":"^a"}})", {"\"\"", "\"ba\""}, {"\"a\"", "\"ab\""}},
          {R"({"type":"string","not":{"minLength":2}})", {"\"\"", "\"a\""}, {"\"ab\""}},
      });
}

TEST(JsonSchemaTest, Formats) {
  const auto format = [](const std::string& name) {
    return "{\"type\":\"string\",\"format\":\"" + name + "\"}";
  };
  CheckCases(
      SchemaSpec(""),
      {
          {format("date"),
           {"\"2024-02-29\"", "\"1999-12-31\""},
           {"\"2023-02-29\"", "\"2024-13-01\"", "\"2024-04-31\"", "\"1900-02-29\""}},
          {format("time"),
           {"\"23:59:59Z\"", "\"08:30:00.123+01:00\"", "\"23:59:60Z\""},
           {"\"24:00:00Z\"", "\"12:00\"", "\"12:00:00\""}},
          {format("date-time"),
           {"\"2024-02-29T12:00:00Z\""},
           {"\"2024-02-29 12:00:00Z\"", "\"2024-02-29\""}},
          {format("uuid"),
           {"\"123e4567-e89b-12d3-a456-426614174000\""},
           {"\"123e4567e89b12d3a456426614174000\""}},
          {format("ipv4"), {"\"192.168.0.255\""}, {"\"256.1.1.1\"", "\"1.2.3\"", "\"01.2.3.4\""}},
          {format("ipv6"),
           {"\"::\"", "\"::1\"", "\"1::\"", "\"2001:db8::8a2e:370:7334\"", "\"::ffff:1.2.3.4\"",
            "\"1:2:3:4:5:6:7::\"", "\"1:2:3:4:5:6:7:8\""},
           {"\"1::2::3\"", "\"12345::\"", "\"1:2:3:4:5:6:7\"", "\"1:2:3:4:5:6:7:8:9\"", "\":1\"",
            "\"1:2:3:4:5:6:7::8:9\""}},
          {format("email"),
           {"\"a.b+c@example.org\""},
           {"\"a@\"", "\"@b\"", "\"a b@c\"", "\"a..b@c\""}},
          {format("hostname"), {"\"a-b.example\""}, {"\"-a\"", "\"a..b\"", "\"a_b\""}},
          {format("uri"),
           {"\"https://user@host:80/a/b?c=d#e\"", "\"mailto:a@b\"", "\"urn:isbn:1\""},
           {"\"//host\"", "\"a b:c\"", "\"http://[1]\""}},
          {format("uri-reference"),
           {"\"/a\"", "\"a/b\"", "\"#x\"", "\"http://h\""},
           {"\"a b\"", "\"%zz\""}},
          {format("duration"),
           {"\"P1Y2M3DT4H5M6S\"", "\"PT1S\"", "\"P2W\""},
           {"\"P\"", "\"PT\"", "\"P1S\""}},
          {format("json-pointer"), {"\"\"", "\"/a~1b/0\""}, {"\"a\"", "\"/~2\""}},
      });
  EXPECT_THAT(CompileError(SchemaSpec(format("regex"))), HasSubstr("'format' at #"));
  EXPECT_THAT(CompileError(SchemaSpec(format("iri"))), HasSubstr("'format' at #"));
  // What JSON schema does not define is an annotation.
  CheckCases(SchemaSpec(""),
             {{format("int32"), {"\"x\""}, {"1"}}, {format("our-own"), {"\"x\""}, {"1"}}});
}

TEST(JsonSchemaTest, Arrays) {
  CheckCases(
      SchemaSpec(""),
      {
          {R"({"type":"array","items":{"type":"integer"},"minItems":2,"maxItems":3})",
           {"[1,2]", "[1,2,3]"},
           {"[]", "[1]", "[1,2,3,4]", "[1,\"a\"]"}},
          {R"({"type":"array","items":false})", {"[]"}, {"[1]"}},
          {R"({"type":"array","maxItems":0})", {"[]"}, {"[1]"}},
          {R"({"type":"array","prefixItems":[{"type":"null"},{"const":1}],"items":{"type":"string"}})",
           {"[]", "[null]", "[null,1]", "[null,1,\"a\",\"b\"]"},
           {"[1]", "[null,2]", "[null,1,1]"}},
          {R"({"type":"array","items":[{"type":"null"}],"additionalItems":false,"minItems":1})",
           {"[null]"},
           {"[]", "[null,1]"}},
          {R"({"type":"array","prefixItems":[true,{"type":"null"}],"maxItems":1})",
           {"[]", "[1]"},
           {"[1,null]"}},
          {R"({"type":"array","contains":{"const":7},"items":{"type":"integer"}})",
           {"[7]", "[1,7,2]", "[77,7]"},
           {"[]", "[1,2]", "[\"a\",7]"}},
          {R"({"type":"array","contains":{"const":7},"minContains":2,"maxContains":2})",
           {"[7,7]", "[7,1,7]"},
           {"[7]", "[7,7,7]"}},
          {R"({"type":"array","not":{"contains":{"type":"null"}}})",
           {"[]", "[1,2]"},
           {"[null]", "[1,null]"}},
          {R"({"type":"array","not":{"items":{"type":"integer"}}})",
           {"[\"a\"]", "[1,\"a\",2]"},
           {"[]", "[1,2]"}},
          {R"({"type":"array","items":{"enum":["a","b","c"]},"uniqueItems":true,"minItems":2})",
           {"[\"b\",\"a\"]", "[\"a\",\"b\",\"c\"]"},
           {"[\"a\",\"a\"]", "[\"a\"]"}},
          {R"({"type":"array","uniqueItems":true,"maxItems":1})", {"[]", "[1]"}, {"[1,2]"}},
      });
  EXPECT_THAT(CompileError(SchemaSpec(R"({"type":"array","uniqueItems":true})")),
              HasSubstr("uniqueItems"));
}

TEST(JsonSchemaTest, ObjectsInOrder) {
  CheckCases(
      SchemaSpec(""),
      {
          {R"({"type":"object","properties":{"a":{"type":"integer"},"b":{"type":"null"},"c":{}},"required":["a","c"],"additionalProperties":false})",
           {R"({"a":1,"c":2})", R"({"a":1,"b":null,"c":[]})"},
           {"{}", R"({"a":1})", R"({"c":1,"a":1})", R"({"a":1,"c":2,"d":3})",
            R"({"a":1,"a":1,"c":2})", R"({"a":1,"b":null})", R"({"a":1,"c":2,})"}},
          {R"({"type":"object","properties":{"a":{"type":"integer"}},"additionalProperties":{"type":"string"}})",
           {"{}", R"({"a":1,"x":"y"})", R"({"ab":"y","z":""})", R"({"x":"y"})"},
           {R"({"a":"s"})", R"({"x":1})", R"({"x":"y","a":1})"}},
          {R"({"type":"object","patternProperties":{"^n":{"type":"integer"},"x$":{"minimum":5}},"additionalProperties":false})",
           {R"({"n":1})", R"({"nx":7,"x":9})", R"({"n":1,"x":"s"})"},
           {R"({"nx":3})", R"({"a":1})", R"({"n":"s"})"}},
          {R"({"type":"object","required":["z"],"properties":{"a":{}}})",
           {R"({"z":1})", R"({"a":1,"z":1,"q":2})"},
           {"{}", R"({"a":1})"}},
          {R"({"type":"object","minProperties":1,"maxProperties":2})",
           {R"({"a":1})", R"({"a":1,"b":1})"},
           {"{}", R"({"a":1,"b":1,"c":1})"}},
          {R"({"type":"object","properties":{"a":{},"b":{},"c":{}},"additionalProperties":false,"minProperties":2})",
           {R"({"a":1,"c":1})", R"({"b":1,"c":1})", R"({"a":1,"b":1,"c":1})"},
           {R"({"a":1})", R"({"c":1})", "{}"}},
          {R"({"type":"object","propertyNames":{"maxLength":2}})",
           {"{}", R"({"ab":1})"},
           {R"({"abc":1})"}},
          {R"({"type":"object","properties":{"a":false},"additionalProperties":{"type":"null"}})",
           {"{}", R"({"b":null})"},
           {R"({"a":null})"}},
      });
  EXPECT_THAT(CompileError(SchemaSpec(R"({"type":"object","minProperties":2})")),
              HasSubstr("minProperties"));
}

TEST(JsonSchemaTest, ObjectsInAnyOrder) {
  CheckCases(
      SchemaSpec("", kAnyOrder),
      {
          {R"({"type":"object","properties":{"a":{"type":"integer"},"ab":{"type":"null"},"c":{}},"required":["a","c"]})",
           {R"({"a":1,"c":2})", R"({"c":2,"ab":null,"a":1})", R"({"x":1,"c":2,"y":1,"a":1})"},
           {R"({"c":1})", R"({"a":1,"c":2,"a":1})", R"({"c":2,"ab":1,"a":1})"}},
          {R"({"type":"object","properties":{"a":{},"b":{}},"maxProperties":1,"required":["b"]})",
           {R"({"b":1})"},
           {R"({"a":1})", R"({"b":1,"a":1})"}},
      });
}

TEST(JsonSchemaTest, WhiteSpace) {
  const std::string schema =
      R"({"type":"object","properties":{"a":{"type":"array","items":{"type":"integer"}}},"required":["a"]})";
  for (const char* text :
       {"{\"a\":[1,2]}", "{ \"a\" : [ 1 , 2 ] }", "{\n  \"a\": [\n    1\n  ]\n}", "{\"a\":[ ]}"}) {
    EXPECT_TRUE(Accepts(SchemaSpec(schema, kSpaces), text)) << text;
  }
  EXPECT_FALSE(Accepts(SchemaSpec(schema), "{\"a\": [1,2]}"));
  EXPECT_FALSE(Accepts(SchemaSpec(schema, kSpaces), "{\"a\":[1 2]}"));
}

TEST(JsonSchemaTest, Combinations) {
  CheckCases(
      SchemaSpec(""),
      {
          {R"({"anyOf":[{"type":"integer"},{"type":"string","maxLength":1}]})",
           {"1", "\"a\""},
           {"\"ab\"", "null"}},
          {R"({"allOf":[{"type":"object","properties":{"a":{"type":"integer"}},"required":["a"]},{"properties":{"b":{"type":"null"}},"required":["b"]}]})",
           {R"({"a":1,"b":null})"},
           {R"({"a":1})", R"({"b":null})", R"({"a":1,"b":1})"}},
          {R"({"oneOf":[{"type":"integer","multipleOf":2},{"type":"integer","multipleOf":3}]})",
           {"2", "3", "9", "-4"},
           {"6", "0", "1", "12"}},
          {R"({"oneOf":[{"required":["a"]},{"required":["b"]}],"type":"object"})",
           {R"({"a":1})", R"({"b":1})", R"({"a":1,"x":2})"},
           {"{}", R"({"a":1,"b":1})"}},
          {R"({"not":{"type":["string","object"]}})", {"1", "[]", "null"}, {"\"a\"", "{}"}},
          {R"({"type":"string","not":{"enum":["a","bc"]}})",
           {"\"b\"", "\"\"", "\"bcd\"", "\"ab\""},
           {"\"a\"", "\"bc\""}},
          {R"({"type":"object","not":{"required":["a","b"]}})",
           {"{}", R"({"a":1})", R"({"x":1})"},
           {R"({"a":1,"b":1})"}},
          {R"({"type":"object","not":{"properties":{"a":{"type":"string"}}}})",
           {R"({"a":1})"},
           {"{}", R"({"a":"s"})", R"({"b":1})"}},
          {R"({"type":"object","not":{"additionalProperties":{"type":"string"}}})",
           {R"({"a":1})", R"({"a":"s","b":1})"},
           {"{}", R"({"a":"s"})"}},
          {R"({"type":"object","properties":{"k":{"enum":["x","y"]},"v":{}},"required":["k"],"if":{"properties":{"k":{"const":"x"}}},"then":{"properties":{"v":{"type":"integer"}}},"else":{"required":["v"]}})",
           {R"({"k":"x","v":1})", R"({"k":"x"})", R"({"k":"y","v":"s"})"},
           {R"({"k":"x","v":"s"})", R"({"k":"y"})"}},
          {R"({"type":"object","properties":{"a":{},"b":{}},"additionalProperties":false,"dependentRequired":{"a":["b"]}})",
           {"{}", R"({"b":1})", R"({"a":1,"b":1})"},
           {R"({"a":1})"}},
          {R"({"type":"object","properties":{"a":{},"b":{}},"dependencies":{"a":{"properties":{"b":{"type":"null"}}}}})",
           {R"({"a":1,"b":null})", R"({"b":1})", R"({"a":1})"},
           {R"({"a":1,"b":1})"}},
      });
}

TEST(JsonSchemaTest, References) {
  CheckCases(
      SchemaSpec(""),
      {
          {R"({"$defs":{"n":{"type":"object","properties":{"next":{"$ref":"#/$defs/n"}},"additionalProperties":false}},"$ref":"#/$defs/n"})",
           {"{}", R"({"next":{"next":{}}})"},
           {R"({"next":1})", R"({"x":{}})"}},
          {R"({"type":"array","items":{"$ref":"#"}})", {"[]", "[[],[[]]]"}, {"[1]"}},
          {R"({"definitions":{"a/b":{"type":"null"}},"$ref":"#/definitions/a~1b"})",
           {"null"},
           {"1"}},
          {R"({"$defs":{"x":{"$anchor":"here","type":"null"}},"$ref":"#here"})", {"null"}, {"1"}},
          {R"({"$defs":{"s":{"type":"string"}},"$ref":"#/$defs/s","maxLength":1})",
           {"\"a\""},
           {"\"ab\""}},
          {R"({"$schema":"http://json-schema.org/draft-07/schema#","definitions":{"s":{"type":"string"}},"$ref":"#/definitions/s","maxLength":1})",
           {"\"ab\""},
           {"1"}},
      });
}

TEST(JsonSchemaTest, RefusedWithKeywordAndPointer) {
  const std::pair<const char*, const char*> kCases[] = {
      {R"({"properties":{"a":{"unevaluatedProperties":false}}})",
       "'unevaluatedProperties' at #/properties/a"},
      {R"x({"properties":{"a":{"type":"string","pattern":"(?=x)"}}})x",
       "'pattern' at #/properties/a: regular expression: look-around"},
      {R"({"properties":{"a~/b":{"type":"int"}}})", "'type' at #/properties/a~0~1b"},
      {R"({"$ref":"other.json"})", "'$ref' at #"},
      {R"({"$ref":"#/nowhere"})", "is not in the schema"},
      {R"({"$ref":"#"})", "refers to itself"},
      {R"({"$defs":{"a":{"$ref":"#/$defs/b"},"b":{"allOf":[{"$ref":"#/$defs/a"}]}},"$ref":"#/$defs/a"})",
       "refers to itself"},
      {R"({"type":"string","minLength":-1})", "'minLength' at #"},
      {R"({"type":"number","multipleOf":0})", "'multipleOf' at #"},
      {R"({"type":"number","multipleOf":123456789})", "'multipleOf' at #"},
      {R"({"enum":1})", "'enum' at #"},
      {R"({"allOf":[]})", "'allOf' at #"},
      {R"(false)", "no text satisfies"},
      {R"({"type":"integer","minimum":3,"maximum":2})", "no text satisfies"},
      {R"({"type":"object","properties":{"n":{"$ref":"#"}},"required":["n"]})",
       "no text satisfies"},
      {R"({"a":1,"a":2})", "duplicate key"},
      {"[1]", "expected an object"},
      {"{", "not valid JSON at byte"},
  };
  for (const auto& [schema, message] : kCases) {
    EXPECT_THAT(CompileError(SchemaSpec(schema)), HasSubstr(message)) << schema;
  }
}

TEST(JsonSchemaTest, NoDeadEnds) {
  // After a comma some member must be possible, and one that was begun must be one that may come.
  const auto constraint = CompileConstraint(
      SchemaSpec(
          R"({"type":"object","properties":{"ab":{"type":"null"},"ac":false},"additionalProperties":false})"),
      JsonVocabulary());
  ASSERT_TRUE(constraint.ok());
  Matcher matcher(*constraint);
  EXPECT_TRUE(matcher.AcceptText("{\"a").ok());
  EXPECT_FALSE(matcher.AcceptText("c").ok());
  EXPECT_TRUE(matcher.AcceptText("b\":null").ok());
  EXPECT_FALSE(matcher.AcceptText(",").ok());
  EXPECT_TRUE(matcher.AcceptText("}").ok());
}

}  // namespace
}  // namespace alcca
