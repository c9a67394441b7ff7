#pragma once

// The flags of attention, from the vocabulary, for the client's command lines and the lab's.

#include <string>

#include "attention/settings.h"

namespace CLI {
class App;
}

namespace alcca {

// --mode and --search; --search alone.
void AddModeFlags(CLI::App* app, AttentionSettings* settings);
void AddSearchFlag(CLI::App* app, AttentionSettings* settings);
// One of RequestKnobs(), as --tree-distances. A value out of range ends parsing.
void AddKnobFlag(CLI::App* app, const Knob& knob, AttentionSettings* settings);
// All of RequestKnobs().
void AddKnobFlags(CLI::App* app, AttentionSettings* settings);

}  // namespace alcca
