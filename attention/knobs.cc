#include "attention/knobs.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <type_traits>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"

namespace alcca {
namespace {

constexpr size_t kRequestKnobCount = [] {
  size_t count = 0;
  while (count < kKnobCount && !kKnobs[count].operators_own) {
    ++count;
  }
  return count;
}();
static_assert(std::all_of(kKnobs + kRequestKnobCount, kKnobs + kKnobCount,
                          [](const Knob& knob) { return knob.operators_own; }));

template <typename T>
std::string Shortest(T value) {
  char digits[32];
  const auto end = std::to_chars(digits, digits + sizeof(digits), value);
  return std::string(digits, end.ptr);
}

bool InRange(const Knob& knob, double value) {
  return value >= knob.least && value <= knob.most && !(knob.above && value == knob.least);
}

}  // namespace

std::span<const Knob> RequestKnobs() {
  return {kKnobs, kRequestKnobCount};
}

const Knob* FindKnob(std::string_view name) {
  const auto* knob = std::find_if(std::begin(kKnobs), std::end(kKnobs),
                                  [name](const Knob& row) { return name == row.name; });
  return knob == std::end(kKnobs) ? nullptr : knob;
}

bool IsInteger(const Knob& knob) {
  return !std::holds_alternative<float AttentionScalars::*>(knob.field);
}

double Get(const Knob& knob, const AttentionScalars& params) {
  return std::visit([&](auto field) { return static_cast<double>(params.*field); }, knob.field);
}

void Put(const Knob& knob, double value, AttentionScalars* params) {
  std::visit(
      [&](auto field) {
        using T = std::decay_t<decltype(params->*field)>;
        params->*field = static_cast<T>(value);
      },
      knob.field);
}

double Default(const Knob& knob) {
  return Get(knob, AttentionScalars());
}

std::string RuleBrokenBy(const Knob& knob, double value) {
  if (IsInteger(knob) && InRange(knob, value) && value != std::floor(value)) {
    return absl::StrCat("must be an integer, is ", Digits(knob, value));
  }
  // A number that only a double holds must stay in the range as the float that applies.
  if (InRange(knob, value) && (IsInteger(knob) || InRange(knob, static_cast<float>(value)))) {
    return "";
  }
  const std::string least = Digits(knob, knob.least), most = Digits(knob, knob.most);
  return absl::StrCat(knob.above ? "must be above " : "must be from ", least,
                      knob.above ? ", up to " : " to ", most, ", is ", Digits(knob, value));
}

std::string Bounds(const Knob& knob) {
  return absl::StrCat(knob.above ? "above " : "", Digits(knob, knob.least), " to ",
                      Digits(knob, knob.most));
}

std::string Digits(const Knob& knob, double value) {
  if (IsInteger(knob) && value == std::floor(value) && std::abs(value) <= 1e15) {
    return absl::StrCat(static_cast<int64_t>(value));
  }
  const bool is_float = std::abs(value) <= std::numeric_limits<float>::max() &&
                        static_cast<double>(static_cast<float>(value)) == value;
  return is_float ? Shortest(static_cast<float>(value)) : Shortest(value);
}

std::string FlagOf(const Knob& knob) {
  return absl::StrCat("--", absl::StrReplaceAll(knob.name, {{"_", "-"}}));
}

bool Applies(const Knob& knob, const AttentionParams& params) {
  if (!knob.modes.Has(params.mode) || (knob.of_tree && params.search != KeySearch::kTree)) {
    return false;
  }
  const bool follows_share = params.near_share > 0;
  return &knob == &KnobOf(&AttentionScalars::theta)        ? !follows_share
         : &knob == &KnobOf(&AttentionScalars::near_share) ? follows_share
                                                           : true;
}

bool IsPerHead(const Knob& knob, const AttentionParams& params) {
  return (&knob == &KnobOf(&AttentionScalars::theta) && params.head_theta != nullptr) ||
         (&knob == &KnobOf(&AttentionScalars::k) && params.head_k != nullptr);
}

}  // namespace alcca
