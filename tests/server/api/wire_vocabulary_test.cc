// The wire contract against the vocabulary of attention, both ways: what stands in
// proto/alcca/v1/inference.proto is what attention/ has, by name, number, range and default.

#include <gmock/gmock.h>
#include <google/protobuf/descriptor.h>
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <map>
#include <regex>
#include <set>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "alcca/v1/inference.pb.h"
#include "attention/counters.h"
#include "attention/knobs.h"

namespace alcca {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::EnumDescriptor;
using google::protobuf::FieldDescriptor;

std::set<std::string> FieldsOf(const Descriptor& message) {
  std::set<std::string> names;
  for (int i = 0; i < message.field_count(); ++i) {
    names.insert(message.field(i)->name());
  }
  return names;
}

// Names without the type's, in lower case, with their numbers; the value 0 apart.
std::map<std::string, int> ValuesOf(const EnumDescriptor& type, const std::string& prefix) {
  std::map<std::string, int> values;
  for (int i = 0; i < type.value_count(); ++i) {
    const std::string& name = type.value(i)->name();
    EXPECT_EQ(name.substr(0, prefix.size()), prefix);
    values[absl::AsciiStrToLower(name.substr(prefix.size()))] = type.value(i)->number();
  }
  EXPECT_EQ(values["unspecified"], 0);
  values.erase("unspecified");
  return values;
}

// The comment above "optional TYPE name = N;" in message AttentionParams, on one line.
std::string CommentOf(const std::string& name) {
  std::ifstream file(ALCCA_SOURCE_DIR "/proto/alcca/v1/inference.proto");
  bool inside = false;
  std::string comment;
  for (std::string line; std::getline(file, line);) {
    const std::string text(absl::StripAsciiWhitespace(line));
    inside |= text == "message AttentionParams {";
    if (!inside) {
      continue;
    }
    if (text.starts_with("// ")) {
      comment += text.substr(2);
      continue;
    }
    if (text.find(absl::StrCat(" ", name, " = ")) != std::string::npos) {
      return comment;
    }
    comment.clear();
  }
  return "";
}

double Number(const std::string& text) {
  double value = 0;
  EXPECT_TRUE(absl::SimpleAtod(text, &value)) << text;
  return value;
}

TEST(WireVocabulary, ParametersAreTheKnobs) {
  const Descriptor& message = *v1::AttentionParams::descriptor();
  std::set<std::string> wanted = {"mode", "search"};
  for (const Knob& knob : RequestKnobs()) {
    wanted.insert(knob.name);
    const FieldDescriptor* field = message.FindFieldByName(knob.name);
    ASSERT_NE(field, nullptr) << knob.name;
    EXPECT_TRUE(field->has_presence()) << knob.name;
    EXPECT_EQ(field->cpp_type(),
              IsInteger(knob) ? FieldDescriptor::CPPTYPE_UINT32 : FieldDescriptor::CPPTYPE_FLOAT)
        << knob.name;
    if (knob.has_table) {
      const std::string table = absl::StrCat(knob.name, "_per_head");
      wanted.insert(table);
      ASSERT_NE(message.FindFieldByName(table), nullptr) << table;
      EXPECT_EQ(message.FindFieldByName(table)->cpp_type(), FieldDescriptor::CPPTYPE_BOOL);
    }
  }
  EXPECT_EQ(FieldsOf(message), wanted);
}

TEST(WireVocabulary, CommentsGiveTheTablesRangesAndDefaults) {
  const std::regex form(R"(.* Range: ([\[(])(\S+), (\S+)\]\. Default: (\S+)\.)");
  for (const Knob& knob : RequestKnobs()) {
    const std::string comment = CommentOf(knob.name);
    std::smatch parts;
    ASSERT_TRUE(std::regex_match(comment, parts, form)) << knob.name << ":" << comment;
    EXPECT_EQ(parts[1] == "(", knob.above) << knob.name;
    EXPECT_EQ(Number(parts[2]), knob.least) << knob.name;
    EXPECT_EQ(Number(parts[3]), knob.most) << knob.name;
    EXPECT_EQ(static_cast<float>(Number(parts[4])), static_cast<float>(Default(knob))) << knob.name;
  }
}

TEST(WireVocabulary, CountersAreTheTables) {
  const Descriptor& message = *v1::AttentionCounters::descriptor();
  std::set<std::string> wanted;
  for (const CounterTraits& counter : kCounters) {
    wanted.insert(counter.name);
    ASSERT_NE(message.FindFieldByName(counter.name), nullptr) << counter.name;
    EXPECT_EQ(message.FindFieldByName(counter.name)->cpp_type(), FieldDescriptor::CPPTYPE_INT64);
  }
  EXPECT_EQ(FieldsOf(message), wanted);
}

TEST(WireVocabulary, EnumsAreTheTables) {
  std::map<std::string, int> modes, searches;
  for (const ModeTraits& mode : kAttentionModes) {
    modes[mode.name] = mode.wire;
  }
  for (const SearchTraits& search : kKeySearches) {
    searches[search.name] = search.wire;
  }
  EXPECT_EQ(ValuesOf(*v1::AttentionMode_descriptor(), "ATTENTION_MODE_"), modes);
  EXPECT_EQ(ValuesOf(*v1::AttentionSearch_descriptor(), "ATTENTION_SEARCH_"), searches);
}

}  // namespace
}  // namespace alcca
