// top: a live view of one or many daemons.

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "CLI/CLI.hpp"
#include "tools/cli/commands.h"
#include "tools/cli/options.h"
#include "tools/cli/top/terminal.h"
#include "tools/cli/top/top_view.h"
#include "tools/cli/top/top_watch.h"

namespace alcca::cli {
namespace {

constexpr size_t kMaxDaemons = 64;

struct TopOptions {
  ConnectionOptions connection;
  std::vector<std::string> targets, metrics;
  double interval_seconds = 1;
  bool once = false, json = false;
};

using Watches = std::vector<std::unique_ptr<TopWatch>>;

Watches MakeWatches(const TopOptions& options) {
  const double timeout =
      options.connection.timeout_seconds > 0 ? options.connection.timeout_seconds : 2.0;
  Watches watches;
  const auto add = [&](const std::string& target, const std::string& metrics) {
    watches.push_back(std::make_unique<TopWatch>(
        options.connection, TopSource{.target = target, .metrics = metrics}, timeout));
  };
  const bool default_target = options.targets.empty() && options.metrics.empty();
  for (const std::string& target :
       default_target ? std::vector<std::string>{options.connection.target} : options.targets) {
    add(target, "");
  }
  for (const std::string& metrics : options.metrics) {
    add("", metrics);
  }
  return watches;
}

TopFrame FrameOf(const Watches& watches, const TopOptions& options) {
  TopFrame frame;
  frame.interval_seconds = options.interval_seconds;
  for (const auto& watch : watches) {
    frame.daemons.push_back(watch->View());
  }
  return frame;
}

// Each daemon on its own thread, so that one that does not answer holds up nobody, not even a key.
class Samplers {
 public:
  Samplers(const Watches& watches, double interval_seconds) {
    for (const auto& watch : watches) {
      threads_.emplace_back([this, watch = watch.get(), interval_seconds] {
        std::unique_lock lock(mutex_);
        while (!stop_) {
          const auto next = std::chrono::steady_clock::now() +
                            std::chrono::microseconds(int64_t(interval_seconds * 1e6));
          lock.unlock();
          watch->Sample();
          Terminal::Wake();
          lock.lock();
          changed_.wait_until(lock, next, [this] { return stop_; });
        }
      });
    }
  }
  ~Samplers() {
    {
      const std::lock_guard lock(mutex_);
      stop_ = true;
    }
    changed_.notify_all();
    for (std::thread& thread : threads_) {
      thread.join();
    }
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool stop_ = false;
  std::vector<std::thread> threads_;
};

int Live(const TopOptions& options) {
  const Watches watches = MakeWatches(options);
  std::unique_ptr<Samplers> samplers;  // outlives the screen: joining may take a timeout
  {
    Terminal terminal;
    samplers = std::make_unique<Samplers>(watches, options.interval_seconds);
    size_t selected = 0;
    for (Terminal::Key key = Terminal::Key::kNone; key != Terminal::Key::kQuit;) {
      TopFrame frame = FrameOf(watches, options);
      frame.selected = selected;
      frame.keys = isatty(STDIN_FILENO) != 0;
      terminal.Show(RenderTop(frame, LookOfStdout()));
      key = terminal.Wait(options.interval_seconds);
      selected += key == Terminal::Key::kDown && selected + 1 < watches.size() ? 1 : 0;
      selected -= key == Terminal::Key::kUp && selected > 0 ? 1 : 0;
    }
  }
  return 0;
}

void SampleAll(const Watches& watches) {
  std::vector<std::thread> threads;
  for (const auto& watch : watches) {
    threads.emplace_back([watch = watch.get()] { watch->Sample(); });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
}

// 0 while somebody answers.
int Print(const Watches& watches, const TopOptions& options) {
  TopFrame frame = FrameOf(watches, options);
  if (options.json) {
    nlohmann::json line = nlohmann::json::array();
    for (const TopDaemon& daemon : frame.daemons) {
      line.push_back(TopJson(daemon));
    }
    std::printf("%s\n", line.dump().c_str());
  } else {
    TermLook look = LookOfStdout();
    look.height = 0;
    for (frame.selected = 0; frame.selected < frame.daemons.size(); ++frame.selected) {
      TopFrame one = frame;
      one.daemons = {frame.daemons[frame.selected]};
      one.selected = 0;
      std::vector<std::string> lines = RenderTop(one, look);
      lines.erase(lines.begin());  // the head: there is no screen to title
      for (const std::string& text : lines) {
        std::printf("%s\n", text.c_str());
      }
      std::printf("\n");
    }
  }
  std::fflush(stdout);
  const bool up = std::any_of(frame.daemons.begin(), frame.daemons.end(),
                              [](const TopDaemon& d) { return d.sample.state != TopState::kDown; });
  return up ? 0 : static_cast<int>(grpc::StatusCode::UNAVAILABLE);
}

// For scripts: no screen is taken, an interval a report.
int PrintUntilStopped(const TopOptions& options) {
  const Watches watches = MakeWatches(options);
  SampleAll(watches);
  int exit_code = 0;
  do {
    std::this_thread::sleep_for(std::chrono::microseconds(int64_t(options.interval_seconds * 1e6)));
    SampleAll(watches);
    exit_code = Print(watches, options);
  } while (!options.once && std::ferror(stdout) == 0);
  return exit_code;
}

}  // namespace

void AddTop(CLI::App* app, Run* run) {
  CLI::App* command = app->add_subcommand("top", "Watch daemons: load, latency, savings");
  auto options = std::make_shared<TopOptions>();
  options->connection.AddTo(command);
  command->remove_option(command->get_option("--target"));  // here it may be given many times
  command
      ->add_option("--target", options->targets,
                   "host:port of alccad; several, or given several times [" +
                       options->connection.target + "]")
      ->expected(1, static_cast<int>(kMaxDaemons));
  command
      ->add_option("--metrics", options->metrics,
                   "host:port of a metrics endpoint, for a daemon whose gRPC cannot be reached")
      ->expected(1, static_cast<int>(kMaxDaemons));
  command->add_option("--interval", options->interval_seconds, "seconds between samples")
      ->check(CLI::Range(.1, 3600.))
      ->capture_default_str();
  command->add_flag("--once", options->once, "two samples, one report, no screen");
  command->add_flag("--json", options->json, "a line of JSON each interval");
  command->callback([options, run] {
    if (options->targets.size() + options->metrics.size() > kMaxDaemons) {
      throw CLI::ValidationError("at most " + std::to_string(kMaxDaemons) + " daemons");
    }
    *run = [options] {
      const bool live = !options->once && !options->json && isatty(STDOUT_FILENO) != 0;
      return live ? Live(*options) : PrintUntilStopped(*options);
    };
  });
}

}  // namespace alcca::cli
