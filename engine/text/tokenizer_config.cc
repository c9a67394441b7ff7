#include "engine/text/tokenizer_config.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <system_error>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/files.h"
#include "base/status_macros.h"
#include "base/strict_json.h"

namespace alcca {
namespace {

using nlohmann::json;

absl::Status BadConfig(std::string_view name, std::string_view key, std::string_view rule) {
  return absl::InvalidArgumentError(
      absl::StrCat(std::string(name), ": '", std::string(key), "': ", std::string(rule)));
}

// A token is a string or an object with its content.
absl::Status ReadToken(const json& object, const char* key, std::string_view name,
                       std::string* out) {
  const auto it = object.find(key);
  if (it == object.end() || it->is_null()) {
    return absl::OkStatus();
  }
  const json* value = &*it;
  if (value->is_object()) {
    const auto content = value->find("content");
    value = content == value->end() ? value : &*content;
  }
  if (!value->is_string()) {
    return BadConfig(name, key, "expected a string or an object with a 'content'");
  }
  *out = value->get<std::string>();
  return absl::OkStatus();
}

absl::Status ReadFlag(const json& object, const char* key, std::string_view name,
                      std::optional<bool>* out) {
  const auto it = object.find(key);
  if (it == object.end() || it->is_null()) {
    return absl::OkStatus();
  }
  if (!it->is_boolean()) {
    return BadConfig(name, key, "expected true or false");
  }
  *out = it->get<bool>();
  return absl::OkStatus();
}

absl::Status ReadTemplates(const json& object, std::string_view name, TokenizerConfig* config) {
  const auto it = object.find("chat_template");
  if (it == object.end() || it->is_null()) {
    return absl::OkStatus();
  }
  if (it->is_string()) {
    config->chat_templates.emplace_back("default", it->get<std::string>());
    return absl::OkStatus();
  }
  constexpr char kRule[] = "expected a string, or a list of objects with 'name' and 'template'";
  if (!it->is_array()) {
    return BadConfig(name, "chat_template", kRule);
  }
  for (const json& item : *it) {
    if (!item.is_object() || !item.contains("name") || !item["name"].is_string() ||
        !item.contains("template") || !item["template"].is_string()) {
      return BadConfig(name, "chat_template", kRule);
    }
    config->chat_templates.emplace_back(item["name"].get<std::string>(),
                                        item["template"].get<std::string>());
  }
  return absl::OkStatus();
}

bool ParseId(std::string_view digits, int64_t* id) {
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), *id);
  return error == std::errc() && end == digits.data() + digits.size() && *id >= 0 &&
         *id <= kMaxTokenId;
}

absl::Status ReadAdded(const json& object, std::string_view name, TokenizerConfig* config) {
  const auto it = object.find("added_tokens_decoder");
  if (it == object.end() || it->is_null()) {
    return absl::OkStatus();
  }
  if (!it->is_object()) {
    return BadConfig(name, "added_tokens_decoder", "expected an object");
  }
  for (const auto& [key, value] : it->items()) {
    const std::string path = absl::StrCat("added_tokens_decoder.", key.substr(0, 20));
    int64_t id = 0;
    AddedToken token;
    if (!ParseId(key, &id) || !value.is_object()) {
      return BadConfig(name, path, "expected an id and an object");
    }
    token.id = static_cast<int32_t>(id);
    JsonReader reader(value, absl::StrCat(std::string(name), ": ", path));
    reader.String("content", &token.text);
    reader.Bool("special", &token.control);
    reader.Bool("single_word", &token.single_word);
    reader.Bool("lstrip", &token.strips_left);
    reader.Bool("rstrip", &token.strips_right);
    reader.Bool("normalized", &token.normalized);
    RETURN_IF_ERROR(reader.status());
    if (token.text.empty() || token.text.size() > kMaxAddedTokenBytes) {
      return BadConfig(name, path,
                       absl::StrCat("its content must have 1 to ", kMaxAddedTokenBytes, " bytes"));
    }
    config->added.push_back(std::move(token));
  }
  std::sort(config->added.begin(), config->added.end(),
            [](const AddedToken& a, const AddedToken& b) { return a.id < b.id; });
  return absl::OkStatus();
}

// added_tokens.json: {"content": id}. It does not say which are special; all of them were added to
// a vocabulary that has its own text, so all are.
absl::Status AddFromAddedTokensJson(const std::string& path, TokenizerConfig* config) {
  ASSIGN_OR_RETURN(const std::string text, ReadTextFile(path, kMaxJsonBytes));
  ASSIGN_OR_RETURN(const json document, ParseStrictJson(text, path));
  for (const auto& [content, id] : document.items()) {
    if (!id.is_number_integer() || id.get<int64_t>() < 0 || id.get<int64_t>() > kMaxTokenId ||
        content.empty() || content.size() > kMaxAddedTokenBytes) {
      return BadConfig(path, content.substr(0, 60), "expected an id");
    }
    const auto same = [&id = id](const AddedToken& t) { return t.id == id.get<int64_t>(); };
    if (std::none_of(config->added.begin(), config->added.end(), same)) {
      config->added.push_back(
          {.text = content, .id = static_cast<int32_t>(id.get<int64_t>()), .control = true});
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<TokenizerConfig> ParseTokenizerConfig(std::string_view text, std::string_view name) {
  ASSIGN_OR_RETURN(const json object, ParseStrictJson(text, name));
  TokenizerConfig config;
  RETURN_IF_ERROR(ReadToken(object, "bos_token", name, &config.bos_token));
  RETURN_IF_ERROR(ReadToken(object, "eos_token", name, &config.eos_token));
  RETURN_IF_ERROR(ReadToken(object, "unk_token", name, &config.unk_token));
  RETURN_IF_ERROR(ReadToken(object, "pad_token", name, &config.pad_token));
  RETURN_IF_ERROR(ReadFlag(object, "add_bos_token", name, &config.add_bos));
  RETURN_IF_ERROR(ReadFlag(object, "add_eos_token", name, &config.add_eos));
  const auto additional = object.find("additional_special_tokens");
  if (additional != object.end() && additional->is_array()) {
    for (const json& token : *additional) {
      if (token.is_string()) {
        config.control_tokens.push_back(token.get<std::string>());
      } else if (token.is_object() && token.contains("content") && token["content"].is_string()) {
        config.control_tokens.push_back(token["content"].get<std::string>());
      }
    }
  }
  RETURN_IF_ERROR(ReadAdded(object, name, &config));
  RETURN_IF_ERROR(ReadTemplates(object, name, &config));
  return config;
}

absl::StatusOr<TokenizerConfig> LoadTokenizerConfig(const std::string& dir) {
  TokenizerConfig config;
  std::error_code error;
  const std::string path = dir + "/tokenizer_config.json";
  if (std::filesystem::exists(path, error)) {
    ASSIGN_OR_RETURN(const std::string text, ReadTextFile(path, kMaxJsonBytes));
    ASSIGN_OR_RETURN(config, ParseTokenizerConfig(text, path));
  }
  if (std::filesystem::exists(dir + "/added_tokens.json", error)) {
    RETURN_IF_ERROR(AddFromAddedTokensJson(dir + "/added_tokens.json", &config));
  }
  return config;
}

}  // namespace alcca
