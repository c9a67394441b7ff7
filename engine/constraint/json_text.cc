#include "engine/constraint/json_text.h"

#include <string>
#include <utility>
#include <vector>

namespace alcca {

StateId JsonText::Space(StateId next) {
  if (whitespace_ == JsonWhitespace::kCompact) {
    return next;
  }
  const StateId loop = builder_.NewSplit();
  const Grammar::Edge edges[] = {{'\t', '\n', loop}, {'\r', '\r', loop}, {' ', ' ', loop}};
  const StateId both[] = {builder_.Edges(edges), next};
  builder_.SetSplit(loop, both);
  return loop;
}

RuleId JsonText::String() {
  if (string_ == kUnbounded) {
    string_ = builder_.NewRule();
    builder_.SetRule(string_,
                     builder_.Literal("\"", builder_.Call(builder_.FreeString(), kAcceptState)));
  }
  return string_;
}

// One or more digits.
StateId JsonText::DigitsThen(StateId next) {
  const StateId loop = builder_.NewSplit();
  const StateId digit = builder_.Byte('0', '9', loop);
  const StateId both[] = {digit, next};
  builder_.SetSplit(loop, both);
  return digit;
}

RuleId JsonText::Number() {
  if (number_ == kUnbounded) {
    number_ = builder_.NewRule();
    const StateId digits = DigitsThen(kAcceptState);
    const Grammar::Edge sign[] = {{'+', '+', digits}, {'-', '-', digits}};
    const StateId exponent_parts[] = {digits, builder_.Edges(sign)};
    const StateId after = builder_.Split(exponent_parts);
    const Grammar::Edge e[] = {{'E', 'E', after}, {'e', 'e', after}};
    const StateId exponent_or_end[] = {builder_.Edges(e), kAcceptState};
    const StateId exponent = builder_.Split(exponent_or_end);
    const StateId fraction_or_not[] = {builder_.Literal(".", DigitsThen(exponent)), exponent};
    const StateId fraction = builder_.Split(fraction_or_not);
    const StateId more = builder_.NewSplit();
    const StateId again[] = {builder_.Byte('0', '9', more), fraction};
    builder_.SetSplit(more, again);
    const Grammar::Edge lead[] = {{'0', '0', fraction}, {'1', '9', more}};
    const StateId whole = builder_.Edges(lead);
    const StateId signs[] = {builder_.Literal("-", whole), whole};
    builder_.SetRule(number_, builder_.Split(signs));
  }
  return number_;
}

RuleId JsonText::Value() {
  if (value_ == kUnbounded) {
    value_ = builder_.NewRule();
    const StateId all[] = {
        builder_.Literal("null", kAcceptState),  builder_.Literal("true", kAcceptState),
        builder_.Literal("false", kAcceptState), builder_.Call(Number(), kAcceptState),
        builder_.Call(String(), kAcceptState),   builder_.Call(Array(), kAcceptState),
        builder_.Call(Object(), kAcceptState)};
    builder_.SetRule(value_, builder_.Split(all));
  }
  return value_;
}

RuleId JsonText::Array() {
  if (array_ == kUnbounded) {
    array_ = builder_.NewRule();
    const StateId close = Space(builder_.Literal("]", kAcceptState));
    const StateId loop = builder_.NewSplit();
    const StateId item = builder_.Call(Value(), loop);
    const StateId both[] = {Separator(',', item), close};
    builder_.SetSplit(loop, both);
    const StateId first[] = {Space(item), close};
    builder_.SetRule(array_, builder_.Literal("[", builder_.Split(first)));
  }
  return array_;
}

RuleId JsonText::Object() {
  if (object_ == kUnbounded) {
    object_ = builder_.NewRule();
    const StateId close = Space(builder_.Literal("}", kAcceptState));
    const StateId loop = builder_.NewSplit();
    const StateId member = builder_.Call(String(), Separator(':', builder_.Call(Value(), loop)));
    const StateId both[] = {Separator(',', member), close};
    builder_.SetSplit(loop, both);
    const StateId first[] = {Space(member), close};
    builder_.SetRule(object_, builder_.Literal("{", builder_.Split(first)));
  }
  return object_;
}

RuleId JsonText::StringTail(uint32_t min, uint32_t max) {
  if (min == 0 && max == kUnbounded) {
    return builder_.FreeString();
  }
  const RuleId rule = builder_.NewRule();
  const StateId quote = builder_.Literal("\"", kAcceptState);
  if (max == 0) {
    builder_.SetRule(rule, quote);
    return rule;
  }
  builder_.FreeString();  // What the characters are compared with.
  const StateId again = builder_.BeginLoop(min, max, quote);
  const StateId character = builder_.FreeCharacter(again);
  builder_.SetRule(rule, builder_.EndLoop(character, /*free_character=*/true));
  return rule;
}

// After a backslash: the characters that JSON must escape, each with the state that follows.
StateId JsonText::Escape(const std::vector<std::pair<uint32_t, StateId>>& characters) {
  std::vector<Grammar::Edge> edges;
  std::vector<Grammar::Edge> zero;  // \u000X and \u001X.
  std::vector<Grammar::Edge> one;
  for (const auto& [c, next] : characters) {
    constexpr std::string_view kShort = "\"\\\b\f\n\r\t";
    if (const size_t i = kShort.find(static_cast<char>(c)); i != std::string_view::npos) {
      const auto letter = static_cast<uint8_t>("\"\\bfnrt"[i]);
      edges.push_back({letter, letter, next});
      continue;
    }
    std::vector<Grammar::Edge>& digits = c < 0x10 ? zero : one;
    for (const char* hex : {"0123456789abcdef", "0123456789ABCDEF"}) {
      const auto digit = static_cast<uint8_t>(hex[c & 15]);
      digits.push_back({digit, digit, next});
      if ((c & 15) < 10) {
        break;
      }
    }
  }
  if (!zero.empty() || !one.empty()) {
    const Grammar::Edge tens[] = {{'0', '0', builder_.Edges(zero)},
                                  {'1', '1', builder_.Edges(one)}};
    edges.push_back({'u', 'u', builder_.Literal("00", builder_.Edges(tens))});
  }
  return builder_.Edges(edges);
}

StateId JsonText::DfaEdges(const CharDfa& dfa, uint32_t state, std::span<const StateId> starts) {
  std::vector<Grammar::Edge> edges;
  std::vector<std::pair<uint32_t, StateId>> escaped;
  bool nearly_free = false;
  for (uint32_t c = 0; c < dfa.num_classes();) {
    const uint32_t to = dfa.Next(state, c);
    const uint32_t low = dfa.ClassBegin(c);
    for (++c; c < dfa.num_classes() && dfa.Next(state, c) == to; ++c) {
    }
    const uint32_t high = dfa.ClassEnd(c - 1);
    if (to == 0) {
      continue;
    }
    const StateId next = starts[to];
    nearly_free = nearly_free || (dfa.Universal(to) && high - low > 0x1000);
    for (uint32_t must = low; must <= high && must < 0x20; ++must) {
      escaped.emplace_back(must, next);
    }
    for (const uint32_t must : {uint32_t{'"'}, uint32_t{'\\'}}) {
      if (low <= must && must <= high) {
        escaped.emplace_back(must, next);
      }
    }
    for (const auto& [from, until] :
         {std::pair{0x20U, 0x21U}, {0x23U, 0x5BU}, {0x5DU, kMaxCharacter}}) {
      if (std::max(from, low) <= std::min(until, high)) {
        builder_.CharacterEdges(std::max(from, low), std::min(until, high), next, &edges);
      }
    }
  }
  if (!escaped.empty()) {
    edges.push_back({'\\', '\\', Escape(escaped)});
  }
  if (dfa.Accept(state)) {
    edges.push_back({'"', '"', kAcceptState});
  }
  return builder_.Edges(edges, nearly_free);
}

RuleId JsonText::StringTail(const DfaPtr& strings, uint32_t max) {
  if (strings->all() && max == kUnbounded) {
    return builder_.FreeString();
  }
  const RuleId rule = builder_.NewRule();
  const bool counted = max != kUnbounded;
  const auto is_free = [&](uint32_t state) { return strings->Universal(state) && !counted; };
  std::vector<uint32_t> rest;  // Characters that must follow.
  if (counted) {
    rest = strings->ShortestRests();
    builder_.BeginCount(max);
  }
  std::vector<StateId> states(strings->num_states());
  std::vector<StateId> starts(strings->num_states());  // What a character leads to.
  for (uint32_t s = 1; s < strings->num_states(); ++s) {
    states[s] =
        is_free(s) ? builder_.Call(builder_.FreeString(), kAcceptState) : builder_.NewSplit();
    starts[s] = counted ? builder_.Count(states[s], rest[s]) : states[s];
  }
  for (uint32_t s = 1; s < strings->num_states() && !builder_.full(); ++s) {
    if (!is_free(s)) {
      const StateId edges[] = {DfaEdges(*strings, s, starts)};
      builder_.SetSplit(states[s], edges);
    }
  }
  if (counted) {
    builder_.EndCount();
  }
  const bool none = strings->empty() || (counted && rest[strings->start()] > max);
  builder_.SetRule(rule, none ? builder_.Nothing() : states[strings->start()]);
  return rule;
}

RuleId JsonText::Plain(const DfaPtr& texts) {
  const RuleId rule = builder_.NewRule();
  std::vector<StateId> starts(texts->num_states());
  for (uint32_t s = 1; s < texts->num_states(); ++s) {
    starts[s] = builder_.NewSplit();
  }
  for (uint32_t s = 1; s < texts->num_states() && !builder_.full(); ++s) {
    std::vector<Grammar::Edge> edges;
    for (uint32_t c = 0; c < texts->num_classes(); ++c) {
      if (const uint32_t to = texts->Next(s, c); to != 0 && texts->ClassBegin(c) < 0x80) {
        edges.push_back({static_cast<uint8_t>(texts->ClassBegin(c)),
                         static_cast<uint8_t>(std::min(texts->ClassEnd(c), 0x7FU)), starts[to]});
      }
    }
    std::vector<StateId> ways = {builder_.Edges(edges)};
    if (texts->Accept(s)) {
      ways.push_back(kAcceptState);
    }
    builder_.SetSplit(starts[s], ways);
  }
  builder_.SetRule(rule, texts->empty() ? builder_.Nothing() : starts[texts->start()]);
  return rule;
}

}  // namespace alcca
