#include "engine/constraint/structural_tag.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "engine/constraint/char_dfa.h"
#include "engine/constraint/json_document.h"
#include "engine/constraint/schema_emit.h"
#include "engine/constraint/schema_shape.h"

namespace alcca {
namespace {

struct Structure {
  std::string begin, end;
  const JsonValue* schema = nullptr;
};

absl::Status Error(std::string_view path, std::string_view what) {
  return absl::InvalidArgumentError(
      absl::StrCat("structural tag: ", std::string(path), ": ", std::string(what)));
}

absl::Status ReadText(const JsonValue& object, const char* key, const std::string& path,
                      std::string* out) {
  const JsonValue* value = object.Find(key);
  if (value == nullptr || !value->is_string()) {
    return Error(absl::StrCat(path, "/", key), "expected a string");
  }
  *out = value->text;
  return absl::OkStatus();
}

absl::Status Read(const JsonValue& document, std::vector<Structure>* structures,
                  std::vector<std::string>* triggers) {
  const JsonValue* list = document.Find("structures");
  if (list == nullptr || !list->is_array() || list->items.empty()) {
    return Error("/structures", "expected a list of at least one structure");
  }
  for (size_t i = 0; i < list->items.size(); ++i) {
    const std::string path = absl::StrCat("/structures/", i);
    Structure structure;
    RETURN_IF_ERROR(ReadText(list->items[i], "begin", path, &structure.begin));
    RETURN_IF_ERROR(ReadText(list->items[i], "end", path, &structure.end));
    structure.schema = list->items[i].Find("schema");
    structures->push_back(std::move(structure));
  }
  const JsonValue* names = document.Find("triggers");
  if (names == nullptr || !names->is_array() || names->items.empty()) {
    return Error("/triggers", "expected a list of at least one string");
  }
  for (size_t i = 0; i < names->items.size(); ++i) {
    const std::string path = absl::StrCat("/triggers/", i);
    const JsonValue& name = names->items[i];
    if (!name.is_string() || name.text.empty()) {
      return Error(path, "expected a string that is not empty");
    }
    for (size_t k = 0; k < i; ++k) {
      if (name.text.find((*triggers)[k]) != std::string::npos ||
          (*triggers)[k].find(name.text) != std::string::npos) {
        return Error(path, "is a part of another trigger, or has one as a part");
      }
    }
    triggers->push_back(name.text);
  }
  for (size_t i = 0; i < structures->size(); ++i) {
    const bool triggered = std::any_of(
        triggers->begin(), triggers->end(),
        [&](const std::string& trigger) { return (*structures)[i].begin.starts_with(trigger); });
    if (!triggered) {
      return Error(absl::StrCat("/structures/", i, "/begin"), "begins with no trigger");
    }
  }
  return absl::OkStatus();
}

// The automaton of Aho and Corasick over bytes: where a text is in what may become a trigger.
class TriggerStates {
 public:
  explicit TriggerStates(const std::vector<std::string>& triggers) {
    prefixes_.emplace_back();
    for (const std::string& trigger : triggers) {
      for (size_t size = 1; size < trigger.size(); ++size) {
        const std::string prefix = trigger.substr(0, size);
        if (std::find(prefixes_.begin(), prefixes_.end(), prefix) == prefixes_.end()) {
          prefixes_.push_back(prefix);
        }
      }
    }
  }
  const std::vector<std::string>& prefixes() const { return prefixes_; }

  // The longest prefix of a trigger that `text` ends in.
  size_t After(const std::string& text) const {
    size_t best = 0;
    for (size_t i = 0; i < prefixes_.size(); ++i) {
      if (text.ends_with(prefixes_[i]) && prefixes_[i].size() >= prefixes_[best].size()) {
        best = i;
      }
    }
    return best;
  }

 private:
  std::vector<std::string> prefixes_;
};

// Free text; complete triggers go to `triggered[i]`. Text is bytes here: a token may have half of a
// character.
StateId FreeText(const std::vector<std::string>& triggers, const std::vector<StateId>& triggered,
                 GrammarBuilder* builder) {
  const TriggerStates states(triggers);
  std::vector<StateId> starts;
  for (size_t i = 0; i < states.prefixes().size(); ++i) {
    starts.push_back(builder->NewSplit());
  }
  for (size_t i = 0; i < states.prefixes().size(); ++i) {
    std::vector<Grammar::Edge> edges;
    for (int byte = 0; byte < 256; ++byte) {
      const std::string text = states.prefixes()[i] + static_cast<char>(byte);
      StateId to = starts[states.After(text)];
      for (size_t t = 0; t < triggers.size(); ++t) {
        to = text.ends_with(triggers[t]) ? triggered[t] : to;
      }
      const auto b = static_cast<uint8_t>(byte);
      if (!edges.empty() && edges.back().target == to) {
        edges.back().high = b;
      } else {
        edges.push_back({b, b, to});
      }
    }
    const StateId ways[] = {builder->Edges(edges), kAcceptState};
    builder->SetSplit(starts[i], ways);
  }
  return starts[0];
}

}  // namespace

absl::StatusOr<Grammar> CompileStructuralTag(std::string_view text,
                                             const JsonSchemaOptions& options,
                                             const GrammarLimits& limits) {
  absl::StatusOr<JsonValue> document = ParseJsonDocument(text);
  if (!document.ok()) {
    return Error("/", std::string(document.status().message()));
  }
  std::vector<Structure> structures;
  std::vector<std::string> triggers;
  RETURN_IF_ERROR(Read(*document, &structures, &triggers));

  GrammarBuilder builder(limits);
  JsonText json(options.whitespace, &builder);
  const StateId free_text = builder.NewSplit();
  std::vector<std::vector<StateId>> after(triggers.size());
  for (size_t i = 0; i < structures.size(); ++i) {
    const Structure& structure = structures[i];
    RuleId content = 0;
    if (structure.schema == nullptr) {
      content = json.Value();
    } else {
      SchemaShapes shapes(*structure.schema, options);
      const ExprId root = shapes.Schema(*structure.schema, "#");
      absl::StatusOr<RuleId> rule = SchemaEmitter(options, &shapes, &json, &builder).Emit(root);
      if (!rule.ok()) {
        return Error(absl::StrCat("/structures/", i, "/schema"),
                     std::string(rule.status().message()));
      }
      content = *rule;
    }
    const StateId end = builder.Literal(structure.end, free_text);
    const StateId inside = builder.Call(content, end);
    for (size_t t = 0; t < triggers.size(); ++t) {
      if (structure.begin.starts_with(triggers[t])) {
        after[t].push_back(builder.Literal(structure.begin.substr(triggers[t].size()), inside));
      }
    }
  }
  std::vector<StateId> triggered;
  for (const std::vector<StateId>& ways : after) {
    triggered.push_back(builder.Split(ways));
  }
  const StateId start[] = {FreeText(triggers, triggered, &builder)};
  builder.SetSplit(free_text, start);
  const RuleId rule = builder.NewRule();
  builder.SetRule(rule, free_text);
  return std::move(builder).Build(rule);
}

}  // namespace alcca
