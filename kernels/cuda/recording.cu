#include "kernels/cuda/recording.h"

namespace alcca::ALCCA_GPU {

void Recorder::Begin(int32_t layer, int32_t rows) {
  End();
  if (rows > rows_max_) {
    return;
  }
  current_ = &stretches_[{layer, rows}];
  follows_ = !current_->ops.empty();
  agreed_ = 0;
}

void Recorder::Do(const RowOp& op) {
  if (current_ == nullptr) {
    return Launch(op);
  }
  if (follows_ && agreed_ < current_->ops.size() && current_->ops[agreed_] == op) {
    if (++agreed_ == current_->ops.size()) {
      Repeat();
    }
    return;
  }
  if (follows_) {
    Diverge();
  }
  current_->ops.push_back(op);
  Launch(op);
}

void Recorder::End() {
  if (current_ != nullptr && follows_ && agreed_ < current_->ops.size()) {
    Diverge();
  }
  current_ = nullptr;
}

void Recorder::Clear() {
  End();
  for (auto& [key, stretch] : stretches_) {
    DropGraph(&stretch);
  }
  stretches_.clear();
}

void Recorder::LaunchAll(const std::vector<RowOp>& ops) {
  for (const RowOp& op : ops) {
    Launch(op);
  }
}

void Recorder::Repeat() {
  Stretch& stretch = *current_;
  // Which operands stand in the workspace is known to the host, which a replay does not tell: a
  // graph begins and ends with none.
  if (!stretch.recorded) {
    stretch.recorded = true;
    matmul_.ForgetAll();
    BeginRecording(device_.stream);
    LaunchAll(stretch.ops);
    stretch.graph = EndRecording(device_.stream);
  }
  matmul_.ForgetAll();
  if (stretch.graph == nullptr) {
    return LaunchAll(stretch.ops);
  }
  Replay(device_.stream, stretch.graph);
  ++replays_;
}

void Recorder::Diverge() {
  Stretch& stretch = *current_;
  const bool held_back = agreed_ < stretch.ops.size();
  stretch.ops.resize(agreed_);
  DropGraph(&stretch);
  follows_ = false;
  if (held_back) {
    LaunchAll(stretch.ops);
  }
}

void Recorder::DropGraph(Stretch* stretch) {
  if (stretch->graph != nullptr) {
    DestroyGraph(stretch->graph);
  }
  stretch->graph = nullptr;
  stretch->recorded = false;
}

}  // namespace alcca::ALCCA_GPU
