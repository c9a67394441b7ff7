#pragma once

// One daemon, asked again and again: gRPC for state and identity, its metrics page for figures.

#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "alcca/v1/inference.grpc.pb.h"
#include "tools/cli/options.h"
#include "tools/cli/top/top_view.h"

namespace alcca::cli {

// Where a daemon is. At least one of both.
struct TopSource {
  std::string target;   // gRPC host:port, or empty
  std::string metrics;  // host:port; empty: the target's host, at the port that the daemon tells
};

class TopWatch {
 public:
  // `connection` says how to connect; its target is not read.
  TopWatch(const ConnectionOptions& connection, TopSource source, double timeout_seconds);

  // Asks now and derives the rates; takes up to four timeouts. One thread at a time.
  void Sample();
  // From any thread.
  TopDaemon View() const;

 private:
  void AskGrpc(TopSample* sample);
  void AskMetrics(TopSample* sample) const;
  grpc::Status AskState(TopSample* sample);
  void AskIdentity(TopSample* sample);
  void Take(TopSample sample);

  const ConnectionOptions connection_;
  const TopSource source_;
  const double timeout_seconds_;
  std::shared_ptr<grpc::Channel> channel_;
  std::string metrics_address_;  // known once the daemon has told its port

  mutable std::mutex mutex_;
  TopDaemon view_;
  // The last figures there were, which rates are taken from.
  std::optional<TopFigures> last_figures_;
  double last_seconds_ = 0;
};

// "10.0.0.7:50051", "dns:///host:50051", "[::1]:50051" at another port; empty for other schemes.
std::string MetricsAddress(const std::string& target, uint32_t port);

}  // namespace alcca::cli
