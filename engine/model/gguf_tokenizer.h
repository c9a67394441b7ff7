#pragma once

#include <memory>
#include <string_view>

#include "absl/status/statusor.h"
#include "engine/checkpoint/gguf.h"
#include "engine/text/chat_template_files.h"
#include "engine/text/tokenizer.h"

namespace alcca {

// The vocabulary inside a GGUF, by its key tokenizer.ggml.model. `name` is how errors call the
// file, and they name the key. UNIMPLEMENTED: a kind of vocabulary that no tokenizer here reads.
absl::StatusOr<std::unique_ptr<Tokenizer>> LoadGgufTokenizer(const GgufHeader& header,
                                                             std::string_view name);

// tokenizer.chat_template, and the named ones that tokenizer.chat_templates lists.
absl::StatusOr<ChatTemplateSource> ReadGgufChatTemplates(const GgufHeader& header,
                                                         std::string_view name,
                                                         const Tokenizer& tokenizer);

}  // namespace alcca
