#include "engine/text/jinja/value.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace alcca::jinja {
namespace {

// Equal for keys that Python calls equal (1, 1.0 and True are one key); none for what has no hash.
std::optional<std::string> DictKey(const Value& key) {
  switch (key.kind()) {
    case Kind::kString:
      return absl::StrCat("s", key.text().bytes());
    case Kind::kNone:
      return "0";
    case Kind::kBool:
    case Kind::kInt:
      return absl::StrCat("n", key.AsInt());
    case Kind::kFloat:
      if (std::abs(key.real()) < 1e15 && key.real() == std::floor(key.real())) {
        return absl::StrCat("n", static_cast<int64_t>(key.real()));
      }
      return absl::StrCat("f", std::bit_cast<uint64_t>(key.real()));
    default:
      return std::nullopt;
  }
}

int DepthOf(const std::vector<Value>& items) {
  int depth = 0;
  for (const Value& item : items) {
    depth = std::max(depth, item.depth());
  }
  return depth + 1;
}

absl::Status CheckDepth(int depth) {
  if (depth > kMaxNesting) {
    return absl::InvalidArgumentError(
        absl::StrCat("values are nested more than ", kMaxNesting, " deep"));
  }
  return absl::OkStatus();
}

}  // namespace

Value Value::UndefinedAs(std::string what) {
  return Value(Undefined{std::make_shared<const std::string>(std::move(what))});
}

std::string_view Value::undefined_what() const {
  const auto& what = std::get<Undefined>(data_).what;
  return what == nullptr ? "a value that is not defined" : std::string_view(*what);
}

double Value::AsDouble() const {
  return Is(Kind::kFloat) ? real() : static_cast<double>(AsInt());
}

bool Value::Truth() const {
  switch (kind()) {
    case Kind::kUndefined:
    case Kind::kNone:
      return false;
    case Kind::kBool:
      return boolean();
    case Kind::kInt:
      return integer() != 0;
    case Kind::kFloat:
      return real() != 0;
    case Kind::kString:
      return !text().empty();
    case Kind::kList:
      return !list().items.empty();
    case Kind::kDict:
      return !dict().items.empty();
    default:
      return true;
  }
}

int Value::depth() const {
  switch (kind()) {
    case Kind::kList:
      return list().depth;
    case Kind::kDict:
      return dict().depth;
    case Kind::kGenerator:
      return generator().depth;
    case Kind::kCallable:
      return callable().depth;
    case Kind::kLoop:
      return loop().depth;
    default:
      return 0;
  }
}

const void* Value::identity() const {
  switch (kind()) {
    case Kind::kString:
      return &text();
    case Kind::kList:
      return &list();
    case Kind::kDict:
      return &dict();
    case Kind::kGenerator:
      return &generator();
    case Kind::kNamespace:
      return &space();
    case Kind::kCallable:
      return &callable();
    case Kind::kLoop:
      return &loop();
    default:
      return nullptr;
  }
}

std::string_view Value::TypeName() const {
  switch (kind()) {
    case Kind::kUndefined:
      return "undefined";
    case Kind::kNone:
      return "NoneType";
    case Kind::kBool:
      return "bool";
    case Kind::kInt:
    case Kind::kBigInt:
      return "int";
    case Kind::kFloat:
      return "float";
    case Kind::kString:
      return "str";
    case Kind::kList:
      return list().tuple ? "tuple" : "list";
    case Kind::kDict:
      return "dict";
    case Kind::kGenerator:
      return "generator";
    case Kind::kNamespace:
      return "namespace";
    case Kind::kCallable:
      return "function";
    case Kind::kLoop:
      return "loop";
  }
  return "";
}

bool Dict::Add(Value key, Value value) {
  const std::optional<std::string> name = DictKey(key);
  if (!name) {
    return false;
  }
  const auto [it, added] = index.emplace(*name, items.size());
  depth = std::max(depth, value.depth() + 1);
  if (added) {
    items.emplace_back(std::move(key), std::move(value));
  } else {
    items[it->second].second = std::move(value);
  }
  return true;
}

const Value* Dict::Find(const Value& key) const {
  const std::optional<std::string> name = DictKey(key);
  const auto it = name ? index.find(*name) : index.end();
  return it == index.end() ? nullptr : &items[it->second].second;
}

const Value* Dict::Find(std::string_view key) const {
  const auto it = index.find(std::string("s").append(key));
  return it == index.end() ? nullptr : &items[it->second].second;
}

absl::StatusOr<Value> MakeList(std::vector<Value> items, Meter* meter, bool tuple) {
  RETURN_IF_ERROR(meter->Take(sizeof(List) + items.size() * sizeof(Value)));
  const int depth = DepthOf(items);
  RETURN_IF_ERROR(CheckDepth(depth));
  return Value(std::make_shared<const List>(List{std::move(items), tuple, depth}));
}

absl::StatusOr<Value> MakeGenerator(std::vector<Value> items, Meter* meter) {
  RETURN_IF_ERROR(meter->Take(sizeof(Generator) + items.size() * sizeof(Value)));
  const int depth = DepthOf(items);
  RETURN_IF_ERROR(CheckDepth(depth));
  return Value(std::make_shared<Generator>(Generator{std::move(items), false, depth}));
}

absl::StatusOr<Value> MakeDict(Dict dict, Meter* meter) {
  RETURN_IF_ERROR(meter->Take(sizeof(Dict) + dict.items.size() * (2 * sizeof(Value) + 64)));
  RETURN_IF_ERROR(CheckDepth(dict.depth));
  return Value(std::make_shared<const Dict>(std::move(dict)));
}

absl::StatusOr<Value> MakeString(Text text, Meter* meter) {
  RETURN_IF_ERROR(meter->Take(sizeof(Text) + text.cost()));
  return Value(std::move(text));
}

Origin OriginOf(const Value& value) {
  if (!value.Is(Kind::kString)) {
    return value.origin();
  }
  const auto& runs = value.text().runs();
  const bool message = std::any_of(runs.begin(), runs.end(), [](const Text::Run& run) {
    return run.origin == Origin::kMessage;
  });
  return message ? Origin::kMessage : Origin::kTemplate;
}

}  // namespace alcca::jinja
