#pragma once

// One function per command. It adds its subcommand to `app`. Parsing the subcommand sets `*run`;
// main calls it, and its result is the exit code.

#include <functional>

namespace CLI {
class App;
}

namespace alcca::cli {

using Run = std::function<int()>;

void AddGenerate(CLI::App* app, Run* run);
void AddChat(CLI::App* app, Run* run);
void AddTokenize(CLI::App* app, Run* run);
void AddDetokenize(CLI::App* app, Run* run);
void AddInfo(CLI::App* app, Run* run);
void AddHealth(CLI::App* app, Run* run);
void AddVerify(CLI::App* app, Run* run);
void AddBench(CLI::App* app, Run* run);
void AddEval(CLI::App* app, Run* run);
void AddTasks(CLI::App* app, Run* run);
void AddTop(CLI::App* app, Run* run);

}  // namespace alcca::cli
