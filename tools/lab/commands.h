#pragma once

// The lab's commands. As tools/cli/commands.h: each adds its subcommand to `app`, and parsing it
// sets `*run`, whose result is the exit code: 0, or the canonical status code of what failed.

#include <functional>

namespace CLI {
class App;
}

namespace alcca::lab {

using Run = std::function<int()>;

void AddExplain(CLI::App* app, Run* run);
void AddFidelity(CLI::App* app, Run* run);
void AddCalibrate(CLI::App* app, Run* run);
void AddSize(CLI::App* app, Run* run);

}  // namespace alcca::lab
