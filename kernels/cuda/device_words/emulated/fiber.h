#pragma once

// Stackful coroutines of one OS thread: the threads of an emulated block.

#include <cstddef>
#include <memory>

namespace alcca::cuda_emulated::simt {

// A fiber runs `entry(argument)` on its own stack between Resume and Yield; when entry returns, the
// next Resume starts it anew. Not movable: its address is on its stack.
class Fiber {
 public:
  Fiber(void (*entry)(void*), void* argument);
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  void Resume();  // by the owner; returns when the fiber yields or its entry returns
  void Yield();   // by the fiber
  bool finished() const { return finished_; }

 private:
  struct Context;
  static void Main(Fiber* self);
  void SwitchOut();

  void (*entry_)(void*);
  void* argument_;
  bool finished_ = true;  // since the last Resume
  std::unique_ptr<Context> context_;
};

}  // namespace alcca::cuda_emulated::simt
