// The wire as clients were built for it: names, numbers, types and labels of proto/alcca/v1,
// compared with tests/golden/wire/inference.txt. After a field, method or enum value was added:
// ALCCA_WRITE_GOLDEN=1 build/release/bin/server_tests --gtest_filter='WireDescriptor.*'
// which adds lines and takes none away.

#include <gmock/gmock.h>
#include <google/protobuf/descriptor.h>
#include <google/protobuf/descriptor.pb.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "alcca/v1/inference.pb.h"

namespace alcca {
namespace {

namespace pb = google::protobuf;
using Lines = std::vector<std::string>;

constexpr char kGolden[] = ALCCA_TEST_DATA_DIR "/wire/inference.txt";

std::string TypeOf(const pb::FieldDescriptor& field) {
  switch (field.type()) {
    case pb::FieldDescriptor::TYPE_MESSAGE:
      return std::string(field.message_type()->full_name());
    case pb::FieldDescriptor::TYPE_ENUM:
      return std::string(field.enum_type()->full_name());
    default:
      return field.type_name();
  }
}

std::string LabelOf(const pb::FieldDescriptor& field) {
  if (const pb::OneofDescriptor* oneof = field.real_containing_oneof()) {
    return absl::StrCat("oneof ", oneof->name());
  }
  if (field.is_repeated()) {
    return "repeated";
  }
  return field.has_presence() ? "optional" : "plain";
}

void DescribeEnum(const pb::EnumDescriptor& e, Lines* lines) {
  for (int i = 0; i < e.value_count(); ++i) {
    lines->push_back(
        absl::StrCat(e.full_name(), ".", e.value(i)->name(), " = ", e.value(i)->number()));
  }
}

void DescribeMessage(const pb::Descriptor& message, Lines* lines) {
  for (int i = 0; i < message.field_count(); ++i) {
    const pb::FieldDescriptor& field = *message.field(i);
    lines->push_back(absl::StrCat(message.full_name(), ".", field.name(), " = ", field.number(),
                                  " ", TypeOf(field), " ", LabelOf(field)));
  }
  for (int i = 0; i < message.nested_type_count(); ++i) {
    DescribeMessage(*message.nested_type(i), lines);
  }
  for (int i = 0; i < message.enum_type_count(); ++i) {
    DescribeEnum(*message.enum_type(i), lines);
  }
}

// `message.field = number type label`, `enum.VALUE = number` and
// `service.method(request) returns (reply)`, sorted.
Lines Describe(const pb::FileDescriptor& file) {
  Lines lines;
  for (int i = 0; i < file.message_type_count(); ++i) {
    DescribeMessage(*file.message_type(i), &lines);
  }
  for (int i = 0; i < file.enum_type_count(); ++i) {
    DescribeEnum(*file.enum_type(i), &lines);
  }
  for (int i = 0; i < file.service_count(); ++i) {
    const pb::ServiceDescriptor& service = *file.service(i);
    for (int j = 0; j < service.method_count(); ++j) {
      const pb::MethodDescriptor& method = *service.method(j);
      lines.push_back(absl::StrCat(
          service.full_name(), ".", method.name(), "(", method.client_streaming() ? "stream " : "",
          method.input_type()->full_name(), ") returns (",
          method.server_streaming() ? "stream " : "", method.output_type()->full_name(), ")"));
    }
  }
  std::sort(lines.begin(), lines.end());
  return lines;
}

const pb::FileDescriptor& Wire() {
  return *v1::GenerateRequest::descriptor()->file();
}

Lines ReadGolden() {
  std::ifstream in(kGolden);
  Lines lines;
  for (std::string line; std::getline(in, line);) {
    lines.push_back(line);
  }
  std::sort(lines.begin(), lines.end());
  return lines;
}

// Lines of `left` that `right` lacks.
Lines Missing(const Lines& left, const Lines& right) {
  Lines missing;
  std::set_difference(left.begin(), left.end(), right.begin(), right.end(),
                      std::back_inserter(missing));
  return missing;
}

TEST(WireDescriptor, OnlyGains) {
  const Lines golden = ReadGolden(), now = Describe(Wire());
  ASSERT_EQ(absl::StrJoin(Missing(golden, now), "\n"), "")
      << "clients were built for these lines: keep name, number, type and label, and add a new "
         "field beside an old one";
  if (std::getenv("ALCCA_WRITE_GOLDEN") != nullptr) {
    std::ofstream(kGolden) << absl::StrJoin(now, "\n") << "\n";
    return;
  }
  EXPECT_EQ(absl::StrJoin(Missing(now, golden), "\n"), "")
      << "these lines are new: if they are meant to stay, run this test with ALCCA_WRITE_GOLDEN=1 "
         "and commit "
      << kGolden;
}

pb::DescriptorProto& Request(pb::FileDescriptorProto& file) {
  return *file.mutable_message_type(v1::GenerateRequest::descriptor()->index());
}

// Each change that breaks a client costs the description a line.
TEST(WireDescriptor, SeesWhatBreaksAClient) {
  using File = pb::FileDescriptorProto;
  using Field = pb::FieldDescriptorProto;
  const std::vector<std::pair<std::string, std::function<void(File&)>>> changes = {
      {"number", [](File& f) { Request(f).mutable_field(0)->set_number(9999); }},
      {"name", [](File& f) { Request(f).mutable_field(0)->set_name("other"); }},
      {"type",
       [](File& f) {
         Field* field = Request(f).mutable_field(0);
         field->clear_type_name();
         field->set_type(field->type() == Field::TYPE_BYTES ? Field::TYPE_STRING
                                                            : Field::TYPE_BYTES);
       }},
      {"label",
       [](File& f) {
         Field* field = Request(f).mutable_field(0);
         field->set_label(field->label() == Field::LABEL_REPEATED ? Field::LABEL_OPTIONAL
                                                                  : Field::LABEL_REPEATED);
       }},
      {"field gone", [](File& f) { Request(f).mutable_field()->DeleteSubrange(0, 1); }},
      {"enum value", [](File& f) { f.mutable_enum_type(0)->mutable_value(1)->set_number(9999); }},
      {"method",
       [](File& f) { f.mutable_service(0)->mutable_method(0)->set_server_streaming(false); }},
  };
  for (const auto& [what, change] : changes) {
    File file;
    Wire().CopyTo(&file);
    change(file);
    pb::DescriptorPool pool;
    const pb::FileDescriptor* changed = pool.BuildFile(file);
    ASSERT_NE(changed, nullptr) << what;
    EXPECT_THAT(Missing(Describe(Wire()), Describe(*changed)), ::testing::SizeIs(1)) << what;
  }
}

}  // namespace
}  // namespace alcca
