#include "engine/text/chat_template.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "engine/text/sentencepiece_tokenizer.h"

namespace alcca {
namespace {

using TokenIds = std::vector<int32_t>;
using Messages = std::vector<ChatMessage>;
using nlohmann::ordered_json;

const std::string kTestData = ALCCA_TEST_DATA_DIR;

const SentencePieceTokenizer& TokenizerOf(ChatFormat format) {
  // The V2 tokenizer differs from V3 in the names of pieces that these formats do not use.
  static const auto v1 = *SentencePieceTokenizer::Load(kTestData + "/tokenizer/tokenizer.model.v1");
  static const auto v3 = *SentencePieceTokenizer::Load(kTestData + "/tokenizer/tokenizer.model.v3");
  return format == ChatFormat::kMistralV1 ? v1 : v3;
}

ordered_json ReadJson(const std::string& path) {
  std::ifstream file(path);
  EXPECT_TRUE(file) << path;
  return ordered_json::parse(file);
}

std::string StringOr(const ordered_json& object, const char* key) {
  const auto value = object.find(key);
  return value != object.end() && value->is_string() ? value->get<std::string>() : "";
}

Messages ParseMessages(const ordered_json& list) {
  Messages messages;
  for (const ordered_json& item : list) {
    ChatMessage message;
    message.role = StringOr(item, "role");
    message.content = StringOr(item, "content");
    message.tool_call_id = StringOr(item, "tool_call_id");
    message.name = StringOr(item, "name");
    if (item.contains("tool_calls") && item["tool_calls"].is_array()) {
      for (const ordered_json& call : item["tool_calls"]) {
        message.tool_calls.push_back({StringOr(call, "id"), StringOr(call["function"], "name"),
                                      StringOr(call["function"], "arguments")});
      }
    }
    messages.push_back(std::move(message));
  }
  return messages;
}

struct Golden {
  const char* sample;
  const char* version;
  ChatFormat format;
};

class ChatGoldenTest : public ::testing::TestWithParam<Golden> {};

TEST_P(ChatGoldenTest, SameTokensAsMistralCommon) {
  const std::string folder = kTestData + "/chat/" + GetParam().sample;
  const ordered_json sample = ReadJson(folder + "/sample.json");
  const std::string tools = sample.contains("tools") ? sample["tools"].dump() : "";
  const auto ids = EncodeChat(TokenizerOf(GetParam().format), GetParam().format,
                              ParseMessages(sample["messages"]), tools);
  ASSERT_TRUE(ids.ok()) << ids.status();
  const ordered_json expected = ReadJson(folder + "/tokens_" + GetParam().version + ".json");
  EXPECT_EQ(*ids, expected["tokens"].get<TokenIds>())
      << TokenizerOf(GetParam().format).Decode(*ids, /*skip_special=*/false);
}

constexpr ChatFormat kV1 = ChatFormat::kMistralV1;
constexpr ChatFormat kV2 = ChatFormat::kMistralV2;
constexpr ChatFormat kV3 = ChatFormat::kMistralV3;

INSTANTIATE_TEST_SUITE_P(
    Samples, ChatGoldenTest,
    ::testing::Values(Golden{"no_tools", "v1", kV1}, Golden{"no_tools", "v2", kV2},
                      Golden{"no_tools", "v3", kV3}, Golden{"get_weather_full", "v2", kV2},
                      Golden{"get_weather_full", "v3", kV3},
                      Golden{"get_weather_no_history", "v2", kV2},
                      Golden{"get_weather_no_history", "v3", kV3},
                      Golden{"get_weather_no_system_prompt", "v2", kV2},
                      Golden{"get_weather_no_system_prompt", "v3", kV3},
                      Golden{"parallel_calls", "v2", kV2}, Golden{"parallel_calls", "v3", kV3},
                      Golden{"several_calls", "v2", kV2}, Golden{"several_calls", "v3", kV3}));

ChatMessage System(std::string content) {
  return {"system", std::move(content), {}, "", ""};
}
ChatMessage User(std::string content) {
  return {"user", std::move(content), {}, "", ""};
}
ChatMessage Assistant(std::string content) {
  return {"assistant", std::move(content), {}, "", ""};
}
ChatMessage Calls(std::vector<ChatToolCall> calls) {
  return {"assistant", "", std::move(calls), "", ""};
}
ChatMessage Result(std::string content, std::string id = "abcdefgh1") {
  return {"tool", std::move(content), {}, std::move(id), "f"};
}
const ChatToolCall kCall = {"abcdefgh1", "f", "{}"};

// The prompt as text, with control pieces by name and '_' where a piece spells a space.
std::string Text(ChatFormat format, const Messages& messages, const std::string& tools = "") {
  const auto ids = EncodeChat(TokenizerOf(format), format, messages, tools);
  if (!ids.ok()) {
    return ids.status().ToString();
  }
  std::string text;
  for (const int32_t id : *ids) {
    text += TokenizerOf(format).IdToPiece(id);
  }
  for (size_t at; (at = text.find("\u2581")) != std::string::npos;) {
    text.replace(at, 3, "_");
  }
  for (size_t at; (at = text.find("<0x0A>")) != std::string::npos;) {
    text.replace(at, 6, "\\n");
  }
  return text;
}

TEST(ChatTemplateTest, PlacesTheSystemPrompt) {
  const Messages chat = {System("S"), System("T"), User("a"), Assistant("b "), User("c")};
  EXPECT_EQ(Text(kV1, chat), "<s>_[INST]_S\\n\\nT\\n\\na_[/INST]_b_</s>_[INST]_c_[/INST]");
  EXPECT_EQ(Text(kV3, chat), "<s>[INST]_a[/INST]_b</s>[INST]_S\\n\\nT\\n\\nc[/INST]");
  EXPECT_EQ(Text(kV3, {System("S")}), "<s>[INST]_S\\n\\n[/INST]");
  EXPECT_EQ(Text(kV1, {System("S")}), "<s>_[INST]_S\\n\\n_[/INST]");
  EXPECT_EQ(Text(kV3, {System(""), User("a")}), "<s>[INST]_a[/INST]");
}

TEST(ChatTemplateTest, JoinsNeighboursOfTheSameRole) {
  EXPECT_EQ(Text(kV3, {User("a"), User(""), User("b"), Assistant("c"), Assistant("d"), User("e")}),
            "<s>[INST]_a\\n\\nb[/INST]_c\\n\\nd</s>[INST]_e[/INST]");
  // A system message between them keeps them apart, as in mistral-common.
  EXPECT_EQ(Text(kV3, {User("a"), System("S"), User("b")}),
            "<s>[INST]_a[/INST][INST]_S\\n\\nb[/INST]");
  EXPECT_EQ(Text(kV3, {Assistant("a"), User("b")}), "<s>[INST][/INST]_a</s>[INST]_b[/INST]");
  EXPECT_EQ(Text(kV3, {User("")}), "<s>[INST][/INST]");
}

TEST(ChatTemplateTest, SpellsToolsAndResults) {
  const std::string tools = R"([{"function":{"strict":true,"parameters":{"b":[1,2.50],"a":{}},
      "name":"f"},"type":"function"},{"function":{"name":"g-2","description":null}}])";
  EXPECT_EQ(
      Text(kV3, {User("a"), Assistant("b"), User("c")}, tools),
      R"(<s>[INST]_a[/INST]_b</s>[AVAILABLE_TOOLS]_[{"type":_"function",_"function":_{"name":)"
      R"(_"f",_"description":_"",_"parameters":_{"b":_[1,_2.5],_"a":_{}}}},_{"type":)"
      R"(_"function",_"function":_{"name":_"g-2",_"description":_"",_"parameters":_{}}}])"
      R"([/AVAILABLE_TOOLS][INST]_c[/INST])");
  EXPECT_EQ(Text(kV3, {User("a")}, "[]"), "<s>[INST]_a[/INST]");
  const Messages chat = {User("a"), Calls({{"abcdefgh1", "f", ""}, {"abcdefgh2", "g", "[1"}}),
                         Result("{\"x\":1}"), Result("two\nlines", "abcdefgh2")};
  EXPECT_EQ(Text(kV3, chat),
            R"(<s>[INST]_a[/INST][TOOL_CALLS]_[{"name":_"f",_"arguments":_{},_"id":_"abcdefgh1"},)"
            R"(_{"name":_"g",_"arguments":_"[1",_"id":_"abcdefgh2"}]</s>)"
            R"([TOOL_RESULTS]_{"content":_{"x":_1},_"call_id":_"abcdefgh1"}[/TOOL_RESULTS])"
            R"([TOOL_RESULTS]_{"content":_"two\nlines",_"call_id":_"abcdefgh2"}[/TOOL_RESULTS])");
  EXPECT_EQ(Text(kV2, {User("a"), Calls({{"", "f", "1"}}), {"tool", "x", {}, "", ""}}),
            R"(<s>[INST]_a[/INST][TOOL_CALLS]_[{"name":_"f",_"arguments":_1}]</s>)"
            R"([TOOL_RESULTS]_[{"name":_null,_"content":_"x"}][/TOOL_RESULTS])");
}

TEST(ChatTemplateTest, SpellsJsonAsPythonDoes) {
  std::ifstream file(kTestData + "/chat/json.jsonl");
  int cases = 0;
  for (std::string line; std::getline(file, line); ++cases) {
    const auto pair = nlohmann::json::parse(line).get<std::vector<std::string>>();
    const auto ids =
        EncodeChat(TokenizerOf(kV3), kV3, Messages{User(""), Calls({kCall}), Result(pair[0])});
    ASSERT_TRUE(ids.ok()) << ids.status();
    const auto begin =
        std::find(ids->begin(), ids->end(), TokenizerOf(kV3).PieceToId("[TOOL_RESULTS]"));
    const TokenIds expected =
        TokenizerOf(kV3)
            .Encode("{\"content\": " + pair[1] + ", \"call_id\": \"abcdefgh1\"}")
            .value();
    ASSERT_EQ(TokenIds(begin + 1, ids->end() - 1), expected) << line;
  }
  EXPECT_GE(cases, 600);
}

TEST(ChatTemplateTest, TextNeverBecomesAControlPiece) {
  const SentencePieceTokenizer& tokenizer = TokenizerOf(kV3);
  std::string all;
  for (int32_t id = 0; id < 771; ++id) {
    all += std::string(tokenizer.IdToPiece(id)) + " ";
  }
  const std::string quoted = nlohmann::json(all).dump();
  const std::string tools = R"([{"function": {"name": "f", "description": )" + quoted +
                            R"(, "parameters": {)" + quoted + ": " + quoted + "}}}]";
  const auto controls = [&tokenizer](const TokenIds& ids) {
    TokenIds found;
    std::copy_if(ids.begin(), ids.end(), std::back_inserter(found), [&](int32_t id) {
      return tokenizer.IsControl(id) || tokenizer.model().IsUnknown(id);
    });
    return found;
  };
  const auto make = [&](const std::string& text, const std::string& tools_json) {
    const Messages chat = {System(text),
                           User(text),
                           Assistant("a" + text),
                           User(text),
                           Calls({{"abcdefgh1", "f", text}}),
                           Result(text)};
    const auto ids = EncodeChat(tokenizer, kV3, chat, tools_json);
    EXPECT_TRUE(ids.ok()) << ids.status();
    return controls(*ids);
  };
  const std::string plain_tools = R"([{"function": {"name": "f", "parameters": {}}}])";
  const TokenIds expected = {1, 3, 4, 2, 6, 7, 3, 4, 5, 2, 8, 9};
  EXPECT_EQ(make("plain", plain_tools), expected);
  EXPECT_EQ(make(all, tools), expected);
  EXPECT_EQ(make("</s>", plain_tools), expected);
  EXPECT_EQ(make("[/INST]", plain_tools), expected);
}

TEST(ChatTemplateTest, DetectsTheFormat) {
  EXPECT_EQ(DetectChatFormat(TokenizerOf(kV1)), kV1);
  EXPECT_EQ(DetectChatFormat(TokenizerOf(kV3)), kV3);
}

TEST(ChatTemplateTest, TokenizerWithoutThePiecesIsRefused) {
  const auto ids = EncodeChat(TokenizerOf(kV1), kV3, Messages{User("a")});
  EXPECT_EQ(ids.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(ids.status().message(), "the tokenizer has no control piece for [INST]");
}

struct BadChat {
  std::string message;
  Messages chat;
  std::string tools = "";
  ChatFormat format = ChatFormat::kMistralV3;
};

std::vector<BadChat> BadChats() {
  const Messages ok = {User("a")};
  const std::string deep = std::string(129, '[') + std::string(129, ']');
  std::string many = "[0";
  for (int i = 0; i < 1024; ++i) {
    many += ",0";
  }
  return {
      {"messages: must not be empty", {}},
      {"messages[1]: role must be", {User("a"), {"User", "b", {}, "", ""}}},
      {"messages[0]: role must be", {{"", "b", {}, "", ""}}},
      {"messages[0]: the last message must be", {Assistant("a")}},
      {"messages[1]: the last message must be", {User("a"), Assistant("b")}},
      {"messages[1]: the last message must be", {User("a"), Calls({kCall})}},
      {"messages[2]: tool calls have no result: 1", {User("a"), Calls({kCall, kCall}), Result("")}},
      {"messages[2]: tool calls before it have no result: 1",
       {User("a"), Calls({kCall}), User("b")}},
      {"messages[2]: tool calls before it have no result: 1",
       {User("a"), Calls({kCall}), Assistant("b"), Result("x")}},
      {"messages[3]: a tool message without a tool call",
       {User("a"), Calls({kCall}), Result("x"), Result("x")}},
      {"messages[1]: a tool message must follow", {User("a"), Result("x")}},
      {"messages[0]: a tool message must follow", {Result("x")}},
      {"messages[2]: a system message must not follow one of role assistant",
       {User("a"), Assistant("b"), System("c"), User("d")}},
      {"messages[1]: an assistant message must have either", {User("a"), Assistant(""), User("b")}},
      {"messages[1]: an assistant message must have either",
       {User("a"), {"assistant", "x", {kCall}, "", ""}, Result("")}},
      {"messages[2]: neighbouring assistant messages",
       {User("a"), Assistant("x"), Calls({kCall}), Result("")}},
      {"messages[0]: only an assistant message can have tool_calls",
       {{"user", "x", {kCall}, "", ""}}},
      {"messages[1]: a tool call's id must match [a-zA-Z0-9]{9}",
       {User("a"), Calls({{"abcdefgh", "f", ""}}), Result("")}},
      {"messages[1]: a tool call's id must match [a-zA-Z0-9]{9}",
       {User("a"), Calls({{"abcdefgh_", "f", ""}}), Result("")}},
      {"messages[2]: tool_call_id must match",
       {User("a"), Calls({kCall}), Result("", "12345678\n")}},
      {"messages[1]: a tool call's function name must match",
       {User("a"), Calls({{"abcdefgh1", "f g", ""}}), Result("")}},
      {"messages[1]: a tool call's function name must match",
       {User("a"), Calls({{"abcdefgh1", std::string(65, 'f'), ""}}), Result("")}},
      {"messages[2]: name must match",
       {User("a"), Calls({kCall}), {"tool", "", {}, "abcdefgh1", "\u00e9"}}},
      {"messages[0]: content is not valid UTF-8", {User("a\xFF")}},
      {"messages[1]: tool call arguments are not valid UTF-8",
       {User("a"), Calls({{"abcdefgh1", "f", "\xC3"}}), Result("")}},
      {"messages[1]: its JSON is nested too deeply",
       {User("a"), Calls({{"abcdefgh1", "f", deep}}), Result("")}},
      {"messages[2]: its JSON a key occurs twice",
       {User("a"), Calls({kCall}), Result(R"([{"a": 1, "a": 2}])")}},
      {"tools: must be a JSON array", ok, "{}"},
      {"tools: must be a JSON array", ok, "[1"},
      {"tools: must be a JSON array", ok, "\"x\""},
      {"tools: must be a JSON array", ok, "[\"\xFF\"]"},
      {"tools: its JSON is nested too deeply", ok, deep},
      {"tools: its JSON has too many members", ok, many},
      {"tools[0]: must be an object", ok, "[1]"},
      {"tools[0]: function must be an object", ok, R"([{"type": "function"}])"},
      {"tools[0]: function must be an object", ok, R"([{"function": 1}])"},
      {"tools[0]: type must be \"function\"", ok, R"([{"type": "x", "function": {}}])"},
      {"tools[0]: function.name must match", ok, R"([{"function": {}}])"},
      {"tools[0]: function.name must match", ok, R"([{"function": {"name": 1}}])"},
      {"tools[0]: function.name must match", ok, R"([{"function": {"name": "a b"}}])"},
      {"tools[0]: function.description must be a string", ok,
       R"([{"function": {"name": "a", "description": []}}])"},
      {"tools[1]: function.parameters must be an object", ok,
       R"([{"function": {"name": "a"}}, {"function": {"name": "b", "parameters": "{}"}}])"},
      {"tools: this model's chat format has no tools", ok, R"([{"function": {"name": "a"}}])", kV1},
      {"messages[1]: this model's chat format has no tools",
       {User("a"), Calls({kCall}), Result("")},
       "",
       kV1},
  };
}

TEST(ChatTemplateTest, ErrorsNameTheMessageAndTheRule) {
  for (const BadChat& bad : BadChats()) {
    const absl::Status status =
        EncodeChat(TokenizerOf(bad.format), bad.format, bad.chat, bad.tools).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << bad.message << status;
    EXPECT_TRUE(std::string(status.message()).starts_with(bad.message))
        << status << "; wanted " << bad.message;
    EXPECT_EQ(status.message().find('\n'), status.message().npos);
  }
}

// Each of these would be slow or fatal to a reader that builds a tree or recurses.
TEST(ChatTemplateTest, HostileJsonIsCheap) {
  std::string keys = "{\"a\":0";
  for (int i = 0; i < 200000; ++i) {
    keys += ",\"" + std::to_string(i) + "\":0";
  }
  keys += "}";
  const auto result = [](const std::string& content) {
    return EncodeChat(TokenizerOf(kV3), kV3, Messages{User(""), Calls({kCall}), Result(content)});
  };
  EXPECT_TRUE(result(keys).ok());
  EXPECT_FALSE(result(std::string(1'000'000, '[')).ok());
  EXPECT_TRUE(result(std::string(1'000'000, '"')).ok());
  EXPECT_TRUE(result(std::string(1'000'000, '9')).ok());
}

}  // namespace
}  // namespace alcca
