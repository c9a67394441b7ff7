// Sets of numbers as automata over their decimal spellings (no exponents). Whether a spelling is
// in a set depends on its value alone: 1, 1.0 and 1.00 are in or out together, so that complements
// are complements of values.

#include <functional>
#include <map>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "engine/constraint/regex.h"
#include "engine/constraint/schema_shape.h"

namespace alcca {
namespace {

// Where in a number a spelling is. What was read before the point and behind it is summed up by
// two small numbers that the kind of set chooses.
struct Place {
  enum Part : uint8_t { kStart, kSign, kZero, kWhole, kPoint, kFraction };
  Part part = kStart;
  bool negative = false;
  uint32_t at = 0;  // Digits of the part, as far as they matter.
  uint32_t state = 0;
  auto operator<=>(const Place&) const = default;
};

// A set is told by what a digit does to (at, state) and by which states are in it.
struct Numbers {
  std::function<void(Place*, uint32_t digit)> whole;  // A digit before the point.
  std::function<void(Place*)> point;                  // Whole digits are over.
  std::function<void(Place*, uint32_t digit)> fraction;
  std::function<bool(const Place&)> contains;  // After point() and all digits.
};

bool IsNumber(const Place& place) {
  return place.part == Place::kZero || place.part == Place::kWhole ||
         place.part == Place::kFraction;
}

// The place after `c`; false if no number goes on so.
bool Advance(const Numbers& numbers, char c, Place* place) {
  const bool digit = c >= '0' && c <= '9';
  const auto value = static_cast<uint32_t>(c - '0');
  switch (place->part) {
    case Place::kStart:
      if (c == '-') {
        place->part = Place::kSign;
        place->negative = true;
        return true;
      }
      [[fallthrough]];
    case Place::kSign:
      if (!digit) {
        return false;
      }
      place->part = c == '0' ? Place::kZero : Place::kWhole;
      numbers.whole(place, value);
      return true;
    case Place::kWhole:
      if (digit) {
        numbers.whole(place, value);
        return true;
      }
      [[fallthrough]];
    case Place::kZero:
      if (c != '.') {
        return false;
      }
      numbers.point(place);
      place->part = Place::kPoint;
      return true;
    case Place::kPoint:
    case Place::kFraction:
      if (!digit) {
        return false;
      }
      place->part = Place::kFraction;
      numbers.fraction(place, value);
      return true;
  }
  return false;
}

DfaPtr Build(const Numbers& numbers) {
  CharDfa::Table table;
  table.class_begin = {0, '-', '.', '/'};
  for (uint32_t c = '0'; c <= '9' + 1; ++c) {
    table.class_begin.push_back(c);
  }
  std::map<Place, uint32_t> ids = {{Place(), 1}};
  std::vector<Place> places = {{}, {}};
  table.start = 1;
  table.next.assign(table.class_begin.size(), 0);
  table.accept = {false};
  for (size_t s = 1; s < places.size(); ++s) {
    const Place from = places[s];
    Place end = from;
    if (from.part == Place::kZero || from.part == Place::kWhole) {
      numbers.point(&end);
    }
    table.accept.push_back(IsNumber(from) && numbers.contains(end));
    for (const uint32_t begin : table.class_begin) {
      Place next = from;
      const bool in_alphabet = begin == '-' || begin == '.' || (begin >= '0' && begin <= '9');
      if (!in_alphabet || !Advance(numbers, static_cast<char>(begin), &next)) {
        table.next.push_back(0);
        continue;
      }
      const auto [it, added] = ids.emplace(next, static_cast<uint32_t>(places.size()));
      if (added) {
        places.push_back(next);
      }
      table.next.push_back(it->second);
    }
  }
  return CharDfa::Make(std::move(table));
}

// Compares with a bound of the same sign: state is less, equal, greater so far.
enum Order : uint32_t { kEqual, kLess, kGreater };

Numbers Comparison(const Decimal& bound, std::function<bool(int)> in) {
  Numbers numbers;
  const std::string whole = bound.whole;
  const std::string fraction = bound.fraction;
  const auto compare = [](Place* place, uint32_t digit, uint32_t other) {
    if (place->state == kEqual && digit != other) {
      place->state = digit < other ? kLess : kGreater;
    }
  };
  numbers.whole = [=](Place* place, uint32_t digit) {
    if (place->at < whole.size()) {
      compare(place, digit, static_cast<uint32_t>(whole[place->at] - '0'));
      ++place->at;
    } else {
      place->at = static_cast<uint32_t>(whole.size()) + 1;  // More digits: greater.
      place->state = kGreater;
    }
  };
  numbers.point = [=](Place* place) {
    if (place->at < whole.size()) {
      place->state = kLess;
    }
    place->at = 0;
  };
  numbers.fraction = [=](Place* place, uint32_t digit) {
    if (place->at < fraction.size()) {
      compare(place, digit, static_cast<uint32_t>(fraction[place->at] - '0'));
      ++place->at;
    } else if (place->state == kEqual && digit != 0) {
      place->state = kGreater;
    }
    if (place->state != kEqual) {
      place->at = static_cast<uint32_t>(fraction.size());
    }
  };
  // What fraction digits are missing are zeros.
  const bool negative = bound.negative;
  const bool zero = bound.is_zero();
  numbers.contains = [=](const Place& place) {
    uint32_t order = place.state;
    if (order == kEqual && place.at < fraction.size()) {
      order = kLess;  // The fraction of a bound ends in no zero.
    }
    int sign = order == kEqual ? 0 : order == kLess ? -1 : 1;  // Of |x| - |bound|.
    if (zero && place.negative) {
      return in(sign == 0 ? 0 : -1);  // -0 is 0.
    }
    if (place.negative != negative) {
      return in(place.negative ? -1 : 1);
    }
    return in(negative ? -sign : sign);
  };
  return numbers;
}

// Of a non-zero bound and the spelling -0 or 0 with the other sign, the signs decide: 0 is above
// what is negative and below what is positive, whatever its own sign. For a negative bound and
// "-0": |x| < |bound|, so it is above, as it should be.
DfaPtr Compare(const Decimal& bound, std::function<bool(int)> in) {
  return Build(Comparison(bound, std::move(in)));
}

DfaPtr Spellings(std::string_view pattern) {
  DfaBudget budget;
  return *RegexMatchDfa(*ParseRegex(pattern), &budget);
}

}  // namespace

DfaPtr AllNumbers() {
  static const DfaPtr& kDfa = *new DfaPtr(Spellings("-?(0|[1-9][0-9]*)(\\.[0-9]+)?"));
  return kDfa;
}

DfaPtr IntegerValues() {
  static const DfaPtr& kDfa = *new DfaPtr(Spellings("-?(0|[1-9][0-9]*)(\\.0+)?"));
  return kDfa;
}

DfaPtr IntegerSpellings() {
  static const DfaPtr& kDfa = *new DfaPtr(Spellings("-?[1-9][0-9]*|0"));
  return kDfa;
}

DfaPtr CanonicalNumbers() {
  static const DfaPtr& kDfa =
      *new DfaPtr(Spellings("-?(0|[1-9][0-9]*)\\.[0-9]*[1-9]|(-?[1-9][0-9]*|0)(\\.0)?"));
  return kDfa;
}

DfaPtr NumbersAtLeast(const Decimal& bound, bool exclusive) {
  return Compare(bound, [exclusive](int order) { return order > 0 || (order == 0 && !exclusive); });
}

DfaPtr NumbersAtMost(const Decimal& bound, bool exclusive) {
  return Compare(bound, [exclusive](int order) { return order < 0 || (order == 0 && !exclusive); });
}

DfaPtr NumbersEqualTo(const Decimal& value) {
  return Compare(value, [](int order) { return order == 0; });
}

absl::StatusOr<DfaPtr> MultiplesOf(const Decimal& step, DfaBudget* budget) {
  constexpr uint64_t kMaxStep = 2000;
  const auto places = static_cast<uint32_t>(step.fraction.size());
  uint64_t modulus = 0;  // step * 10^places.
  for (const char c : step.whole + step.fraction) {
    modulus = modulus * 10 + static_cast<uint64_t>(c - '0');
    if (modulus > kMaxStep) {
      return absl::InvalidArgumentError(
          absl::StrCat("steps of more than ", kMaxStep, " units are not supported"));
    }
  }
  if (budget->cells < modulus * (places + 2) * 16) {
    return absl::InvalidArgumentError("its automata need too many states");
  }
  budget->cells -= modulus * (places + 2) * 16;
  const uint64_t m = modulus;
  const uint32_t bad = static_cast<uint32_t>(m);  // A digit behind the last place of the step.
  Numbers numbers;
  numbers.whole = [m](Place* place, uint32_t digit) {
    place->state = static_cast<uint32_t>((place->state * uint64_t{10} + digit) % m);
  };
  numbers.point = [](Place* place) { place->at = 0; };
  numbers.fraction = [=](Place* place, uint32_t digit) {
    if (place->at < places) {
      ++place->at;
      place->state = static_cast<uint32_t>((place->state * uint64_t{10} + digit) % m);
    } else if (digit != 0) {
      place->state = bad;
    }
  };
  numbers.contains = [=](const Place& place) {
    uint64_t state = place.state;
    if (state == bad) {
      return false;
    }
    for (uint32_t i = place.at; i < places; ++i) {
      state = state * 10 % m;
    }
    return state == 0;
  };
  // A modulus of 1 has the state 0 and `bad`, which is 1.
  return Build(numbers);
}

}  // namespace alcca
