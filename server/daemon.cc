#include "server/daemon.h"

#include <grpcpp/ext/proto_server_reflection_plugin.h>

#include <chrono>
#include <cstdio>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "kernels/device_fault.h"
#include "server/logging.h"
#include "server/process/probe_judge.h"
#include "server/process/tls.h"

namespace alcca {
namespace {

// For NOT_SERVING and the log to leave before a process ends whose device failed.
constexpr std::chrono::milliseconds kFaultGrace{200};
constexpr std::chrono::seconds kLastMessages{2};  // to leave after a drain

void SetChannelArguments(const ServerConfig& config, grpc::ServerBuilder* builder) {
  builder->SetMaxReceiveMessageSize(static_cast<int>(config.max_message_bytes));
  builder->AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);  // a second daemon must fail, not share
  builder->AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, kMaxMetadataBytes);
  builder->AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS,
                              static_cast<int>(config.max_concurrent_streams));
  // Dead peers are found within 40 s; clients may ping every 10 s, also while a long prompt is
  // read.
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, 30000);
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10000);
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder->AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 10000);
}

double UnixSeconds() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration<double>(now).count();
}

// With a warning where the certificate ends within two weeks, or has.
void LogTls(const absl::StatusOr<TlsMaterial>& read) {
  if (!read.ok()) {
    Log(LogLevel::kError, "TLS files changed and cannot be used: the old ones stay in use",
        {{"error", std::string(read.status().message())}});
    return;
  }
  const double days =
      std::chrono::duration<double>(read->not_after - std::chrono::system_clock::now()).count() /
      86400;
  Log(days > 14 ? LogLevel::kInfo : LogLevel::kWarn, "TLS certificate in use",
      {{"subject", read->subject},
       {"days_left", days},
       {"client_certificates", read->client_ca.empty() ? "not asked for" : "required"}});
}

Clock::duration Duration(double seconds) {
  return std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
}

std::string HostOf(const std::string& address) {
  return address.substr(0, address.rfind(':'));
}

}  // namespace

Daemon::Daemon(const ServerConfig& config)
    : config_(config),
      metrics_(ALCCA_VERSION),
      delivery_(&metrics_),
      intake_(&delivery_, &metrics_, config.max_undelivered_bytes),
      service_(&intake_, &delivery_) {
  health_.SetListener(
      [this](const std::string& service, bool serving) { metrics_.Health(service, serving); });
}

absl::Status Daemon::Listen() {
  if (!config_.metrics_listen.empty()) {
    ASSIGN_OR_RETURN(const int port, metrics_.Listen(config_.metrics_listen));
    service_.SetMetricsPort(port);
    metrics_address_ = absl::StrCat(HostOf(config_.metrics_listen), ":", port);
  }
  if (config_.reflection) {
    grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  }
  grpc::EnableDefaultHealthCheckService(false);  // ours has List and truthful unknown names
  grpc::ServerBuilder builder;
  SetChannelArguments(config_, &builder);
  ASSIGN_OR_RETURN(credentials_, Credentials());
  builder.AddListeningPort(config_.listen, credentials_, &grpc_port_);
  builder.RegisterService(&service_);
  builder.RegisterService(&health_);
  server_ = builder.BuildAndStart();
  if (server_ == nullptr || grpc_port_ == 0) {
    return absl::UnavailableError(absl::StrCat("listen: cannot listen on ", config_.listen,
                                               " (is another alccad running there?)"));
  }
  return config_.health_listen.empty() ? absl::OkStatus() : ListenForHealth();
}

absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> Daemon::Credentials() {
  if (config_.tls_cert.empty()) {
    return grpc::InsecureServerCredentials();
  }
  return ReloadingTls(
      {.cert = config_.tls_cert, .key = config_.tls_key, .client_ca = config_.tls_client_ca},
      LogTls);
}

// A server of its own: every service of a gRPC server answers on all of its ports, and this port
// must not lead around TLS.
absl::Status Daemon::ListenForHealth() {
  grpc::ServerBuilder builder;
  SetChannelArguments(config_, &builder);
  builder.AddListeningPort(config_.health_listen, grpc::InsecureServerCredentials(), &health_port_);
  builder.RegisterService(&health_);
  health_server_ = builder.BuildAndStart();
  if (health_server_ == nullptr || health_port_ == 0) {
    return absl::UnavailableError(absl::StrCat("health_listen: cannot listen on ",
                                               config_.health_listen,
                                               " (is another alccad running there?)"));
  }
  return absl::OkStatus();
}

absl::Status Daemon::Load(ModelPlan plan) {
  SetDeviceFaultHandler([this](std::string_view message) { OnDeviceFault(message); });
  ASSIGN_OR_RETURN(model_, LoadModel(config_, std::move(plan), &delivery_));
  const ServingFacts facts = Facts();
  metrics_.Serving(facts);
  metrics_.LastTurn(UnixSeconds());
  if (config_.metrics_vllm_names) {
    metrics_.AddVllmNames(facts);
  }
  if (facts.device.starts_with("cuda")) {
    if (absl::StatusOr<std::unique_ptr<DeviceTelemetry>> device = OpenNvml(); device.ok()) {
      metrics_.AddDevice(*std::move(device));
    } else {
      Log(LogLevel::kWarn, "no metrics of the GPU", {{"reason", device.status().ToString()}});
    }
  }
  return absl::OkStatus();
}

ServingFacts Daemon::Facts() const {
  const v1::GetModelInfoResponse& info = model_->serving.model_info;
  return {.load_seconds = model_->load_seconds,
          .weight_bytes = model_->weight_bytes,
          .kv_bytes = static_cast<int64_t>(info.kv_cache_bytes()),
          .kv_pages = model_->kv_pages,
          .page_tokens = config_.page_tokens,
          .max_context = model_->serving.rules.max_context,
          .max_num_seqs = config_.max_num_seqs,
          .max_batch_tokens = config_.max_batch_tokens,
          .max_queued_requests = config_.max_queued_requests,
          .max_queued_tokens = config_.max_queued_tokens,
          .prefix_cache = config_.prefix_cache_bytes != 0,
          .recall_bar = config_.attention_recall_bar,
          .model = info.served_model_name(),
          .device = info.device(),
          .weight_dtype = info.weight_dtype(),
          .attention = AttentionModeName(model_->serving.rules.attention.mode)};
}

void Daemon::Serve(std::function<void()> on_progress) {
  intake_.Serve(&model_->serving);
  watchdog_ = std::thread([this, on_progress = std::move(on_progress)] { Watchdog(on_progress); });
  health_.SetLive(true);
  health_.SetReady(true);
  // The one line on stdout that scripts may rely on (docs/operations.md).
  const std::string health =
      health_server_ == nullptr
          ? ""
          : absl::StrCat(" health=", HostOf(config_.health_listen), ":", health_port_);
  std::printf("listening grpc=%s:%d metrics=%s%s\n", HostOf(config_.listen).c_str(), grpc_port_,
              metrics_address_.c_str(), health.c_str());
  std::fflush(stdout);
  Log(LogLevel::kInfo, "serving",
      {{"grpc", absl::StrCat(HostOf(config_.listen), ":", grpc_port_)},
       {"metrics", metrics_address_}});
}

void Daemon::OnDeviceFault(std::string_view message) {
  Log(LogLevel::kError, "device fault: the process ends", {{"error", std::string(message)}});
  intake_.SetDraining();
  health_.SetReady(false);
  health_.SetLive(false);
  std::this_thread::sleep_for(kFaultGrace);
}

void Daemon::Watchdog(const std::function<void()>& on_progress) {
  std::unique_lock lock(watchdog_mutex_);
  bool live = true, admits = true;
  ProbeJudge judge({.stall_seconds = config_.watchdog_seconds,
                    .full_seconds = config_.unready_after_full_seconds,
                    .max_queued_requests = config_.max_queued_requests,
                    .max_queued_tokens = config_.max_queued_tokens});
  while (!watchdog_stop_.wait_for(lock, std::chrono::seconds(1), [this] { return stopping_; })) {
    const EngineLoad load = model_->engine->Load();
    const TimePoint now = Clock::now();
    const double silent = Seconds(load.last_step, now);
    metrics_.LastTurn(UnixSeconds() - silent);
    delivery_.ResetStuck(now - Duration(config_.undelivered_timeout_seconds));
    const ProbeJudge::Verdict verdict = judge.Judge(load, now);
    if (verdict.live != live) {
      Log(verdict.live ? LogLevel::kInfo : LogLevel::kError,
          verdict.live ? "the step loop goes on" : "the step loop makes no progress",
          {{"seconds_since_step", silent}, {"running", load.running}, {"waiting", load.waiting}});
      health_.SetLive(live = verdict.live);
    }
    if (verdict.admits != admits) {
      Log(verdict.admits ? LogLevel::kInfo : LogLevel::kWarn,
          verdict.admits ? "the queue has room: ready again" : "the queue stays full: not ready",
          {{"waiting", load.waiting}, {"waiting_tokens", load.waiting_tokens}});
      health_.SetAdmitting(admits = verdict.admits);
    }
    if (live) {
      on_progress();
    }
  }
}

void Daemon::Drain() {
  intake_.SetDraining();  // first: who hears NOT_SERVING and calls all the same is refused
  health_.SetReady(false);
  if (model_ != nullptr) {
    Engine& engine = *model_->engine;
    engine.Drain();
    Log(LogLevel::kInfo, "draining", {{"active", delivery_.active()}});
    const TimePoint end = Clock::now() + Duration(config_.drain_timeout_seconds);
    while (delivery_.active() > 0 && Clock::now() < end) {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    if (const int32_t left = delivery_.active(); left > 0) {
      Log(LogLevel::kWarn, "drain timed out: ending what is left", {{"active", left}});
    }
    delivery_.EndAbortedWith(
        absl::UnavailableError("the server shut down before the request finished"));
    engine.Stop();
  }
  health_.Shutdown();
  // The last messages have a while to leave.
  const auto end = std::chrono::system_clock::now() + kLastMessages;
  for (grpc::Server* server : {server_.get(), health_server_.get()}) {
    if (server != nullptr) {
      server->Shutdown(end);
      server->Wait();
    }
  }
}

Daemon::~Daemon() {
  SetDeviceFaultHandler(nullptr);
  {
    const std::lock_guard lock(watchdog_mutex_);
    stopping_ = true;
  }
  watchdog_stop_.notify_all();
  if (watchdog_.joinable()) {
    watchdog_.join();
  }
  health_.Shutdown();  // after a failed start, too: an open Watch would keep the server up
  if (server_ != nullptr) {
    server_->Shutdown(std::chrono::system_clock::now());
  }
  if (health_server_ != nullptr) {
    health_server_->Shutdown(std::chrono::system_clock::now());
  }
}

}  // namespace alcca
