#include "engine/constraint/ebnf.h"

#include <algorithm>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "engine/constraint/ebnf_parse.h"

namespace alcca {
namespace {

using Kind = EbnfNode::Kind;

bool IsCounted(uint32_t min, uint32_t max) {
  return !(max == kUnbounded ? min <= 1 : max <= 1);
}

bool RegexHasLoop(const Regex& regex) {
  return (regex.kind == Regex::Kind::kRepeat && IsCounted(regex.min, regex.max)) ||
         std::any_of(regex.children.begin(), regex.children.end(), RegexHasLoop);
}

bool HasLoop(const EbnfNode& node) {
  return (node.kind == Kind::kRepeat && IsCounted(node.min, node.max)) ||
         (node.kind == Kind::kRegex && RegexHasLoop(node.regex)) ||
         std::any_of(node.children.begin(), node.children.end(), HasLoop);
}

class Emitter {
 public:
  explicit Emitter(GrammarBuilder* builder) : builder_(*builder) {}

  absl::StatusOr<RuleId> Emit(const EbnfRules& rules) {
    for (const auto& [name, node] : rules.rules) {
      if (!ids_.emplace(name, builder_.NewRule()).second) {
        return absl::InvalidArgumentError(
            absl::StrCat("grammar: rule '", name, "' is defined twice"));
      }
    }
    const auto start = ids_.find(rules.start);
    if (start == ids_.end()) {
      return absl::InvalidArgumentError(
          absl::StrCat("grammar: no rule '", rules.start, "', with which a grammar begins"));
    }
    for (const auto& [name, node] : rules.rules) {
      ASSIGN_OR_RETURN(const StateId body, States(node, kAcceptState));
      builder_.SetRule(ids_.at(name), body);
    }
    return start->second;
  }

 private:
  absl::StatusOr<StateId> States(const EbnfNode& node, StateId next) {
    if (builder_.full()) {
      return next;
    }
    switch (node.kind) {
      case Kind::kText:
        return node.ignore_case ? AnyCase(node.text, next) : builder_.Literal(node.text, next);
      case Kind::kChars: {
        std::vector<Grammar::Edge> edges;
        for (const auto& [low, high] : node.chars) {
          builder_.CharacterEdges(low, high, next, &edges);
        }
        return builder_.Edges(edges);
      }
      case Kind::kRegex:
        return RegexStates(node.regex, next, &builder_);
      case Kind::kRule: {
        const auto it = ids_.find(node.text);
        if (it == ids_.end()) {
          return absl::InvalidArgumentError(
              absl::StrCat("grammar: line ", node.line, ": no rule '", node.text, "'"));
        }
        return builder_.Call(it->second, next);
      }
      case Kind::kSequence:
        for (auto it = node.children.rbegin(); it != node.children.rend(); ++it) {
          ASSIGN_OR_RETURN(next, States(*it, next));
        }
        return next;
      case Kind::kChoice: {
        std::vector<StateId> starts;
        for (const EbnfNode& child : node.children) {
          ASSIGN_OR_RETURN(const StateId start, States(child, next));
          starts.push_back(start);
        }
        return builder_.Split(starts);
      }
      case Kind::kRepeat:
        return Repeat(node, next);
    }
    return next;
  }

  absl::StatusOr<StateId> Repeat(const EbnfNode& node, StateId next) {
    const EbnfNode& body = node.children[0];
    if (node.max == 0) {
      return next;
    }
    if (node.max == 1) {
      ASSIGN_OR_RETURN(const StateId once, States(body, next));
      const StateId both[] = {once, next};
      return node.min == 1 ? once : builder_.Split(both);
    }
    if (!IsCounted(node.min, node.max)) {
      const StateId loop = builder_.NewSplit();
      ASSIGN_OR_RETURN(const StateId once, States(body, loop));
      const StateId both[] = {once, next};
      builder_.SetSplit(loop, both);
      return node.min == 1 ? once : loop;
    }
    if (HasLoop(body)) {  // Each repeat has a counter of its own.
      const RuleId rule = builder_.NewRule();
      ASSIGN_OR_RETURN(const StateId once, States(body, kAcceptState));
      builder_.SetRule(rule, once);
      const StateId again = builder_.BeginLoop(node.min, node.max, next);
      return builder_.EndLoop(builder_.Call(rule, again));
    }
    const StateId again = builder_.BeginLoop(node.min, node.max, next);
    ASSIGN_OR_RETURN(const StateId once, States(body, again));
    return builder_.EndLoop(once);
  }

  StateId AnyCase(const std::string& text, StateId next) {
    for (auto it = text.rbegin(); it != text.rend(); ++it) {
      const auto c = static_cast<uint8_t>(*it);
      const auto lower = static_cast<uint8_t>(absl::ascii_tolower(c));
      const auto upper = static_cast<uint8_t>(absl::ascii_toupper(c));
      const Grammar::Edge edges[] = {{lower, lower, next}, {upper, upper, next}};
      next = builder_.Edges(std::span(edges).first(lower == upper ? 1 : 2));
    }
    return next;
  }

  GrammarBuilder& builder_;
  std::unordered_map<std::string, RuleId> ids_;
};

}  // namespace

absl::StatusOr<RuleId> AddEbnf(std::string_view text, GrammarBuilder* builder) {
  ASSIGN_OR_RETURN(const EbnfRules rules, ParseEbnf(text));
  return Emitter(builder).Emit(rules);
}

absl::StatusOr<Grammar> CompileEbnf(std::string_view text, const GrammarLimits& limits) {
  GrammarBuilder builder(limits);
  absl::StatusOr<RuleId> start = AddEbnf(text, &builder);
  RETURN_IF_ERROR(start.status());
  absl::StatusOr<Grammar> grammar = std::move(builder).Build(*start);
  return grammar.ok() ? std::move(grammar)
                      : absl::StatusOr<Grammar>(absl::InvalidArgumentError(
                            absl::StrCat("grammar: ", std::string(grammar.status().message()))));
}

}  // namespace alcca
