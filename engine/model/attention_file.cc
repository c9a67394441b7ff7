#include "engine/model/attention_file.h"

#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/files.h"
#include "base/status_macros.h"
#include "base/strict_json.h"
#include "nlohmann/json.hpp"

namespace alcca {
namespace {

absl::Status ReadNumber(JsonReader& json, const Knob& knob, AttentionSettings* settings) {
  if (!json.Has(knob.name)) {
    return absl::OkStatus();
  }
  double value = 0;
  if (IsInteger(knob)) {
    int64_t integer = 0;
    json.Int(knob.name, static_cast<int64_t>(knob.least), static_cast<int64_t>(knob.most),
             &integer);
    value = static_cast<double>(integer);
  } else {
    json.Number(knob.name, knob.least, knob.most, &value);
  }
  RETURN_IF_ERROR(json.status());
  if (!RuleBrokenBy(knob, value).empty()) {  // an open end
    return json.Invalid(knob.name, absl::StrCat("expected a number ", Bounds(knob), ", found ",
                                                Digits(knob, value)));
  }
  return Set(knob, value, settings);
}

template <typename T>
std::shared_ptr<const std::vector<T>> Flat(const std::vector<std::vector<double>>& rows) {
  std::vector<T> flat;
  for (const std::vector<double>& row : rows) {
    for (const double value : row) {
      flat.push_back(static_cast<T>(value));
    }
  }
  return std::make_shared<const std::vector<T>>(std::move(flat));
}

absl::Status ReadTable(JsonReader& json, const Knob& knob, const ModelConfig& model,
                       AttentionSettings* settings) {
  std::vector<std::vector<double>> rows;
  json.NumberTable(knob.name, knob.least, knob.most, IsInteger(knob), &rows);
  RETURN_IF_ERROR(json.status());
  if (rows.size() != static_cast<size_t>(model.num_layers) ||
      rows.front().size() != static_cast<size_t>(model.num_heads)) {
    return json.Invalid(
        knob.name, absl::StrCat(rows.size(), " lists of ", rows.front().size(), "; the model has ",
                                model.num_layers, " layers of ", model.num_heads, " query heads"));
  }
  if (IsInteger(knob)) {
    settings->head_k = Flat<int32_t>(rows);
  } else {
    settings->head_theta = Flat<float>(rows);
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<AttentionSettings> ParseAttentionFile(std::string_view json_text,
                                                     std::string_view name,
                                                     const ModelConfig& model) {
  ASSIGN_OR_RETURN(const nlohmann::json document, ParseStrictJson(json_text, name));
  JsonReader json(document, name);
  AttentionSettings settings;
  std::string mode, search;
  json.Choice("mode", AttentionModeNames(), &mode);
  json.Choice("search", KeySearchNames(), &search);
  settings.mode = ModeOf(mode);
  settings.search = SearchOf(search);
  std::vector<std::string> known = {"mode", "search"};
  for (const Knob& knob : RequestKnobs()) {
    known.emplace_back(knob.name);
    RETURN_IF_ERROR(knob.has_table && json.IsList(knob.name)
                        ? ReadTable(json, knob, model, &settings)
                        : ReadNumber(json, knob, &settings));
  }
  // A misspelt key would be a silent default. Keys that begin with '_' are comments.
  json.RefuseOtherKeys(known);
  RETURN_IF_ERROR(json.status());
  return settings;
}

absl::StatusOr<AttentionSettings> LoadAttentionFile(const std::string& dir,
                                                    const ModelConfig& model) {
  const std::string path = dir + "/alcca.json";
  const absl::StatusOr<std::string> text = ReadTextFile(path, kMaxConfigBytes);
  if (absl::IsNotFound(text.status())) {
    return AttentionSettings{};
  }
  if (!text.ok()) {
    return text.status();
  }
  return ParseAttentionFile(*text, path, model);
}

}  // namespace alcca
