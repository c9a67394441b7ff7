#pragma once

// The chat templates of a model's files.

#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace alcca {

struct ChatTemplateSource {
  std::string file;  // how errors call them; empty: there are none
  std::vector<std::pair<std::string, std::string>> named;  // name and source
  std::string bos_token, eos_token, unk_token, pad_token;  // variables of the templates
};

// Of a model folder: chat_template.jinja with additional_chat_templates/NAME.jinja, else
// chat_template.json, else tokenizer_config.json. INVALID_ARGUMENT: one line with file and key.
absl::StatusOr<ChatTemplateSource> LoadChatTemplates(const std::string& dir);

// The templates of `source` give way to the one in the file `path`; the tokens stay.
absl::Status ReadChatTemplate(const std::string& path, ChatTemplateSource* source);

}  // namespace alcca
