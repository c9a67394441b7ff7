#include "engine/constraint/schema_emit.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace alcca {

RuleId SchemaEmitter::RuleOf(ExprId expr) {
  if (expr == kAnyValue) {
    return text_.Value();
  }
  if (const auto it = rules_.find(expr); it != rules_.end()) {
    return it->second;
  }
  const RuleId rule = builder_.NewRule();
  rules_[expr] = rule;
  wait_.push_back(expr);
  return rule;
}

absl::StatusOr<RuleId> SchemaEmitter::Emit(ExprId expr) {
  const RuleId start = RuleOf(expr);
  for (size_t i = 0; i < wait_.size() && !builder_.full(); ++i) {
    RETURN_IF_ERROR(EmitBody(wait_[i], rules_.at(wait_[i])));
  }
  return start;
}

absl::Status SchemaEmitter::EmitBody(ExprId expr, RuleId rule) {
  ASSIGN_OR_RETURN(const Shape* shape, shapes_.Normalize(expr));
  std::vector<StateId> ways;
  if (shape->null) {
    ways.push_back(builder_.Literal("null", kAcceptState));
  }
  if (shape->no) {
    ways.push_back(builder_.Literal("false", kAcceptState));
  }
  if (shape->yes) {
    ways.push_back(builder_.Literal("true", kAcceptState));
  }
  RETURN_IF_ERROR(EmitNumbers(shape->numbers, &ways));
  if (!shape->strings.empty()) {
    std::vector<StateId> tails;
    for (const StringShape& strings : shape->strings) {
      ASSIGN_OR_RETURN(const RuleId tail, StringRule(strings));
      tails.push_back(builder_.Call(tail, kAcceptState));
    }
    ways.push_back(builder_.Literal("\"", builder_.Split(tails)));
  }
  for (const ArrayShape& array : shape->arrays) {
    if (array.full()) {
      ways.push_back(builder_.Call(text_.Array(), kAcceptState));
    } else {
      ASSIGN_OR_RETURN(const StateId start, EmitArray(array));
      ways.push_back(start);
    }
  }
  for (const ObjectShape& object : shape->objects) {
    if (object.full()) {
      ways.push_back(builder_.Call(text_.Object(), kAcceptState));
    } else {
      ASSIGN_OR_RETURN(const StateId start, EmitObject(object));
      ways.push_back(start);
    }
  }
  builder_.SetRule(rule, builder_.Split(ways));
  return absl::OkStatus();
}

// One spelling of each value if a set is finite; no fractions if all its numbers are integers.
absl::Status SchemaEmitter::EmitNumbers(const NumberSet& numbers, std::vector<StateId>* ways) {
  if (numbers.exponents) {
    ways->push_back(builder_.Call(text_.Number(), kAcceptState));
    return absl::OkStatus();
  }
  if (numbers.plain->empty()) {
    return absl::OkStatus();
  }
  DfaPtr texts = numbers.plain;
  ASSIGN_OR_RETURN(const DfaPtr fractions,
                   CharDfa::Minus(texts, IntegerValues(), shapes_.budget()));
  if (fractions->empty()) {
    ASSIGN_OR_RETURN(texts, CharDfa::And(IntegerSpellings(), texts, shapes_.budget()));
  } else {
    ASSIGN_OR_RETURN(const DfaPtr canonical,
                     CharDfa::And(CanonicalNumbers(), texts, shapes_.budget()));
    texts = canonical->Finite() ? canonical : texts;
  }
  RuleId& rule = tails_.try_emplace(std::pair(texts.get(), kUnbounded), kUnbounded).first->second;
  if (rule == kUnbounded) {
    kept_.push_back(texts);
    rule = text_.Plain(texts);
  }
  ways->push_back(builder_.Call(rule, kAcceptState));
  return absl::OkStatus();
}

absl::StatusOr<RuleId> SchemaEmitter::StringRule(const StringShape& shape) {
  if (shape.strings->all()) {
    return text_.StringTail(shape.min, shape.max);
  }
  // The maximum is counted as the string is read, the minimum is a part of the automaton.
  StringShape lower = shape;
  const bool counted = shape.max != kUnbounded && !shapes_.FitsBelow(shape.strings, shape.max);
  lower.max = kUnbounded;
  absl::StatusOr<DfaPtr> strings = shapes_.StringsOf(lower);
  if (!strings.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat("schema: a pattern or format together with minLength or maxLength: ",
                     std::string(strings.status().message())));
  }
  const std::pair key(strings->get(), counted ? shape.max : kUnbounded);
  RuleId& rule = tails_.try_emplace(key, kUnbounded).first->second;
  if (rule == kUnbounded) {
    kept_.push_back(*strings);
    rule = text_.StringTail(*strings, key.second);
  }
  return rule;
}

absl::StatusOr<StateId> SchemaEmitter::EmitArray(const ArrayShape& shape) {
  const StateId close = text_.Space(builder_.Literal("]", kAcceptState));
  StateId inside = close;
  if (shape.unique && shape.max > 1) {
    ASSIGN_OR_RETURN(inside, EmitUnique(shape, close));
  } else if (!shape.contains.empty()) {
    ASSIGN_OR_RETURN(inside, EmitContains(shape, close));
  } else {
    inside = EmitPlainArray(shape, close);
  }
  return builder_.Literal("[", inside);
}

// After '['.
StateId SchemaEmitter::EmitPlainArray(const ArrayShape& shape, StateId close) {
  const auto count = static_cast<uint32_t>(std::min<size_t>(shape.prefix.size(), shape.max));
  // `after` is what follows the items so far, the last of the prefix first.
  StateId after = close;
  if (shape.max > shape.prefix.size() && shape.rest != kNoValue) {
    const RuleId rest = RuleOf(shape.rest);
    // With no prefix the first of the rest has no separator and is counted apart.
    const uint32_t before = std::max(count, 1U);
    const uint32_t min = shape.min > before ? shape.min - before : 0;
    const uint32_t max = shape.max == kUnbounded ? kUnbounded : shape.max - before;
    if (min == 0 && max == kUnbounded) {
      const StateId loop = builder_.NewSplit();
      const StateId both[] = {text_.Separator(',', builder_.Call(rest, loop)), close};
      builder_.SetSplit(loop, both);
      after = loop;
    } else if (max > 0) {
      const StateId again = builder_.BeginLoop(min, max, close);
      after = builder_.EndLoop(text_.Separator(',', builder_.Call(rest, again)));
    }
    if (count == 0) {
      after = builder_.Call(rest, after);
    }
  } else if (shape.min > shape.prefix.size()) {
    return builder_.Nothing();
  }
  for (uint32_t i = count; i-- > 0;) {
    // `after` follows item i.
    after = builder_.Call(RuleOf(shape.prefix[i]), after);
    if (i > 0) {
      const StateId item = text_.Separator(',', after);
      const StateId both[] = {item, close};
      after = shape.min <= i ? builder_.Split(both) : item;
    }
  }
  if (after == close) {
    return close;
  }
  const StateId item = text_.Space(after);
  const StateId both[] = {item, close};
  return shape.min == 0 ? builder_.Split(both) : item;
}

// States are (items read, of each `contains` how many), as far as they matter.
absl::StatusOr<StateId> SchemaEmitter::EmitContains(const ArrayShape& shape, StateId close) {
  constexpr size_t kMaxStates = 4000;
  const size_t kinds = shape.contains.size();
  uint64_t index_cap = std::max<uint64_t>(shape.prefix.size(), shape.min);
  if (shape.max != kUnbounded) {
    index_cap = std::max<uint64_t>(index_cap, shape.max);
  }
  std::vector<uint64_t> caps;
  uint64_t states = 1;
  for (const auto& contains : shape.contains) {
    index_cap = std::max<uint64_t>(index_cap, contains.from);
    caps.push_back(contains.max == kUnbounded ? contains.min : contains.max);
    states = std::min<uint64_t>(states * (caps.back() + 1), kMaxStates + 1);
  }
  if (kinds > 3 || states * (index_cap + 1) > kMaxStates || index_cap > kMaxStates) {
    return absl::InvalidArgumentError(
        "schema: 'contains' with such limits of items is not supported");
  }
  const auto total = static_cast<size_t>(states * (index_cap + 1));
  std::vector<StateId> nodes(total);  // After so many items.
  for (StateId& node : nodes) {
    node = builder_.NewSplit();
  }
  StateId first = close;
  for (size_t s = 0; s < total; ++s) {
    size_t code = s;
    const uint64_t index = code % (index_cap + 1);
    code /= index_cap + 1;
    std::vector<uint64_t> counts;
    bool complete = index >= shape.min;
    for (size_t k = 0; k < kinds; ++k) {
      counts.push_back(code % (caps[k] + 1));
      code /= caps[k] + 1;
      complete = complete && counts[k] >= shape.contains[k].min;
    }
    std::vector<StateId> items;
    const bool more = shape.max == kUnbounded || index < shape.max;
    for (size_t chosen = 0; more && chosen < size_t{1} << kinds; ++chosen) {
      std::vector<ExprId> parts = {index < shape.prefix.size() ? shape.prefix[index] : shape.rest};
      uint64_t next = 0;
      bool possible = true;
      for (size_t k = kinds; k-- > 0;) {
        const auto& contains = shape.contains[k];
        const bool in = (chosen >> k & 1) != 0;
        uint64_t count = counts[k];
        if (in) {
          possible = possible && index >= contains.from &&
                     !(contains.max != kUnbounded && count == contains.max);
          count = std::min(count + 1, caps[k]);
          parts.push_back(contains.item);
        } else if (contains.max != kUnbounded && index >= contains.from) {
          parts.push_back(shapes_.Not(contains.item));
        }
        next = next * (caps[k] + 1) + count;
      }
      const ExprId value = possible ? shapes_.And(std::move(parts)) : kNoValue;
      if (value != kNoValue) {
        next = next * (index_cap + 1) + std::min(index + 1, index_cap);
        items.push_back(builder_.Call(RuleOf(value), nodes[next]));
      }
    }
    const StateId item = builder_.Split(items);
    std::vector<StateId> ways;
    if (complete) {
      ways.push_back(close);
    }
    ways.push_back(text_.Separator(',', item));
    builder_.SetSplit(nodes[s], ways);
    if (s == 0) {
      ways.back() = text_.Space(item);
      first = builder_.Split(ways);
    }
  }
  return first;
}

// Distinct values: exact where the values of items can be listed.
absl::StatusOr<StateId> SchemaEmitter::EmitUnique(const ArrayShape& shape, StateId close) {
  constexpr size_t kMaxValues = 200;
  const absl::Status refused = absl::InvalidArgumentError(
      "schema: 'uniqueItems' is supported for items of an enumeration alone");
  if (!shape.prefix.empty() || !shape.contains.empty()) {
    return refused;
  }
  ASSIGN_OR_RETURN(const Shape* item, shapes_.Normalize(shape.rest));
  if (!item->arrays.empty() || !item->objects.empty() || item->numbers.exponents) {
    return refused;
  }
  std::vector<std::string> values;
  if (item->null) {
    values.emplace_back("null");
  }
  if (item->no) {
    values.emplace_back("false");
  }
  if (item->yes) {
    values.emplace_back("true");
  }
  ASSIGN_OR_RETURN(const DfaPtr integers,
                   CharDfa::And(item->numbers.plain, IntegerSpellings(), shapes_.budget()));
  ASSIGN_OR_RETURN(const DfaPtr fractions,
                   CharDfa::Minus(item->numbers.plain, IntegerValues(), shapes_.budget()));
  ASSIGN_OR_RETURN(const DfaPtr strings, shapes_.StringsOf(*item));
  if (!fractions->empty() || !integers->Finite() || !strings->Finite()) {
    return refused;
  }
  const std::vector<std::string> numbers = integers->Strings(kMaxValues);
  values.insert(values.end(), numbers.begin(), numbers.end());
  const std::vector<std::string> words = strings->Strings(kMaxValues);
  if ((words.empty() && !strings->empty()) || (numbers.empty() && !integers->empty())) {
    return refused;
  }
  for (const std::string& word : words) {
    values.push_back(QuoteJson(word));
  }
  const StateId first = builder_.NewMembers();
  const StateId next = builder_.MembersNext(first);
  Grammar::Members members = {.min = shape.min, .max = shape.max, .ordered = false};
  for (const std::string& value : values) {
    members.members.push_back({.start = builder_.Literal(value, next)});
  }
  members.separator = text_.Separator(',', builder_.MembersPick(first));
  members.close = members.close_empty = close;
  builder_.EndMembers(first, std::move(members));
  return text_.Space(first);
}

StateId SchemaEmitter::Key(const std::string& name, StateId next) {
  return builder_.Literal(QuoteJson(name), text_.Separator(':', next));
}

absl::Status SchemaEmitter::EmitExtras(const ObjectShape& shape, const DfaPtr& named, StateId next,
                                       Grammar::Members* members) {
  const auto start_of = [&](const DfaPtr& keys, ExprId value) -> absl::StatusOr<StateId> {
    RuleId tail = 0;
    if (keys->all()) {
      tail = builder_.FreeString();
    } else {
      tail = text_.StringTail(keys);
    }
    return builder_.Literal(
        "\"", builder_.Call(tail, text_.Separator(':', builder_.Call(RuleOf(value), next))));
  };
  std::vector<StateId> exist;
  for (const auto& extra : shape.extras) {
    if (extra.value == kNoValue) {
      continue;
    }
    ASSIGN_OR_RETURN(const DfaPtr keys, CharDfa::Minus(extra.keys, named, shapes_.budget()));
    if (keys->empty()) {
      continue;
    }
    if (members->min > 1) {
      // Nothing but a list of all keys tells that two keys differ.
      const std::vector<std::string> names = keys->Strings(64);
      if (names.empty()) {
        return absl::InvalidArgumentError(
            "schema: 'minProperties' above 1 that properties without a name must fill is not "
            "supported");
      }
      for (const std::string& name : names) {
        members->members.push_back({.start = Key(name, builder_.Call(RuleOf(extra.value), next))});
      }
      continue;
    }
    ASSIGN_OR_RETURN(const StateId start, start_of(keys, extra.value));
    members->extras.push_back(start);
    for (const auto& needed : shape.exist) {
      ASSIGN_OR_RETURN(const DfaPtr both, CharDfa::And(keys, needed.keys, shapes_.budget()));
      const ExprId value = shapes_.And({needed.value, extra.value});
      if (!both->empty() && value != kNoValue) {
        ASSIGN_OR_RETURN(const StateId way, start_of(both, value));
        exist.push_back(way);
      }
    }
  }
  if (!shape.exist.empty()) {
    // The last member: a key that came before is overridden by it, not the other way round.
    members->members.push_back({.start = builder_.Split(exist), .required = true});
    members->last = 1;
  }
  return absl::OkStatus();
}

absl::StatusOr<StateId> SchemaEmitter::EmitObject(const ObjectShape& shape) {
  const StateId first = builder_.NewMembers();
  const StateId next = builder_.MembersNext(first);
  Grammar::Members members = {.min = shape.min, .max = shape.max, .ordered = options_.ordered};
  std::vector<std::string> names;
  uint32_t required = 0;
  for (const auto& member : shape.members) {
    names.push_back(member.name);
    required += member.required;
    if (member.value != kNoValue || member.required) {
      const StateId value =
          member.value == kNoValue ? builder_.Nothing() : builder_.Call(RuleOf(member.value), next);
      members.members.push_back({.start = Key(member.name, value), .required = member.required});
    }
  }
  if (required >= members.min) {
    members.min = 0;
  }
  if (shape.exist.size() > 1 || (!shape.exist.empty() && members.min > 1)) {
    return absl::InvalidArgumentError(
        "schema: such negated conditions on the unnamed properties of an object are not supported");
  }
  RETURN_IF_ERROR(EmitExtras(shape, CharDfa::Words(names), next, &members));
  members.separator = text_.Separator(',', builder_.MembersPick(first));
  members.close = members.close_empty = text_.Space(builder_.Literal("}", kAcceptState));
  builder_.EndMembers(first, std::move(members));
  return builder_.Literal("{", text_.Space(first));
}

}  // namespace alcca
