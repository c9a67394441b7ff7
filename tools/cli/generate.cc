#include <unistd.h>

#include <cstdio>
#include <iostream>
#include <memory>
#include <string>

#include "CLI/CLI.hpp"
#include "tools/cli/commands.h"
#include "tools/cli/options.h"
#include "tools/cli/stream.h"

namespace alcca::cli {
namespace {

struct GenerateFlags {
  ConnectionOptions connection;
  SamplingOptions sampling;
  AttentionOptions attention;
  PrefixCacheOptions prefix_cache;
  StreamStyle style;
  std::string text;  // the prompt, or the user's message
  bool echo = false;
  std::string system, tools_file;

  void AddTo(CLI::App* command) {
    connection.AddTo(command);
    sampling.AddTo(command);
    attention.AddTo(command);
    prefix_cache.AddTo(command);
    command->add_flag("--stats", style.stats, "print timings and the cost of attention at the end");
    command->add_flag("--json", style.json, "print every message as one line of JSON");
  }
  int completions() const { return static_cast<int>(sampling.n.value_or(1)); }
};

int Generate(const GenerateFlags& options) {
  v1::GenerateRequest request;
  request.set_text(TextOrStdin(options.text));
  *request.mutable_sampling_params() = options.sampling.Params();
  *request.mutable_attention() = options.attention.Params();
  options.prefix_cache.Fill(&request);
  request.set_stream(true);
  if (options.echo && !options.style.json) {
    std::printf("%s", request.text().c_str());
    std::fflush(stdout);
  }
  const auto stub = options.connection.Stub();
  const auto context = options.connection.Context();
  return Report(PrintStream([&] { return stub->Generate(context.get(), request); },
                            options.completions(), options.style)
                    .status);
}

// One turn: the answer is added to the conversation.
grpc::Status Turn(const GenerateFlags& options, v1::Inference::Stub* stub, const std::string& text,
                  v1::ChatRequest* conversation) {
  v1::ChatMessage* message = conversation->add_messages();
  message->set_role("user");
  message->set_content(text);
  const auto context = options.connection.Context();
  StreamResult result = PrintStream([&] { return stub->Chat(context.get(), *conversation); },
                                    options.completions(), options.style);
  if (result.status.ok()) {
    message = conversation->add_messages();
    message->set_role("assistant");
    message->set_content(result.completions[0].text());
  } else {
    conversation->mutable_messages()->RemoveLast();  // the next turn may fare better
  }
  return result.status;
}

int Chat(const GenerateFlags& options) {
  v1::ChatRequest conversation;
  if (!options.system.empty()) {
    v1::ChatMessage* message = conversation.add_messages();
    message->set_role("system");
    message->set_content(options.system);
  }
  *conversation.mutable_sampling_params() = options.sampling.Params();
  *conversation.mutable_attention() = options.attention.Params();
  options.prefix_cache.Fill(&conversation);
  conversation.set_stream(true);
  const auto stub = options.connection.Stub();
  if (!options.text.empty()) {
    return Report(Turn(options, stub.get(), TextOrStdin(options.text), &conversation));
  }
  const bool terminal = isatty(STDIN_FILENO) != 0;
  if (terminal) {
    std::printf("Ctrl-D ends the conversation.\n");
  }
  int code = 0;
  for (std::string line;
       (terminal ? std::cout << "> " << std::flush : std::cout), std::getline(std::cin, line);) {
    if (!line.empty()) {
      code = Report(Turn(options, stub.get(), line, &conversation));
    }
  }
  return code;
}

}  // namespace

void AddGenerate(CLI::App* app, Run* run) {
  CLI::App* command = app->add_subcommand("generate", "Continue a text, streamed");
  auto options = std::make_shared<GenerateFlags>();
  command->add_option("prompt", options->text, "the text; - reads stdin")->required();
  command->add_flag("--echo", options->echo, "print the prompt before its continuation");
  options->AddTo(command);
  command->callback([options, run] { *run = [options] { return Generate(*options); }; });
}

void AddChat(CLI::App* app, Run* run) {
  CLI::App* command = app->add_subcommand("chat", "Talk: one message, or a conversation on stdin");
  auto options = std::make_shared<GenerateFlags>();
  command->add_option("message", options->text, "one message; - reads stdin; none: a conversation");
  command->add_option("--system", options->system, "system message");
  options->AddTo(command);
  command->callback([options, run] { *run = [options] { return Chat(*options); }; });
}

}  // namespace alcca::cli
