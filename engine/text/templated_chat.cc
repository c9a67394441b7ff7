#include "engine/text/templated_chat.h"

#include <algorithm>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "base/utf8.h"
#include "engine/text/jinja/json.h"
#include "engine/text/jinja/value.h"

namespace alcca {
namespace {

using jinja::Dict;
using jinja::Meter;
using jinja::Origin;
using jinja::Text;
using jinja::Value;

template <typename... Args>
absl::Status BadMessage(size_t index, const Args&... rule) {
  return absl::InvalidArgumentError(absl::StrCat("messages[", index, "]: ", rule...));
}

Value OfClient(std::string_view text) {
  return Value(Text(text, Origin::kMessage));
}

void Add(std::string_view key, Value value, Dict* dict) {
  dict->Add(Value(Text(key, Origin::kTemplate)), std::move(value));
}

// Arguments are an object for templates; text that is no JSON stays text.
absl::StatusOr<Value> ArgumentsValue(std::string_view json, Meter* meter) {
  if (json.empty()) {
    return MakeDict(Dict(), meter);
  }
  absl::StatusOr<Value> value = jinja::FromJson(json, Origin::kMessage, meter);
  return absl::IsInvalidArgument(value.status()) ? OfClient(json) : value;
}

absl::StatusOr<Value> CallsValue(const ChatMessage& message, Meter* meter) {
  std::vector<Value> calls;
  for (const ChatToolCall& call : message.tool_calls) {
    Dict function, object;
    ASSIGN_OR_RETURN(Value arguments, ArgumentsValue(call.arguments, meter));
    Add("name", OfClient(call.name), &function);
    Add("arguments", std::move(arguments), &function);
    if (!call.id.empty()) {
      Add("id", OfClient(call.id), &object);
    }
    Add("type", Value(Text("function", Origin::kTemplate)), &object);
    ASSIGN_OR_RETURN(Value function_value, MakeDict(std::move(function), meter));
    Add("function", std::move(function_value), &object);
    ASSIGN_OR_RETURN(calls.emplace_back(), MakeDict(std::move(object), meter));
  }
  return MakeList(std::move(calls), meter);
}

absl::StatusOr<Value> MessageValue(const ChatMessage& message, Meter* meter) {
  Dict object;
  Add("role", OfClient(message.role), &object);
  Add("content", OfClient(message.content), &object);
  if (!message.tool_calls.empty()) {
    ASSIGN_OR_RETURN(Value calls, CallsValue(message, meter));
    Add("tool_calls", std::move(calls), &object);
  }
  if (!message.tool_call_id.empty()) {
    Add("tool_call_id", OfClient(message.tool_call_id), &object);
  }
  if (!message.name.empty()) {
    Add("name", OfClient(message.name), &object);
  }
  return MakeDict(std::move(object), meter);
}

absl::Status CheckMessage(const ChatMessage& message, size_t index) {
  const bool known = message.role == "system" || message.role == "user" ||
                     message.role == "assistant" || message.role == "tool";
  if (!known) {
    return BadMessage(index, "role must be system, user, assistant or tool");
  }
  if (message.role != "assistant" && !message.tool_calls.empty()) {
    return BadMessage(index, "only an assistant message can have tool_calls");
  }
  const auto& calls = message.tool_calls;
  const bool valid =
      IsValidUtf8(message.content) && IsValidUtf8(message.name) &&
      IsValidUtf8(message.tool_call_id) &&
      std::all_of(calls.begin(), calls.end(), [](const ChatToolCall& call) {
        return IsValidUtf8(call.id) && IsValidUtf8(call.name) && IsValidUtf8(call.arguments);
      });
  return valid ? absl::OkStatus() : BadMessage(index, "has text that is not valid UTF-8");
}

std::vector<TextRun> Runs(const Text& text) {
  std::vector<TextRun> runs;
  size_t begin = 0;
  for (const Text::Run& run : text.runs()) {
    runs.push_back({std::string_view(text.bytes()).substr(begin, run.end - begin),
                    run.origin == Origin::kTemplate});
    begin = run.end;
  }
  return runs;
}

}  // namespace

absl::StatusOr<TemplatedChat> TemplatedChat::Make(const ChatTemplateSource& source,
                                                  const Tokenizer& tokenizer) {
  TemplatedChat chat;
  chat.file_ = source.file;
  for (const auto& [name, text] : source.named) {
    ASSIGN_OR_RETURN(jinja::Template parsed, jinja::Template::Parse(text, source.file));
    chat.named_.emplace_back(name, std::move(parsed));
  }
  const auto is_default = [](const auto& named) { return named.first == "default"; };
  if (std::none_of(chat.named_.begin(), chat.named_.end(), is_default)) {
    return absl::InvalidArgumentError(
        absl::StrCat(source.file, ": 'chat_template': none of the templates is named default"));
  }
  for (const auto& [name, token] :
       {std::pair("bos_token", &source.bos_token), std::pair("eos_token", &source.eos_token),
        std::pair("unk_token", &source.unk_token), std::pair("pad_token", &source.pad_token)}) {
    if (!token->empty()) {
      chat.tokens_[name] = Value(Text(*token, Origin::kTemplate));
    }
  }
  chat.FindTurnEnd(tokenizer);
  return chat;
}

absl::StatusOr<jinja::Text> TemplatedChat::Render(const jinja::Template& chosen,
                                                  std::span<const ChatMessage> messages,
                                                  std::string_view tools_json, bool asks,
                                                  const std::tm& now) const {
  Meter meter{jinja::Limits{}};
  std::vector<Value> list;
  for (const ChatMessage& message : messages) {
    ASSIGN_OR_RETURN(list.emplace_back(), MessageValue(message, &meter));
  }
  jinja::Variables variables = tokens_;
  ASSIGN_OR_RETURN(variables["messages"], MakeList(std::move(list), &meter));
  variables["tools"] = Value::None();
  if (!tools_json.empty()) {
    absl::StatusOr<Value> tools = jinja::FromJson(tools_json, Origin::kMessage, &meter);
    if (!tools.ok() || !tools->Is(jinja::Kind::kList)) {
      return absl::InvalidArgumentError("tools: must be a JSON array");
    }
    if (tools->list().items.size() > kMaxChatTools) {
      return absl::InvalidArgumentError(
          absl::StrCat("tools: at most ", kMaxChatTools, " are allowed"));
    }
    variables["tools"] = tools->list().items.empty() ? Value::None() : *std::move(tools);
  }
  variables["documents"] = Value::None();
  variables["add_generation_prompt"] = Value::Bool(asks);
  absl::StatusOr<Text> text = chosen.Render(variables, now);
  if (!text.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat("messages: the chat template ", text.status().message()));
  }
  return text;
}

absl::StatusOr<std::vector<int32_t>> TemplatedChat::Encode(const Tokenizer& tokenizer,
                                                           std::span<const ChatMessage> messages,
                                                           std::string_view tools_json,
                                                           const std::tm& now) const {
  if (messages.empty()) {
    return absl::InvalidArgumentError("messages: must not be empty");
  }
  for (size_t i = 0; i < messages.size(); ++i) {
    RETURN_IF_ERROR(CheckMessage(messages[i], i));
  }
  if (messages.back().role == "assistant") {
    return BadMessage(messages.size() - 1, "the last message must be of role user, tool or system");
  }
  const jinja::Template* chosen = nullptr;
  for (const auto& [name, parsed] : named_) {
    const bool fits =
        name == "default" ? chosen == nullptr : name == "tool_use" && !tools_json.empty();
    chosen = fits ? &parsed : chosen;
  }
  ASSIGN_OR_RETURN(const Text text, Render(*chosen, messages, tools_json, true, now));
  absl::StatusOr<std::vector<int32_t>> ids = tokenizer.Encode(Runs(text));
  if (!ids.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat("messages: cannot be tokenized: ", ids.status().message()));
  }
  return ids;
}

void TemplatedChat::FindTurnEnd(const Tokenizer& tokenizer) {
  ChatMessage conversation[2];
  conversation[0].role = "user";
  conversation[0].content = "a";
  conversation[1].role = "assistant";
  conversation[1].content = "b";
  std::tm now = {};
  now.tm_mday = 1;
  const auto is_default = [](const auto& named) { return named.first == "default"; };
  const auto chosen = std::find_if(named_.begin(), named_.end(), is_default);
  const absl::StatusOr<Text> text = Render(chosen->second, conversation, "", false, now);
  if (!text.ok()) {
    return;  // A template that refuses so short a conversation; the model's own end is left.
  }
  // What stands after the answer, the last text that is not the template's.
  size_t end = text->size();
  if (!text->runs().empty() && text->runs().back().origin == Origin::kTemplate) {
    end = text->runs().size() > 1 ? text->runs()[text->runs().size() - 2].end : end;
  }
  const TextRun rest{std::string_view(text->bytes()).substr(end), true};
  const absl::StatusOr<std::vector<int32_t>> ids = tokenizer.Encode({&rest, 1});
  for (size_t i = 0; ids.ok() && i < ids->size(); ++i) {
    if (tokenizer.IsControl((*ids)[i])) {
      turn_end_id_ = (*ids)[i];
      return;
    }
  }
}

bool IsMistralChat(const ChatTemplateSource& source, const Tokenizer& tokenizer) {
  if (source.named.empty()) {
    return true;
  }
  const auto writes = [&source](std::string_view word) {
    return std::any_of(source.named.begin(), source.named.end(), [word](const auto& named) {
      return named.second.find(word) != std::string::npos;
    });
  };
  return tokenizer.IsControl(tokenizer.PieceToId("[INST]")) && writes("[INST]") &&
         !writes("[SYSTEM_PROMPT]");
}

}  // namespace alcca
