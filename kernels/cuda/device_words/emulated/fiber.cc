#include "kernels/cuda/device_words/emulated/fiber.h"

#include <sys/mman.h>

#include <cstdint>

#include "base/check.h"

#if defined(__SANITIZE_ADDRESS__)  // GCC
#define ALCCA_FIBER_ASAN 1
#elif defined(__has_feature)  // clang
#if __has_feature(address_sanitizer)
#define ALCCA_FIBER_ASAN 1
#endif
#endif
#ifdef ALCCA_FIBER_ASAN
#include <sanitizer/common_interface_defs.h>
#endif
#ifndef __x86_64__
#include <ucontext.h>
#endif

#ifdef __x86_64__
// Saves what a function must preserve, stores the stack pointer in *rdi, continues on rsi.
// swapcontext would do, with a system call for the signal mask at every switch.
extern "C" void alcca_switch_stack(void** save, void* next);
asm(R"(
.text
.globl alcca_switch_stack
.type alcca_switch_stack, @function
alcca_switch_stack:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size alcca_switch_stack, .-alcca_switch_stack
)");
#endif

namespace alcca::cuda_emulated::simt {
namespace {

// A fiber that starts finds itself here: nothing can be passed on a fresh stack.
constinit thread_local Fiber* starting = nullptr;

}  // namespace

struct Fiber::Context {
#ifdef ALCCA_FIBER_ASAN
  static constexpr size_t kStackBytes = size_t{256} << 10;
#else
  static constexpr size_t kStackBytes = size_t{64} << 10;
#endif
  void* stack = nullptr;
#ifdef __x86_64__
  void* fiber_sp = nullptr;
  void* owner_sp = nullptr;
#else
  ucontext_t fiber, owner;
#endif
#ifdef ALCCA_FIBER_ASAN
  void* fiber_fake_stack = nullptr;
  void* owner_fake_stack = nullptr;
  const void* owner_bottom = nullptr;
  size_t owner_size = 0;
#endif
};

Fiber::Fiber(void (*entry)(void*), void* argument)
    : entry_(entry), argument_(argument), context_(std::make_unique<Context>()) {
  void* stack = mmap(nullptr, Context::kStackBytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  ALCCA_CHECK(stack != MAP_FAILED);
  mprotect(stack, 4096, PROT_NONE);  // an overflow faults here
  context_->stack = stack;
  void (*const begin)() = [] { Main(starting); };
#ifdef __x86_64__
  auto* top = reinterpret_cast<uintptr_t*>(static_cast<char*>(stack) + Context::kStackBytes);
  top[-1] = 0;  // where `begin` would return to
  top[-2] = reinterpret_cast<uintptr_t>(begin);
  for (int i = 3; i <= 8; ++i) {
    top[-i] = 0;  // the six saved registers
  }
  context_->fiber_sp = top - 8;
#else
  getcontext(&context_->fiber);
  context_->fiber.uc_stack.ss_sp = stack;
  context_->fiber.uc_stack.ss_size = Context::kStackBytes;
  context_->fiber.uc_link = nullptr;
  makecontext(&context_->fiber, begin, 0);
#endif
}

Fiber::~Fiber() {
  munmap(context_->stack, Context::kStackBytes);
}

void Fiber::Main(Fiber* self) {
#ifdef ALCCA_FIBER_ASAN
  __sanitizer_finish_switch_fiber(nullptr, &self->context_->owner_bottom,
                                  &self->context_->owner_size);
#endif
  while (true) {
    self->entry_(self->argument_);
    self->finished_ = true;
    self->SwitchOut();
  }
}

void Fiber::Resume() {
  Context& c = *context_;
  finished_ = false;
  starting = this;
#ifdef ALCCA_FIBER_ASAN
  __sanitizer_start_switch_fiber(&c.owner_fake_stack, c.stack, Context::kStackBytes);
#endif
#ifdef __x86_64__
  alcca_switch_stack(&c.owner_sp, c.fiber_sp);
#else
  swapcontext(&c.owner, &c.fiber);
#endif
#ifdef ALCCA_FIBER_ASAN
  __sanitizer_finish_switch_fiber(c.owner_fake_stack, nullptr, nullptr);
#endif
}

void Fiber::Yield() {
  SwitchOut();
}

void Fiber::SwitchOut() {
  Context& c = *context_;
#ifdef ALCCA_FIBER_ASAN
  __sanitizer_start_switch_fiber(&c.fiber_fake_stack, c.owner_bottom, c.owner_size);
#endif
#ifdef __x86_64__
  alcca_switch_stack(&c.fiber_sp, c.owner_sp);
#else
  swapcontext(&c.fiber, &c.owner);
#endif
#ifdef ALCCA_FIBER_ASAN
  __sanitizer_finish_switch_fiber(c.fiber_fake_stack, &c.owner_bottom, &c.owner_size);
#endif
}

}  // namespace alcca::cuda_emulated::simt
