// The emulator's scheduler: which fiber runs next, who waits for whom, and what went wrong.

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <numeric>
#include <vector>

#include "kernels/cuda/device_words/emulated/fiber.h"
#include "kernels/cuda/device_words/simt.h"
#include "kernels/half.h"

namespace alcca::cuda_emulated {

float ToFloat(BFloat16 h) {
  return BFloat16ToFloat(h.bits);
}
BFloat16 ToBFloat16(float f) {
  return {FloatToBFloat16(f)};
}

Float8 ToFloat8(float f) {
  return {FloatToFloat8(f)};
}
uint2 ToBFloat16s(uint32_t fours) {
  uint32_t halves[2] = {};
  for (int i = 0; i < 4; ++i) {
    const float value = Float8ToFloat(static_cast<uint8_t>(fours >> (8 * i)));
    halves[i / 2] |= uint32_t{FloatToBFloat16(value)} << (16 * (i % 2));
  }
  return {halves[0], halves[1]};
}

namespace simt {
namespace {

constexpr int kThreadsMax = 1024;
constexpr size_t kStaticSharedMax = size_t{48} << 10;
constexpr size_t kSharedMax = size_t{227} << 10;

enum class Wait : uint8_t { kNothing, kBlock, kWarp, kEnd };

struct Slot {  // one thread of the block
  Thread thread = {};
  Wait wait = Wait::kNothing;
  Place place = {};
  std::unique_ptr<Fiber> fiber;
};

// Lanes of one mask on their way to one warp operation.
struct Meeting {
  uint32_t mask = 0, arrived = 0;  // arrived == 0: nobody waits
  Combine combine = nullptr;
  Place place = {};
};

struct Warp {
  Meeting meetings[32];  // at most one per lane has somebody waiting
  const void* in[32];
  void* out[32];
};

struct Variable {
  const void* tag;
  size_t bytes;
  std::unique_ptr<std::byte, decltype(&std::free)> data;
};

struct Block {
  std::vector<std::unique_ptr<Slot>> slots;  // grown to the largest block, reused
  std::vector<Warp> warps;
  std::vector<Variable> variables;  // of this launch; each its own allocation, for sanitizers
  std::unique_ptr<std::byte, decltype(&std::free)> dynamic{nullptr, &std::free};
  const LaunchShape* shape = nullptr;
  void (*body)(void*) = nullptr;
  void* argument = nullptr;
  int threads = 0;
  int running = -1;  // slot
  int at_barrier = 0;
};

thread_local Block block;
thread_local bool launched = false;
uint64_t seed = 0;
uint64_t shuffle_state = 0;

[[noreturn]] void Fail(const char* what, const Slot* a, const Slot* b = nullptr) {
  std::fprintf(stderr, "cuda emulator: kernel %s, block (%u, %u, %u): %s\n", block.shape->name,
               a->thread.block_index.x, a->thread.block_index.y, a->thread.block_index.z, what);
  for (const Slot* slot : {a, b}) {
    if (slot != nullptr) {
      const uint3& t = slot->thread.thread_index;
      std::fprintf(stderr, "  thread (%u, %u, %u) %s %s:%d\n", t.x, t.y, t.z,
                   slot->wait == Wait::kEnd ? "has ended; last seen at" : "is at",
                   slot->place.file != nullptr ? slot->place.file : "its start", slot->place.line);
    }
  }
  std::abort();
}

std::unique_ptr<std::byte, decltype(&std::free)> AllocateShared(size_t bytes) {
  auto* data = static_cast<std::byte*>(std::aligned_alloc(128, (bytes + 127) / 128 * 128));
  return {data, &std::free};
}

void WaitHere(Slot& slot, Wait wait, Place place) {
  slot.wait = wait;
  slot.place = place;
  slot.fiber->Yield();
}

void ReleaseBarrier() {
  for (int t = 0; t < block.threads; ++t) {
    block.slots[t]->wait = Wait::kNothing;
  }
  block.at_barrier = 0;
}

void Shuffle(std::vector<int>& order) {
  for (size_t i = order.size(); i > 1; --i) {
    shuffle_state = shuffle_state * 6364136223846793005ull + 1442695040888963407ull;
    std::swap(order[i - 1], order[(shuffle_state >> 33) % i]);
  }
}

// A block of which nobody can go on: says whom the first waits for.
[[noreturn]] void ReportStuck() {
  const Slot* waiting = nullptr;
  for (int t = 0; t < block.threads && waiting == nullptr; ++t) {
    if (block.slots[t]->wait != Wait::kEnd) {
      waiting = block.slots[t].get();
    }
  }
  for (int t = 0; t < block.threads; ++t) {
    const Slot* other = block.slots[t].get();
    if (other->wait != waiting->wait || other->place.line != waiting->place.line) {
      Fail("threads wait for each other", waiting, other);
    }
  }
  Fail("threads wait for others that do not exist", waiting);
}

void RunBlock(uint3 index, std::vector<int>& order) {
  const LaunchShape& shape = *block.shape;
  for (int t = 0; t < block.threads; ++t) {
    const unsigned u = static_cast<unsigned>(t);
    Slot& slot = *block.slots[t];
    slot.thread = {.thread_index = {u % shape.block.x, u / shape.block.x % shape.block.y,
                                    u / (shape.block.x * shape.block.y)},
                   .block_index = index,
                   .block_size = shape.block,
                   .grid_size = shape.grid,
                   .lane = t % kWarp};
    slot.wait = Wait::kNothing;
    slot.place = {};
  }
  for (Warp& warp : block.warps) {
    warp = {};
  }
  for (Variable& variable : block.variables) {
    std::memset(variable.data.get(), 0xff, variable.bytes);
  }
  if (shape.shared_bytes > 0) {
    std::memset(block.dynamic.get(), 0xff, shape.shared_bytes);
  }
  block.at_barrier = 0;
  for (int ended = 0; ended < block.threads;) {
    bool progress = false;
    if (seed != 0) {
      Shuffle(order);
    }
    for (const int t : order) {
      Slot& slot = *block.slots[t];
      if (slot.wait != Wait::kNothing) {
        continue;
      }
      progress = true;
      block.running = t;
      current = &slot.thread;
      slot.fiber->Resume();
      if (slot.fiber->finished()) {
        slot.wait = Wait::kEnd;
        ++ended;
      }
    }
    if (!progress) {
      ReportStuck();
    }
  }
}

}  // namespace

void SetSeed(uint64_t new_seed) {
  seed = new_seed;
  shuffle_state = new_seed;
}

void SyncThreads(Place place) {
  Slot& slot = *block.slots[block.running];
  slot.place = place;
  if (block.at_barrier > 0) {
    for (int t = 0; t < block.threads; ++t) {
      const Slot& other = *block.slots[t];
      if (other.wait == Wait::kBlock) {
        if (other.place.line != place.line || std::strcmp(other.place.file, place.file) != 0) {
          Fail("threads stand at different barriers", &slot, &other);
        }
        break;
      }
    }
  }
  if (++block.at_barrier == block.threads) {
    ReleaseBarrier();
    return;
  }
  WaitHere(slot, Wait::kBlock, place);
}

void WarpOperation(uint32_t mask, Combine combine, const void* in, void* out, Place place) {
  Slot& slot = *block.slots[block.running];
  const int lane = slot.thread.lane;
  slot.place = place;
  const int first = block.running - lane;
  if ((mask >> lane & 1) == 0) {
    Fail("a thread is not in the mask of its own warp operation", &slot);
  }
  if (const int lanes = std::min(kWarp, block.threads - first);
      lanes < kWarp && mask >> lanes != 0) {
    Fail("the mask of a warp operation names threads that the block does not have", &slot);
  }
  Warp& warp = block.warps[first / kWarp];
  Meeting* const open =
      std::find_if(std::begin(warp.meetings), std::end(warp.meetings),
                   [&](const Meeting& m) { return m.arrived != 0 && m.mask == mask; });
  Meeting& meeting = open != std::end(warp.meetings)
                         ? *open
                         : *std::find_if(std::begin(warp.meetings), std::end(warp.meetings),
                                         [](const Meeting& m) { return m.arrived == 0; });
  if (meeting.arrived == 0) {
    meeting = {.mask = mask, .combine = combine, .place = place};
  } else if (meeting.combine != combine || meeting.place.line != place.line) {
    const Slot* other = block.slots[first + std::countr_zero(meeting.arrived)].get();
    Fail("lanes of a warp stand at different operations", &slot, other);
  }
  meeting.arrived |= 1u << lane;
  warp.in[lane] = in;
  warp.out[lane] = out;
  if (meeting.arrived != mask) {
    WaitHere(slot, Wait::kWarp, place);
    return;
  }
  const void* ins[32] = {};
  void* outs[32] = {};
  for (uint32_t rest = mask; rest != 0; rest &= rest - 1) {
    const int l = std::countr_zero(rest);
    ins[l] = warp.in[l];
    outs[l] = warp.out[l];
    block.slots[first + l]->wait = Wait::kNothing;
  }
  meeting.arrived = 0;
  combine(ins, outs, mask);
}

void* SharedVariable(const void* tag, size_t bytes) {
  size_t all = 0;
  for (const Variable& variable : block.variables) {
    if (variable.tag == tag) {
      return variable.data.get();
    }
    all += variable.bytes;
  }
  const size_t dynamic = block.shape->shared_bytes;
  if (all + bytes > kStaticSharedMax || all + bytes + dynamic > kSharedMax) {
    Fail("more shared memory than an SM has", block.slots[block.running].get());
  }
  if (dynamic <= kUnaskedShared && all + bytes + dynamic > kStaticSharedMax) {
    Fail("more shared memory than a block gets unasked", block.slots[block.running].get());
  }
  block.variables.push_back({tag, bytes, AllocateShared(bytes)});
  std::memset(block.variables.back().data.get(), 0xff, bytes);
  return block.variables.back().data.get();
}

void* DynamicShared() {
  if (block.shape->shared_bytes == 0) {
    Fail("uses dynamic shared memory but was launched without", block.slots[block.running].get());
  }
  return block.dynamic.get();
}

void Run(const LaunchShape& shape, void (*body)(void*), void* argument) {
  const dim3 b = shape.block, g = shape.grid;
  const uint64_t threads = uint64_t{b.x} * b.y * b.z;
  if (threads < 1 || threads > kThreadsMax || g.x < 1 || g.y < 1 || g.z < 1 || g.y > 65535 ||
      g.z > 65535 || g.x > 0x7fffffff || shape.shared_bytes > kSharedMax || launched) {
    std::fprintf(stderr,
                 "cuda emulator: kernel %s cannot be launched: grid (%u, %u, %u), block (%u, %u, "
                 "%u), %zu bytes of shared memory\n",
                 shape.name, g.x, g.y, g.z, b.x, b.y, b.z, shape.shared_bytes);
    std::abort();
  }
  launched = true;
  block.shape = &shape;
  block.body = body;
  block.argument = argument;
  block.threads = static_cast<int>(threads);
  block.warps.resize((threads + kWarp - 1) / kWarp);
  block.variables.clear();
  block.dynamic = AllocateShared(shape.shared_bytes);
  while (block.slots.size() < threads) {
    block.slots.push_back(std::make_unique<Slot>());
    block.slots.back()->fiber =
        std::make_unique<Fiber>([](void*) { block.body(block.argument); }, nullptr);
  }
  std::vector<int> order(threads);
  std::iota(order.begin(), order.end(), 0);
  std::vector<int> blocks;
  if (seed != 0) {
    blocks.resize(size_t{g.x} * g.y * g.z);
    std::iota(blocks.begin(), blocks.end(), 0);
    Shuffle(blocks);
  }
  const uint64_t count = uint64_t{g.x} * g.y * g.z;
  for (uint64_t i = 0; i < count; ++i) {
    const uint64_t n = seed != 0 ? static_cast<uint64_t>(blocks[i]) : i;
    RunBlock({static_cast<unsigned>(n % g.x), static_cast<unsigned>(n / g.x % g.y),
              static_cast<unsigned>(n / (uint64_t{g.x} * g.y))},
             order);
  }
  current = nullptr;
  launched = false;
}

}  // namespace simt
}  // namespace alcca::cuda_emulated
