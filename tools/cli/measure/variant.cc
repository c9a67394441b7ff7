#include "tools/cli/measure/variant.h"

#include <google/protobuf/descriptor.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "tools/cli/options.h"

namespace alcca::cli {
namespace {

using google::protobuf::FieldDescriptor;

// By reflection, so that a field that the contract gains can be set the day it is there.
bool SetField(const FieldDescriptor& field, const std::string& value, v1::AttentionParams* out) {
  const google::protobuf::Reflection& fields = *out->GetReflection();
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_FLOAT: {
      float number = 0;
      const bool ok = absl::SimpleAtof(value, &number);
      fields.SetFloat(out, &field, number);
      return ok;
    }
    case FieldDescriptor::CPPTYPE_UINT32: {
      uint32_t number = 0;
      const bool ok = absl::SimpleAtoi(value, &number);
      fields.SetUInt32(out, &field, number);
      return ok;
    }
    case FieldDescriptor::CPPTYPE_ENUM: {
      // Values carry their type's name: ATTENTION_SEARCH_TREE.
      const std::string ending = "_" + absl::AsciiStrToUpper(value);
      for (int i = 0; i < field.enum_type()->value_count(); ++i) {
        const std::string& name = field.enum_type()->value(i)->name();
        if (name == absl::StrCat("ATTENTION", "_", absl::AsciiStrToUpper(field.name()), ending)) {
          fields.SetEnum(out, &field, field.enum_type()->value(i));
          return true;
        }
      }
      return false;
    }
    default:
      return false;
  }
}

uint32_t Ceiling(double keys) {
  return std::max(1u, static_cast<uint32_t>(std::ceil(keys)));
}

}  // namespace

std::string ParseVariant(const std::string& text, const v1::AttentionParams& base, Variant* out) {
  *out = {.name = text, .attention = base};
  const std::vector<std::string> parts = absl::StrSplit(text, ':');
  const std::string& mode = parts[0];
  if (mode == "exact" || mode == "tree") {
    out->attention.set_mode(v1::ATTENTION_MODE_ALCCA);
    out->attention.set_search(mode == "tree" ? v1::ATTENTION_SEARCH_TREE
                                             : v1::ATTENTION_SEARCH_EXACT);
  } else if (mode == "matched") {
    out->matched = true;
    return parts.size() == 1 ? "" : "matched takes no fields";
  } else {
    out->attention.set_mode(ParseMode(mode));
    if (out->attention.mode() == v1::ATTENTION_MODE_UNSPECIFIED) {
      return "'" + mode + "' is no attention mode";
    }
  }
  for (size_t i = 1; i < parts.size(); ++i) {
    const std::pair<std::string, std::string> pair = absl::StrSplit(parts[i], '=');
    const FieldDescriptor* field = v1::AttentionParams::descriptor()->FindFieldByName(pair.first);
    if (field == nullptr || field->name() == "mode") {
      return "'" + pair.first + "' is no attention setting";
    }
    if (!SetField(*field, pair.second, &out->attention)) {
      return "'" + parts[i] + "' is not " + pair.first + "=VALUE";
    }
  }
  return "";
}

std::string ParseVariants(const std::vector<std::string>& texts, const v1::AttentionParams& base,
                          std::vector<Variant>* out) {
  out->clear();
  for (const std::string& text : texts) {
    if (std::string wrong = ParseVariant(text, base, &out->emplace_back()); !wrong.empty()) {
      return wrong;
    }
  }
  return !out->empty() && out->front().matched ? "matched follows another mode" : "";
}

void MatchBudget(const v1::AttentionParams& applied, const Cost& cost, Variant* variant) {
  v1::AttentionParams& attention = variant->attention;
  if (applied.mode() == v1::ATTENTION_MODE_ALCCA) {
    const bool tree = applied.search() == v1::ATTENTION_SEARCH_TREE;
    attention = applied;
    attention.clear_theta_per_head();  // of replies; a request without theta has the heads' own
    attention.clear_k_per_head();
    attention.set_search(v1::ATTENTION_SEARCH_TREE);
    attention.set_tree_distances(tree                   ? applied.tree_distances()
                                 : applied.k_per_head() ? Ceiling(cost.values_per_query())
                                                        : applied.k());
    attention.set_tree_recent(attention.tree_distances());
    variant->name = absl::StrCat(attention.tree_distances(), " newest");
    return;
  }
  attention.set_mode(v1::ATTENTION_MODE_WINDOW);
  attention.set_window(cost.MatchedWindow());
  variant->name = absl::StrCat("window ", attention.window());
}

}  // namespace alcca::cli
