// `alcca`: the client (tools/cli), and the instruments that load a model themselves (tools/lab).
// Exit codes: 0, the gRPC status code of what failed (docs/cli.md), or 64 for a wrong command line.

#include <string>

#include "CLI/CLI.hpp"
#include "tools/cli/commands.h"
#include "tools/lab/commands.h"

int main(int argc, char** argv) {
  constexpr int kExitUsage = 64;
  CLI::App app("Client of alccad, the inference daemon with adjustable attention", "alcca");
  app.set_version_flag("--version", std::string("alcca ") + ALCCA_VERSION);
  app.require_subcommand(1);
  alcca::cli::Run run;
  alcca::cli::AddGenerate(&app, &run);
  alcca::cli::AddChat(&app, &run);
  alcca::cli::AddTokenize(&app, &run);
  alcca::cli::AddDetokenize(&app, &run);
  alcca::cli::AddInfo(&app, &run);
  alcca::cli::AddHealth(&app, &run);
  alcca::cli::AddVerify(&app, &run);
  alcca::cli::AddBench(&app, &run);
  alcca::cli::AddEval(&app, &run);
  alcca::cli::AddTasks(&app, &run);
  alcca::cli::AddTop(&app, &run);
  alcca::lab::AddExplain(&app, &run);
  alcca::lab::AddFidelity(&app, &run);
  alcca::lab::AddCalibrate(&app, &run);
  alcca::lab::AddSize(&app, &run);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kExitUsage;
  }
  return run();
}
