#include "engine/text/chat_template.h"

#include <algorithm>
#include <unordered_set>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "base/utf8.h"
#include "engine/text/python_json.h"

namespace alcca {
namespace {

template <typename... Args>
absl::Status Invalid(std::string_view what, size_t index, const Args&... rule) {
  return absl::InvalidArgumentError(absl::StrCat(std::string(what), "[", index, "]: ", rule...));
}

bool HasOnly(std::string_view s, std::string_view also) {
  return std::all_of(s.begin(), s.end(), [also](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           also.find(c) != std::string_view::npos;
  });
}

constexpr char kNameRule[] = "must match [a-zA-Z0-9_-]{1,64}";
bool IsName(std::string_view s) {
  return !s.empty() && s.size() <= 64 && HasOnly(s, "_-");
}

constexpr char kCallIdRule[] = "must match [a-zA-Z0-9]{9}";
bool IsCallId(std::string_view s) {
  return s.size() == 9 && HasOnly(s, "");
}

absl::StatusOr<std::string> JsonOrString(std::string_view text, size_t index) {
  if (text.empty()) {
    return "{}";
  }
  PythonJson json;
  std::string refusal;
  switch (ToPythonJson(text, 0, &json, &refusal)) {
    case JsonVerdict::kOk:
      return std::move(json.text);
    case JsonVerdict::kNotJson:
      return Quoted(text);
    case JsonVerdict::kRefused:
      break;
  }
  return Invalid("messages", index, "its JSON ", refusal);
}

// The fields that the models saw, in the order in which they saw them.
absl::StatusOr<std::string> ToolText(std::string_view tool, size_t index) {
  constexpr size_t kMembers = 64;
  PythonJson outer, function;
  std::string refusal, function_text, name, description = "\"\"", parameters = "{}";
  if (!tool.starts_with('{') ||
      ToPythonJson(tool, kMembers, &outer, &refusal) != JsonVerdict::kOk) {
    return Invalid("tools", index, "must be an object of at most ", kMembers, " members");
  }
  for (const auto& [key, value] : outer.members) {
    if (key == "type" && value != "\"function\"") {
      return Invalid("tools", index, "type must be \"function\"");
    }
    if (key == "function") {
      function_text = value;
    }
  }
  if (!function_text.starts_with('{') ||
      ToPythonJson(function_text, kMembers, &function, &refusal) != JsonVerdict::kOk) {
    return Invalid("tools", index, "function must be an object of at most ", kMembers, " members");
  }
  for (const auto& [key, value] : function.members) {
    if (key == "name") {
      name = value;
    }
    if (key == "description" && value != "null") {
      description = value;
    }
    if (key == "parameters" && value != "null") {
      parameters = value;
    }
  }
  if (name.size() < 2 || !name.starts_with('"') || !IsName(name.substr(1, name.size() - 2))) {
    return Invalid("tools", index, "function.name ", kNameRule);
  }
  if (!description.starts_with('"')) {
    return Invalid("tools", index, "function.description must be a string");
  }
  if (!parameters.starts_with('{')) {
    return Invalid("tools", index, "function.parameters must be an object");
  }
  return absl::StrCat("{\"type\": \"function\", \"function\": {\"name\": ", name,
                      ", \"description\": ", description, ", \"parameters\": ", parameters, "}}");
}

// The list of tools as the models saw it; empty if there are none.
absl::StatusOr<std::string> ToolsText(std::string_view tools_json) {
  if (tools_json.empty()) {
    return "";
  }
  PythonJson json;
  std::string refusal;
  const JsonVerdict verdict = ToPythonJson(tools_json, kMaxChatTools, &json, &refusal);
  if (verdict == JsonVerdict::kRefused) {
    return absl::InvalidArgumentError(absl::StrCat("tools: its JSON ", refusal));
  }
  if (verdict == JsonVerdict::kNotJson || !json.text.starts_with('[')) {
    return absl::InvalidArgumentError("tools: must be a JSON array");
  }
  std::string text;
  for (size_t i = 0; i < json.members.size(); ++i) {
    ASSIGN_OR_RETURN(const std::string tool, ToolText(json.members[i].value, i));
    absl::StrAppend(&text, text.empty() ? "[" : ", ", tool);
  }
  return text.empty() ? text : text + "]";
}

enum class Role { kSystem, kUser, kAssistant, kTool };

absl::StatusOr<Role> ParseRole(std::string_view role, size_t index) {
  if (role == "system") {
    return Role::kSystem;
  }
  if (role == "user") {
    return Role::kUser;
  }
  if (role == "assistant") {
    return Role::kAssistant;
  }
  if (role == "tool") {
    return Role::kTool;
  }
  return Invalid("messages", index, "role must be system, user, assistant or tool");
}

absl::Status CheckMessage(ChatFormat format, const ChatMessage& message, Role role, size_t index) {
  const auto invalid = [index](const auto&... rule) { return Invalid("messages", index, rule...); };
  if (!IsValidUtf8(message.content)) {
    return invalid("content is not valid UTF-8");
  }
  if (role != Role::kAssistant && !message.tool_calls.empty()) {
    return invalid("only an assistant message can have tool_calls");
  }
  if (format == ChatFormat::kMistralV1 && (role == Role::kTool || !message.tool_calls.empty())) {
    return invalid("this model's chat format has no tools");
  }
  if (role == Role::kAssistant && message.content.empty() == message.tool_calls.empty()) {
    return invalid("an assistant message must have either content or tool_calls");
  }
  const bool has_ids = format == ChatFormat::kMistralV3;
  for (const ChatToolCall& call : message.tool_calls) {
    if (!IsName(call.name)) {
      return invalid("a tool call's function name ", kNameRule);
    }
    if (has_ids && !IsCallId(call.id)) {
      return invalid("a tool call's id ", kCallIdRule);
    }
    if (!IsValidUtf8(call.arguments)) {
      return invalid("tool call arguments are not valid UTF-8");
    }
  }
  if (role == Role::kTool) {
    if (has_ids && !IsCallId(message.tool_call_id)) {
      return invalid("tool_call_id ", kCallIdRule);
    }
    if (!message.name.empty() && !IsName(message.name)) {
      return invalid("name ", kNameRule);
    }
  }
  return absl::OkStatus();
}

// Each message by itself, then their order: who may follow whom, and one result per tool call.
absl::StatusOr<std::vector<Role>> CheckMessages(ChatFormat format,
                                                std::span<const ChatMessage> messages) {
  if (messages.empty()) {
    return absl::InvalidArgumentError("messages: must not be empty");
  }
  std::vector<Role> roles;
  size_t open_calls = 0;  // Tool calls that have no result yet.
  for (size_t i = 0; i < messages.size(); ++i) {
    ASSIGN_OR_RETURN(const Role role, ParseRole(messages[i].role, i));
    RETURN_IF_ERROR(CheckMessage(format, messages[i], role, i));
    const bool after_answer =
        i > 0 && (roles.back() == Role::kAssistant || roles.back() == Role::kTool);
    if (role == Role::kTool && !after_answer) {
      return Invalid("messages", i, "a tool message must follow an assistant or tool message");
    }
    if (role == Role::kSystem && after_answer) {
      return Invalid("messages", i, "a system message must not follow one of role ",
                     messages[i - 1].role);
    }
    if (role == Role::kTool && open_calls == 0) {
      return Invalid("messages", i, "a tool message without a tool call");
    }
    if (role == Role::kTool) {
      --open_calls;
    } else if (open_calls > 0) {
      return Invalid("messages", i, "tool calls before it have no result: ", open_calls);
    }
    open_calls += messages[i].tool_calls.size();
    roles.push_back(role);
  }
  if (roles.back() == Role::kAssistant) {
    return Invalid("messages", messages.size() - 1,
                   "the last message must be of role user, tool or system");
  }
  if (open_calls > 0) {
    return Invalid("messages", messages.size() - 1, "tool calls have no result: ", open_calls);
  }
  return roles;
}

// What the model sees as one turn: neighbours of the same role are one, but for V3 tool results.
struct Turn {
  Role role = Role::kUser;
  std::string content;
  std::string json;  // Tool calls or results: objects, separated by ", ".
};

struct Conversation {
  std::string system;
  std::vector<Turn> turns;
  size_t first_user = 0, last_user = 0;  // Into turns.
};

void AppendParagraph(std::string_view text, std::string* out) {
  if (!out->empty() && !text.empty()) {
    *out += "\n\n";
  }
  *out += text;
}

absl::StatusOr<std::string> CallText(ChatFormat format, const ChatToolCall& call, size_t index) {
  ASSIGN_OR_RETURN(const std::string arguments, JsonOrString(call.arguments, index));
  std::string text = absl::StrCat("{\"name\": ", Quoted(call.name), ", \"arguments\": ", arguments);
  if (format == ChatFormat::kMistralV3) {
    absl::StrAppend(&text, ", \"id\": ", Quoted(call.id));
  }
  return text + "}";
}

absl::StatusOr<std::string> ResultText(ChatFormat format, const ChatMessage& result, size_t index) {
  ASSIGN_OR_RETURN(const std::string content, JsonOrString(result.content, index));
  if (format == ChatFormat::kMistralV3) {
    return absl::StrCat("{\"content\": ", content, ", \"call_id\": ", Quoted(result.tool_call_id),
                        "}");
  }
  const std::string name = result.name.empty() ? "null" : Quoted(result.name);
  return absl::StrCat("{\"name\": ", name, ", \"content\": ", content, "}");
}

absl::StatusOr<Conversation> MakeTurns(ChatFormat format, std::span<const ChatMessage> messages) {
  ASSIGN_OR_RETURN(const std::vector<Role> roles, CheckMessages(format, messages));
  Conversation chat;
  for (size_t i = 0; i < messages.size(); ++i) {
    if (roles[i] == Role::kSystem) {
      AppendParagraph(messages[i].content, &chat.system);
      continue;
    }
    const bool joins = i > 0 && roles[i] == roles[i - 1] &&
                       (roles[i] != Role::kTool || format == ChatFormat::kMistralV2);
    if (!joins) {
      chat.turns.push_back({roles[i], "", ""});
    }
    Turn& turn = chat.turns.back();
    if (roles[i] == Role::kTool) {
      ASSIGN_OR_RETURN(const std::string text, ResultText(format, messages[i], i));
      absl::StrAppend(&turn.json, turn.json.empty() ? "" : ", ", text);
    } else {
      AppendParagraph(messages[i].content, &turn.content);
    }
    for (const ChatToolCall& call : messages[i].tool_calls) {
      ASSIGN_OR_RETURN(const std::string text, CallText(format, call, i));
      absl::StrAppend(&turn.json, turn.json.empty() ? "" : ", ", text);
    }
    if (!turn.json.empty() && !turn.content.empty()) {
      return Invalid("messages", i, "neighbouring assistant messages with content and tool_calls");
    }
  }
  if (chat.turns.empty() || chat.turns[0].role != Role::kUser) {
    chat.turns.insert(chat.turns.begin(), Turn());
  }
  for (size_t i = 0; i < chat.turns.size(); ++i) {
    if (chat.turns[i].role == Role::kUser) {
      chat.last_user = i;
    }
  }
  return chat;
}

// Collects the ids of one conversation. The first control piece that is missing is remembered.
class ChatEncoder {
 public:
  ChatEncoder(const Tokenizer& tokenizer, ChatFormat format)
      : tokenizer_(tokenizer), format_(format) {
    Id(tokenizer.bos_id(), "bos");
  }

  void User(const Conversation& chat, size_t i, std::string_view tools) {
    std::string content;
    if (format_ == ChatFormat::kMistralV1) {
      if (i == chat.first_user) {
        content = chat.system;
      }
      if (!content.empty()) {
        content += "\n\n";
      }
      Text(absl::StrCat("[INST] ", content, chat.turns[i].content, " [/INST]"));
      return;
    }
    const bool last = i == chat.last_user;
    if (last && !tools.empty()) {
      Control("[AVAILABLE_TOOLS]");
      Text(tools);
      Control("[/AVAILABLE_TOOLS]");
    }
    Control("[INST]");
    if (last && !chat.system.empty()) {
      content = chat.system + "\n\n";
    }
    Text(content + chat.turns[i].content);
    Control("[/INST]");
  }

  void Assistant(const Turn& turn, bool before_last_user) {
    if (!turn.json.empty()) {
      // V2 models saw no calls and results of the past.
      if (format_ == ChatFormat::kMistralV2 && before_last_user) {
        return;
      }
      Control("[TOOL_CALLS]");
      Text(absl::StrCat("[", turn.json, "]"));
    } else {
      std::string_view content = turn.content;
      while (format_ != ChatFormat::kMistralV1 && content.ends_with(' ')) {
        content.remove_suffix(1);
      }
      Text(content);
    }
    Id(tokenizer_.eos_id(), "eos");
  }

  void Tool(const Turn& turn, bool before_last_user) {
    const bool v2 = format_ == ChatFormat::kMistralV2;
    if (v2 && before_last_user) {
      return;
    }
    Control("[TOOL_RESULTS]");
    Text(v2 ? absl::StrCat("[", turn.json, "]") : turn.json);
    Control("[/TOOL_RESULTS]");
  }

  absl::StatusOr<std::vector<int32_t>> Finish() && {
    if (!refusal_.empty()) {
      return absl::InvalidArgumentError(absl::StrCat("messages: cannot be tokenized: ", refusal_));
    }
    if (missing_.empty()) {
      return std::move(ids_);
    }
    return absl::FailedPreconditionError(
        absl::StrCat("the tokenizer has no control piece for ", missing_));
  }

 private:
  void Id(int32_t id, std::string_view what) {
    if (!tokenizer_.IsControl(id) && missing_.empty()) {
      missing_ = std::string(what);
    }
    ids_.push_back(id);
  }
  void Control(std::string_view piece) { Id(tokenizer_.PieceToId(piece), piece); }
  void Text(std::string_view text) {
    const absl::StatusOr<std::vector<int32_t>> ids = tokenizer_.Encode(text);
    if (!ids.ok()) {
      refusal_ = std::string(ids.status().message());
      return;
    }
    ids_.insert(ids_.end(), ids->begin(), ids->end());
  }

  const Tokenizer& tokenizer_;
  const ChatFormat format_;
  std::vector<int32_t> ids_;
  std::string missing_;
  std::string refusal_;  // the tokenizer's, of a text
};

}  // namespace

ChatFormat DetectChatFormat(const Tokenizer& tokenizer) {
  const bool has_tools = tokenizer.IsControl(tokenizer.PieceToId("[TOOL_CALLS]"));
  return has_tools ? ChatFormat::kMistralV3 : ChatFormat::kMistralV1;
}

absl::StatusOr<std::vector<int32_t>> EncodeChat(const Tokenizer& tokenizer, ChatFormat format,
                                                std::span<const ChatMessage> messages,
                                                std::string_view tools_json) {
  ASSIGN_OR_RETURN(const Conversation chat, MakeTurns(format, messages));
  ASSIGN_OR_RETURN(const std::string tools, ToolsText(tools_json));
  if (!tools.empty() && format == ChatFormat::kMistralV1) {
    return absl::InvalidArgumentError("tools: this model's chat format has no tools");
  }
  ChatEncoder encoder(tokenizer, format);
  for (size_t i = 0; i < chat.turns.size(); ++i) {
    const Turn& turn = chat.turns[i];
    if (turn.role == Role::kUser) {
      encoder.User(chat, i, tools);
    }
    if (turn.role == Role::kAssistant) {
      encoder.Assistant(turn, i < chat.last_user);
    }
    if (turn.role == Role::kTool) {
      encoder.Tool(turn, i < chat.last_user);
    }
  }
  return std::move(encoder).Finish();
}

}  // namespace alcca
