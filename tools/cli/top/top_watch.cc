#include "tools/cli/top/top_watch.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "tools/cli/top/http_get.h"

namespace alcca::cli {
namespace {

using grpc::health::v1::Health;
using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;

constexpr size_t kHistory = 240;  // intervals

double Now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

double UnixNow() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

void Remember(double value, std::vector<double>* history) {
  history->push_back(value);
  if (history->size() > kHistory) {
    history->erase(history->begin());
  }
}

std::unique_ptr<grpc::ClientContext> ContextOf(double timeout_seconds) {
  auto context = std::make_unique<grpc::ClientContext>();
  context->set_deadline(std::chrono::system_clock::now() +
                        std::chrono::microseconds(int64_t(timeout_seconds * 1e6)));
  return context;
}

TopLoad LoadOf(const v1::GetLoadsResponse& response) {
  TopLoad load;
  for (const v1::SchedulerLoad& one : response.loads()) {
    load.running += one.num_running_reqs();
    load.waiting += one.num_waiting_reqs();
    load.waiting_tokens += one.num_waiting_tokens();
    load.max_running += one.max_running_requests();
    load.kv_tokens += one.max_total_num_tokens();
    load.kv_usage += one.token_usage() / response.loads_size();
    load.generation_rate += one.gen_throughput();
  }
  return load;
}

// "cpu (avx512, 2 threads)" and the like: the first words say enough.
std::string Short(const std::string& device) {
  const std::string first = device.substr(0, device.find_first_of(",("));
  return first.substr(0, first.find_last_not_of(' ') + 1);
}

}  // namespace

std::string MetricsAddress(const std::string& target, uint32_t port) {
  std::string host = target;
  if (host.starts_with("dns:///")) {
    host = host.substr(7);
  }
  const size_t colon = host.rfind(':');
  const bool bracketed = host.starts_with("[");
  if (port == 0 || colon == std::string::npos || colon == 0 ||
      (!bracketed && host.find(':') != colon) || host.find('/') != std::string::npos) {
    return "";
  }
  return absl::StrCat(host.substr(0, colon), ":", port);
}

TopWatch::TopWatch(const ConnectionOptions& connection, TopSource source, double timeout_seconds)
    : connection_([&] {
        ConnectionOptions own = connection;
        own.target = source.target;
        return own;
      }()),
      source_(std::move(source)),
      timeout_seconds_(timeout_seconds),
      metrics_address_(source_.metrics) {
  view_.name = source_.target.empty() ? source_.metrics : source_.target;
}

grpc::Status TopWatch::AskState(TopSample* sample) {
  const auto inference = v1::Inference::NewStub(channel_);
  v1::GetServerInfoResponse info;
  grpc::Status status = inference->GetServerInfo(ContextOf(timeout_seconds_).get(), {}, &info);
  if (!status.ok()) {
    return status;
  }
  sample->uptime = info.uptime_seconds();
  sample->version = info.version();
  if (source_.metrics.empty()) {
    metrics_address_ = MetricsAddress(source_.target, info.metrics_port());
  }
  const auto health = Health::NewStub(channel_);
  const auto serving = [&](const char* service) {
    HealthCheckRequest request;
    request.set_service(service);
    HealthCheckResponse response;
    status = health->Check(ContextOf(timeout_seconds_).get(), request, &response);
    return status.ok() && response.status() == HealthCheckResponse::SERVING;
  };
  const bool ready = serving("readiness");
  if (!status.ok()) {
    return status;
  }
  const bool live = serving("liveness");
  sample->state = info.is_paused() ? TopState::kDraining
                  : live           ? (ready ? TopState::kServing : TopState::kUnready)
                                   : TopState::kStalled;
  return status;
}

// UNAVAILABLE while the model loads: there is nothing to say yet.
void TopWatch::AskIdentity(TopSample* sample) {
  const auto inference = v1::Inference::NewStub(channel_);
  v1::GetModelInfoResponse model;
  if (inference->GetModelInfo(ContextOf(timeout_seconds_).get(), {}, &model).ok()) {
    sample->model = model.served_model_name();
    sample->weights = model.weight_dtype();
    sample->device = Short(model.device());
  }
  v1::GetLoadsResponse loads;
  if (inference->GetLoads(ContextOf(timeout_seconds_).get(), {}, &loads).ok()) {
    sample->load = LoadOf(loads);
  } else if (sample->state == TopState::kStalled) {
    sample->state = TopState::kLoading;  // nothing can stall yet
  }
}

void TopWatch::AskGrpc(TopSample* sample) {
  if (channel_ == nullptr) {
    channel_ = connection_.Channel();
  }
  const grpc::Status status = AskState(sample);
  if (!status.ok()) {
    sample->state = TopState::kDown;
    sample->problem = status.error_message();
    channel_ = nullptr;  // a new one tries at once, where this one would back off for up to minutes
    return;
  }
  AskIdentity(sample);
}

void TopWatch::AskMetrics(TopSample* sample) const {
  if (metrics_address_.empty()) {
    sample->problem = "it has no metrics endpoint that --target leads to: no rates, no latencies";
    return;
  }
  const auto page = HttpGet(metrics_address_, "/metrics", timeout_seconds_, kMaxMetricsBytes);
  absl::Status status = page.status();
  if (page.ok()) {
    const auto samples = ParsePrometheusText(*page);
    const auto figures = samples.ok() ? ReadFigures(*samples) : samples.status();
    status = figures.status();
    if (figures.ok()) {
      sample->figures = *figures;
    }
  }
  if (!status.ok()) {
    sample->problem =
        absl::StrCat("metrics at ", metrics_address_, ": ", std::string(status.message()));
  }
}

void TopWatch::Sample() {
  TopSample sample;
  if (!source_.target.empty()) {
    AskGrpc(&sample);
  }
  if (sample.state != TopState::kDown) {
    AskMetrics(&sample);
  }
  sample.seconds = Now();
  if (source_.target.empty()) {
    sample.state = sample.figures ? TopState::kUp : TopState::kDown;
    if (sample.figures && sample.figures->process_start > 0) {
      sample.uptime = std::max(0., UnixNow() - sample.figures->process_start);
    }
  }
  Take(std::move(sample));
}

void TopWatch::Take(TopSample sample) {
  const std::lock_guard lock(mutex_);
  view_.rates.reset();
  if (sample.figures) {
    if (last_figures_ && sample.seconds > last_seconds_) {
      view_.rates = Between(*last_figures_, *sample.figures, sample.seconds - last_seconds_);
    }
    last_figures_ = sample.figures;
    last_seconds_ = sample.seconds;
  }
  const double load_rate = sample.load ? sample.load->generation_rate : 0;
  Remember(view_.rates ? view_.rates->generation_tokens : load_rate, &view_.generation_history);
  Remember(view_.rates ? view_.rates->prompt_tokens : 0, &view_.prompt_history);
  view_.sample = std::move(sample);
}

TopDaemon TopWatch::View() const {
  const std::lock_guard lock(mutex_);
  return view_;
}

}  // namespace alcca::cli
