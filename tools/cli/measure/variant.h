#pragma once

// Ways to attend, by name, which eval and the tasks compare.

#include <string>
#include <vector>

#include "alcca/v1/inference.pb.h"
#include "tools/cli/measure/cost.h"

namespace alcca::cli {

struct Variant {
  std::string name;
  v1::AttentionParams attention;
  bool matched = false;  // MatchBudget fills it in once the variant before it is measured
};

// With its defaults multipole would be dense here: contexts are below its dense_below, and of a
// thousand tokens its 320 newest keys are a third and its 1,024 rows are all.
inline constexpr const char* kMultipole = "multipole:dense_below=0:recent=64:max_keys=256";

// What --help says of the names.
inline constexpr const char* kVariantHelp =
    "as dense,alcca: modes of the server, with fields as in window:window=12; exact and tree are "
    "alcca with that search; matched is the newest keys alone, with the budget of the one before";

// The grammar of attention/settings.h (Add), and `matched`. `base` holds for knobs that are not
// named. Returns what is wrong, or "".
std::string ParseVariant(const std::string& text, const v1::AttentionParams& base, Variant* out);
// A list of them, in which matched may not come first.
std::string ParseVariants(const std::vector<std::string>& texts, const v1::AttentionParams& base,
                          std::vector<Variant>* out);

// The control that far keys must beat: the newest keys alone, with the kernel and the budget of the
// variant before it. After alcca it is the same formula with every distance spent on the newest
// keys (after exact search, on k of them). After softmax modes it is the window that computes no
// fewer interactions than `cost` counted, index included. A window needs no index, so it gets the
// index' interactions as keys.
void MatchBudget(const v1::AttentionParams& applied, const Cost& cost, Variant* variant);

}  // namespace alcca::cli
