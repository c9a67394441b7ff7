#pragma once

// CUDA graphs of what is enqueued between two attentions of a step: at batch 1 a layer of a 7B
// model in int8 is read in some 45 microseconds, and launching its dozen kernels one by one takes a
// CPU about as long.
//
// The ops of such a stretch are called one by one, as ever. If the stretch after the same layer's
// attention, over as many rows, has been seen before, each op is compared with the one that stood
// there, operands, shapes and scalars, and held back while they agree. With the last of them the
// whole stretch is enqueued at once, as a graph. An op that differs, one too many or too few ends
// that: what was held back is enqueued op by op, and the stretch is learnt anew.
//
// So a stretch is enqueued op by op the first time, which makes what is made on first use (a
// kernel's code on the device) outside a graph; the second time it is recorded and replayed.

#include <cstdint>
#include <map>
#include <utility>
#include <vector>

#include "kernels/cuda/context.h"
#include "kernels/cuda/device_words/runtime.h"
#include "kernels/cuda/matmul/matmul.h"
#include "kernels/cuda/row_ops.h"

namespace alcca::ALCCA_GPU {

class Recorder {
 public:
  // Stretches of more than `rows_max` rows are enqueued op by op. `device` and `matmul` outlive it.
  Recorder(const DeviceContext& device, MatMulCuda& matmul, int32_t rows_max)
      : device_(device), matmul_(matmul), rows_max_(rows_max) {}
  ~Recorder() { Clear(); }
  Recorder(const Recorder&) = delete;
  Recorder& operator=(const Recorder&) = delete;

  // The attention of `layer` over `rows` rows has been enqueued: its stretch begins.
  void Begin(int32_t layer, int32_t rows);
  // The next op, of a stretch or of none. It has been enqueued when End returns, if not before.
  void Do(const RowOp& op);
  // Whatever else is enqueued or waited for comes after this: it ends the stretch.
  void End();
  // Forgets every stretch: memory that graphs use is about to change hands.
  void Clear();

  int64_t replays() const { return replays_; }  // of all time

 private:
  struct Stretch {
    std::vector<RowOp> ops;  // as last called, all of them once the stretch has ended
    LaunchGraph graph = nullptr;
    bool recorded = false;  // also if the device had no memory for the graph
  };
  void Launch(const RowOp& op) { LaunchOp(device_, matmul_, op); }
  void LaunchAll(const std::vector<RowOp>& ops);
  // The stretch has come again, whole.
  void Repeat();
  // The stretch of old ended at `held_` ops: enqueues what is held back and learns on from there.
  void Diverge();
  static void DropGraph(Stretch* stretch);

  const DeviceContext& device_;
  MatMulCuda& matmul_;
  const int32_t rows_max_;
  std::map<std::pair<int32_t, int32_t>, Stretch> stretches_;  // by layer and rows
  Stretch* current_ = nullptr;                                // or null: outside any
  bool follows_ = false;  // the current stretch has agreed with what it was so far
  size_t agreed_ = 0;     // ops of it that did; held back unless they are all
  int64_t replays_ = 0;
};

}  // namespace alcca::ALCCA_GPU
