#include "engine/text/chat_template_files.h"

#include <algorithm>
#include <filesystem>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "base/files.h"
#include "base/status_macros.h"
#include "base/strict_json.h"
#include "engine/text/tokenizer_config.h"

namespace alcca {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMaxTemplateBytes = uint64_t{1} << 20;

ChatTemplateSource WithTokens(const TokenizerConfig& config) {
  ChatTemplateSource source;
  source.bos_token = config.bos_token;
  source.eos_token = config.eos_token;
  source.unk_token = config.unk_token;
  source.pad_token = config.pad_token;
  return source;
}

// additional_chat_templates/NAME.jinja
absl::Status AddNamed(const std::string& dir, ChatTemplateSource* source) {
  std::error_code error;
  std::vector<fs::path> files;
  for (fs::directory_iterator it(dir + "/additional_chat_templates", error), end;
       !error && it != end; it.increment(error)) {
    if (it->path().extension() == ".jinja") {
      files.push_back(it->path());
    }
  }
  std::sort(files.begin(), files.end());
  for (const fs::path& file : files) {
    ASSIGN_OR_RETURN(std::string text, ReadTextFile(file.string(), kMaxTemplateBytes));
    source->named.emplace_back(file.stem().string(), std::move(text));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ChatTemplateSource> LoadChatTemplates(const std::string& dir) {
  ASSIGN_OR_RETURN(const TokenizerConfig config, LoadTokenizerConfig(dir));
  ChatTemplateSource source = WithTokens(config);
  std::error_code error;
  const std::string jinja = dir + "/chat_template.jinja", json = dir + "/chat_template.json";
  if (fs::exists(jinja, error)) {
    ASSIGN_OR_RETURN(std::string text, ReadTextFile(jinja, kMaxTemplateBytes));
    source.file = jinja;
    source.named.emplace_back("default", std::move(text));
    RETURN_IF_ERROR(AddNamed(dir, &source));
  } else if (fs::exists(json, error)) {
    ASSIGN_OR_RETURN(const std::string text, ReadTextFile(json, kMaxJsonBytes));
    ASSIGN_OR_RETURN(TokenizerConfig of_file, ParseTokenizerConfig(text, json));
    source.file = json;
    source.named = std::move(of_file.chat_templates);
  } else if (!config.chat_templates.empty()) {
    source.file = dir + "/tokenizer_config.json";
    source.named = config.chat_templates;
  }
  return source;
}

absl::Status ReadChatTemplate(const std::string& path, ChatTemplateSource* source) {
  ASSIGN_OR_RETURN(std::string text, ReadTextFile(path, kMaxTemplateBytes));
  source->file = path;
  source->named = {{"default", std::move(text)}};
  return absl::OkStatus();
}

}  // namespace alcca
