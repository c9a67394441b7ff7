// Chat messages to token ids, in the formats that Mistral's 7B instruction models were trained on.
//
//   V1  <s> "[INST] {system}\n\n{user} [/INST]" "{assistant}" </s> ...   markers are plain text
//   V2  <s> [AVAILABLE_TOOLS] "{tools}" [/AVAILABLE_TOOLS] [INST] "{system}\n\n{user}" [/INST]
//       "{assistant}" </s>  |  [TOOL_CALLS] "{calls}" </s> [TOOL_RESULTS] "{results}" ...
//   V3  as V2, with ids on calls and results, and with the tool history kept
//
// [X] without quotes is a control piece; each quoted part is encoded by itself, so that no text of
// a client can ever become a control piece. The system prompt goes to the first (V1) or last user
// message, tools to the last. Tools, calls and results are spelled as Python's
// json.dumps(ensure_ascii=False) does, because the models were trained on that.
// The reference is the Python package mistral-common, whose token ids these are.

#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/text/tokenizer.h"

namespace alcca {

enum class ChatFormat { kMistralV1, kMistralV2, kMistralV3 };

struct ChatToolCall {
  std::string id;         // V3: nine characters of [a-zA-Z0-9].
  std::string name;       // [a-zA-Z0-9_-]{1,64}
  std::string arguments;  // JSON text; empty = {}. What is no JSON is passed on as a string.
};

struct ChatMessage {
  std::string role;  // "system", "user", "assistant", "tool"
  std::string content;
  std::vector<ChatToolCall> tool_calls;  // Of an assistant message, instead of content.
  std::string tool_call_id;              // Of a tool message: which call it answers.
  std::string name;                      // Of a tool message: the function; may be empty.
};

inline constexpr size_t kMaxChatTools = 1024;

// kMistralV3 if the tokenizer has the control piece [TOOL_CALLS], else kMistralV1. The pieces of V2
// and V3 are the same, so V2 is never detected: it has to be asked for.
ChatFormat DetectChatFormat(const Tokenizer& tokenizer);

// The prompt whose continuation is the assistant's answer. `tools_json` is an OpenAI-style array
// of {"type": "function", "function": {"name", "description", "parameters"}}, or empty.
//
// INVALID_ARGUMENT names the message ("messages[3]: ...") or tool ("tools[0]: ...") and the rule.
// FAILED_PRECONDITION: the tokenizer lacks a piece that the format needs.
absl::StatusOr<std::vector<int32_t>> EncodeChat(const Tokenizer& tokenizer, ChatFormat format,
                                                std::span<const ChatMessage> messages,
                                                std::string_view tools_json = {});

}  // namespace alcca
