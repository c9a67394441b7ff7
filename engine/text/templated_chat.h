#pragma once

// Chat prompts by the template that a model brings along: the text that transformers'
// apply_chat_template makes, as token ids. What a client wrote never becomes a control token; the
// template's own words may.

#include <ctime>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/text/chat_template.h"
#include "engine/text/chat_template_files.h"
#include "engine/text/jinja/template.h"
#include "engine/text/tokenizer.h"

namespace alcca {

// Immutable, so safe for any number of threads.
class TemplatedChat {
 public:
  // INVALID_ARGUMENT: a template that cannot be parsed, "FILE: line 3: ...", or none named default.
  static absl::StatusOr<TemplatedChat> Make(const ChatTemplateSource& source,
                                            const Tokenizer& tokenizer);

  // The template is "tool_use" for a conversation with tools, if there is one, else "default".
  // `tools_json` is a JSON array or empty; `now` is the local time that templates tell.
  // INVALID_ARGUMENT: "messages[2]: rule", "tools: rule", or "messages: " and what the template
  // says.
  absl::StatusOr<std::vector<int32_t>> Encode(const Tokenizer& tokenizer,
                                              std::span<const ChatMessage> messages,
                                              std::string_view tools_json,
                                              const std::tm& now) const;

  // The control token that the template writes after an answer, at which one ends; -1: none.
  int32_t turn_end_id() const { return turn_end_id_; }
  const std::string& file() const { return file_; }

 private:
  TemplatedChat() = default;
  void FindTurnEnd(const Tokenizer& tokenizer);
  absl::StatusOr<jinja::Text> Render(const jinja::Template& chosen,
                                     std::span<const ChatMessage> messages,
                                     std::string_view tools_json, bool asks,
                                     const std::tm& now) const;

  std::string file_;
  std::vector<std::pair<std::string, jinja::Template>> named_;
  jinja::Variables tokens_;
  int32_t turn_end_id_ = -1;
};

// Whether the built-in format of Mistral's models is theirs: there is no template, or one that
// writes [INST] for a vocabulary that has it as a control token, and no [SYSTEM_PROMPT], which the
// built-in format does not know.
bool IsMistralChat(const ChatTemplateSource& source, const Tokenizer& tokenizer);

}  // namespace alcca
