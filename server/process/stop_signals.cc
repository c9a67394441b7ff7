#include "server/process/stop_signals.h"

#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <thread>

namespace alcca {
namespace {

std::atomic<bool> next_signal_drains{false};
std::atomic<int> signal_taken{0};
sem_t stop_asked;

// Async-signal-safe.
extern "C" void OnStopSignal(int signal) {
  if (!next_signal_drains.exchange(false)) {
    _exit(128 + signal);
  }
  signal_taken = signal;
  sem_post(&stop_asked);
}

void InstallHandlers() {
  sem_init(&stop_asked, 0, 0);
  struct sigaction action = {};
  action.sa_handler = OnStopSignal;
  action.sa_flags = SA_RESTART;
  sigaction(SIGTERM, &action, nullptr);
  sigaction(SIGINT, &action, nullptr);
  signal(SIGPIPE, SIG_IGN);
}

}  // namespace

int RunBesideStopSignals(const std::function<int()>& daemon) {
  InstallHandlers();
  sigset_t stop_signals, before;
  sigemptyset(&stop_signals);
  sigaddset(&stop_signals, SIGTERM);
  sigaddset(&stop_signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &stop_signals, &before);  // the new thread inherits it
  int code = 0;
  std::thread worker([&] { code = daemon(); });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  worker.join();
  return code;
}

void DrainOnNextStopSignal() {
  next_signal_drains = true;
}

int AwaitStopSignal() {
  while (sem_wait(&stop_asked) != 0) {  // EINTR
  }
  return signal_taken;
}

}  // namespace alcca
