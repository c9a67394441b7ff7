// Fuzzes the chat formatter: role checks, JSON re-spelling, and that no text gives a control piece.
//
// Input: byte 0 chooses the format; then fields that end in 0xFF, of which the first is the tools
// JSON and every further one is a message: a letter for the role, then the content (assistant with
// '{' or '[' or '"' first: the arguments of a tool call).

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "engine/text/chat_template.h"
#include "engine/text/sentencepiece_tokenizer.h"

namespace alcca {
namespace {

constexpr char kCallId[] = "abcdefgh1";

std::string Field(int number, std::string_view value) {
  std::string out(1, static_cast<char>(number << 3 | 2));
  out += static_cast<char>(value.size());  // Always below 128 here.
  return out.append(value);
}

std::string Piece(std::string_view text, char type) {
  return Field(1, Field(1, text) + std::string({3 << 3, type}));
}

// Control pieces of V3, bytes, and nothing else: small, so that the fuzzer's time goes to the chat.
SentencePieceTokenizer MakeTokenizer() {
  std::string model = Piece("<unk>", 2);
  for (const char* name : {"<s>", "</s>", "[INST]", "[/INST]", "[TOOL_CALLS]", "[AVAILABLE_TOOLS]",
                           "[/AVAILABLE_TOOLS]", "[TOOL_RESULTS]", "[/TOOL_RESULTS]"}) {
    model += Piece(name, 3);
  }
  for (int byte = 0; byte < 256; ++byte) {
    char name[8];
    std::snprintf(name, sizeof(name), "<0x%02X>", byte);
    model += Piece(name, 6);
  }
  const std::string trainer = {3 << 3, 2, static_cast<char>(0x98), 0x02, 1};  // BPE, byte_fallback
  absl::StatusOr<SentencePieceTokenizer> tokenizer =
      SentencePieceTokenizer::FromBytes(model + Field(2, trainer), "fuzz");
  if (!tokenizer.ok()) {
    std::abort();
  }
  return *std::move(tokenizer);
}

std::string_view TakeField(std::string_view* rest) {
  const size_t end = rest->find('\xFF');
  const std::string_view field = rest->substr(0, end);
  rest->remove_prefix(end == std::string_view::npos ? rest->size() : end + 1);
  return field;
}

ChatMessage MakeMessage(std::string_view field) {
  ChatMessage message;
  const char role = field.empty() ? 'u' : field[0];
  message.role = role == 's' ? "system" : role == 'a' ? "assistant" : role == 't' ? "tool" : "user";
  message.content = std::string(field.substr(field.empty() ? 0 : 1));
  if (role == 't') {
    message.tool_call_id = kCallId;
  }
  if (role == 'a' && message.content.find_first_of("{[\"") == 0) {
    message.tool_calls.push_back({kCallId, "f", message.content});
    message.content.clear();
  }
  return message;
}

}  // namespace
}  // namespace alcca

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using alcca::ChatFormat;
  static const alcca::SentencePieceTokenizer tokenizer = alcca::MakeTokenizer();
  if (size == 0) {
    return 0;
  }
  constexpr std::array kFormats = {ChatFormat::kMistralV1, ChatFormat::kMistralV2,
                                   ChatFormat::kMistralV3};
  const ChatFormat format = kFormats[data[0] % kFormats.size()];
  std::string_view rest(reinterpret_cast<const char*>(data) + 1, size - 1);
  const std::string_view tools = alcca::TakeField(&rest);
  std::vector<alcca::ChatMessage> messages;
  while (!rest.empty()) {
    messages.push_back(alcca::MakeMessage(alcca::TakeField(&rest)));
  }
  const auto ids = alcca::EncodeChat(tokenizer, format, messages, tools);
  if (!ids.ok()) {
    if (ids.status().code() != absl::StatusCode::kInvalidArgument) {
      std::abort();
    }
    return 0;
  }
  // A message adds at most four control pieces (tools and instruction), and <s> is one.
  size_t controls = 0;
  for (const int32_t id : *ids) {
    controls += tokenizer.IsControl(id);
  }
  if (controls > 4 * (messages.size() + 1) + 1) {
    std::abort();
  }
  if ((*ids)[0] != tokenizer.bos_id()) {
    std::abort();
  }
  return 0;
}
