#include "engine/model/model_family.h"

#include <iterator>

#include "absl/strings/str_cat.h"

namespace alcca {
namespace {

const ModelFamily* FindFamily(std::string_view ModelFamily::*column, std::string_view value) {
  for (const ModelFamily& family : kModelFamilies) {
    if (!value.empty() && family.*column == value) {
      return &family;
    }
  }
  return nullptr;
}

}  // namespace

const ModelFamily* FindFamilyByArchitecture(std::string_view architecture) {
  return FindFamily(&ModelFamily::architecture, architecture);
}

const ModelFamily* FindFamilyByModelType(std::string_view model_type) {
  return FindFamily(&ModelFamily::model_type, model_type);
}

const ModelFamily* FindFamilyByGguf(std::string_view gguf) {
  return FindFamily(&ModelFamily::gguf, gguf);
}

std::string FamilyArchitectures() {
  std::string list;
  for (size_t i = 0; i < std::size(kModelFamilies); ++i) {
    const char* separator = i == 0 ? "" : i + 1 == std::size(kModelFamilies) ? " or " : ", ";
    absl::StrAppend(&list, separator, std::string(kModelFamilies[i].architecture));
  }
  return list;
}

}  // namespace alcca
