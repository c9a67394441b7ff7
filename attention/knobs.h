#pragma once

// Every number that can be set about attention, once: a member of AttentionScalars and a row of
// kKnobs. The name of a row is the field of v1.AttentionParams, the key in alcca.json, the key
// below `attention` in the daemon's YAML, the word in lists of modes, and, with dashes, the flag.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <initializer_list>
#include <iterator>
#include <span>
#include <string>
#include <string_view>
#include <variant>

#include "attention/params.h"

namespace alcca {

// Modes, as the table names them.
class ModeSet {
 public:
  constexpr ModeSet(std::initializer_list<AttentionMode> modes) {
    for (const AttentionMode mode : modes) {
      bits_ |= 1u << static_cast<int>(mode);
    }
  }
  constexpr bool Has(AttentionMode mode) const {
    return (bits_ >> static_cast<int>(mode) & 1u) != 0;
  }

 private:
  uint32_t bits_ = 0;
};

using KnobField = std::variant<float AttentionScalars::*, int32_t AttentionScalars::*,
                               int64_t AttentionScalars::*>;

// How a key of the daemon's configuration said nothing until version 0.1: by 0, or by a negative
// number. Read for one version more, with a warning.
enum class OldSilence : uint8_t { kNone, kZero, kNegative };

struct Knob {
  const char* name;
  const char* help;  // one line
  KnobField field;
  double least, most;  // [least, most]; (least, most] if `above`
  ModeSet modes;       // where it means something
  bool above = false;
  bool of_tree = false;        // means something with KeySearch::kTree alone
  bool has_table = false;      // alcca.json may give it for each layer and query head
  bool operators_own = false;  // the daemon's configuration alone may set it
  OldSilence old_silence = OldSilence::kNegative;
};

// The knobs that anyone may set come first, the operator's own last.
inline constexpr Knob kKnobs[] = {
    {.name = "k",
     .help = "alcca: nearest keys of a query",
     .field = &AttentionScalars::k,
     .least = 1,
     .most = kKeysMax,
     .modes = {AttentionMode::kAlcca},
     .has_table = true,
     .old_silence = OldSilence::kZero},
    {.name = "theta",
     .help = "alcca: a query within this distance of the keys' mean takes the mean value",
     .field = &AttentionScalars::theta,
     .least = 0,
     .most = 1e9,
     .modes = {AttentionMode::kAlcca},
     .has_table = true},
    {.name = "near_share",
     .help = "alcca: above 0, theta of each head follows this quantile of its distances",
     .field = &AttentionScalars::near_share,
     .least = 0,
     .most = 1,
     .modes = {AttentionMode::kAlcca}},
    {.name = "epsilon",
     .help = "alcca: added to each distance before the reciprocal",
     .field = &AttentionScalars::epsilon,
     .least = 1e-30,
     .most = 1e9,
     .modes = {AttentionMode::kAlcca},
     .old_silence = OldSilence::kZero},
    {.name = "tree_distances",
     .help = "alcca, tree search: distances computed for a far query, at most",
     .field = &AttentionScalars::tree_distances,
     .least = 1,
     .most = kKeysMax,
     .modes = {AttentionMode::kAlcca},
     .of_tree = true,
     .old_silence = OldSilence::kZero},
    {.name = "tree_recent",
     .help = "alcca, tree search: of these, the newest keys; at most tree_distances",
     .field = &AttentionScalars::tree_recent,
     .least = 0,
     .most = kKeysMax,
     .modes = {AttentionMode::kAlcca},
     .of_tree = true},
    {.name = "mass",
     .help = "multipole: share of the softmax mass, by estimate, that ends reading; 1: never",
     .field = &AttentionScalars::mass,
     .least = 0,
     .most = 1,
     .modes = {AttentionMode::kMultipole}},
    {.name = "max_keys",
     .help = "multipole: rows read of old keys; 0: no bound",
     .field = &AttentionScalars::max_keys,
     .least = 0,
     .most = kWindowMax,
     .modes = {AttentionMode::kMultipole}},
    {.name = "dense_below",
     .help = "multipole: contexts up to this many tokens are answered by dense",
     .field = &AttentionScalars::dense_below,
     .least = 0,
     .most = kWindowMax,
     .modes = {AttentionMode::kMultipole}},
    {.name = "sinks",
     .help = "multipole: first keys of the context, always read",
     .field = &AttentionScalars::sinks,
     .least = 0,
     .most = kAlwaysReadMax,
     .modes = {AttentionMode::kMultipole}},
    {.name = "recent",
     .help = "multipole: newest keys, always read at least",
     .field = &AttentionScalars::recent,
     .least = 1,
     .most = kAlwaysReadMax,
     .modes = {AttentionMode::kMultipole}},
    {.name = "window",
     .help = "window: newest keys that a query sees, its own included",
     .field = &AttentionScalars::window,
     .least = 1,
     .most = kWindowMax,
     .modes = {AttentionMode::kWindow},
     .old_silence = OldSilence::kZero},
    {.name = "sparsity",
     .help = "topk: share of the keys that is kept",
     .field = &AttentionScalars::sparsity,
     .least = 0,
     .most = 1,
     .modes = {AttentionMode::kTopK},
     .above = true,
     .old_silence = OldSilence::kZero},
    {.name = "recall_sample",
     .help = "alcca, tree search: share of queries checked by exact search",
     .field = &AttentionScalars::recall_sample,
     .least = 0,
     .most = 1,
     .modes = {AttentionMode::kAlcca},
     .of_tree = true,
     .operators_own = true,
     .old_silence = OldSilence::kNone},
    {.name = "error_sample",
     .help = "multipole: share of queries compared with dense's output",
     .field = &AttentionScalars::error_sample,
     .least = 0,
     .most = 1,
     .modes = {AttentionMode::kMultipole},
     .operators_own = true,
     .old_silence = OldSilence::kNone},
    {.name = "index_bytes_max",
     .help = "multipole: bytes of one sequence's clusters; beyond, it is answered by dense; 0: no "
             "bound",
     .field = &AttentionScalars::index_bytes_max,
     .least = 0,
     .most = 1e15,
     .modes = {AttentionMode::kMultipole},
     .operators_own = true,
     .old_silence = OldSilence::kNone},
};
inline constexpr size_t kKnobCount = std::size(kKnobs);

// The row of a member.
constexpr const Knob& KnobOf(KnobField field) {
  for (const Knob& knob : kKnobs) {
    if (knob.field == field) {
      return knob;
    }
  }
  std::abort();  // every member that is not an enum has a row
}

// Those of requests, alcca.json and command lines; all but the operator's own.
std::span<const Knob> RequestKnobs();
// Null if there is none of this name.
const Knob* FindKnob(std::string_view name);

bool IsInteger(const Knob& knob);
double Get(const Knob& knob, const AttentionScalars& params);
// `value` is in the knob's range.
void Put(const Knob& knob, double value, AttentionScalars* params);
// The value that holds when nobody says otherwise.
double Default(const Knob& knob);

// "" if the knob takes `value`, else the rule that it breaks: "must be from 1 to 2048, is 0".
std::string RuleBrokenBy(const Knob& knob, double value);
// The bounds in words: "1 to 2048", "above 0 to 1".
std::string Bounds(const Knob& knob);
// As few digits as read back as `value`.
std::string Digits(const Knob& knob, double value);
// "tree_distances" as a flag: "--tree-distances".
std::string FlagOf(const Knob& knob);

// Whether the knob shapes what attention with `params` does: its mode and search are asked, and
// near_share above 0 stands in the place of theta.
bool Applies(const Knob& knob, const AttentionParams& params);
// Whether a table stands in the place of the number.
bool IsPerHead(const Knob& knob, const AttentionParams& params);

}  // namespace alcca
