#include "tools/checkpoint/safetensors_writer.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <span>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/files.h"
#include "base/status_macros.h"
#include "engine/checkpoint/checkpoint.h"
#include "engine/model/tensor_table.h"
#include "nlohmann/json.hpp"

namespace alcca {
namespace {

SafetensorsDType FileDType(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return SafetensorsDType::kF32;
    case DType::kF16:
      return SafetensorsDType::kF16;
    case DType::kBF16:
      return SafetensorsDType::kBF16;
  }
  return SafetensorsDType::kUnknown;
}

const char* TorchDType(DType dtype) {
  return dtype == DType::kF32 ? "float32" : dtype == DType::kF16 ? "float16" : "bfloat16";
}

// Round to nearest, ties to even. Finite input.
uint16_t ToBf16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  return static_cast<uint16_t>((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
}

// Round to nearest, ties to even. |value| < 65520.
uint16_t ToF16(float value) {
  const uint32_t sign = (std::bit_cast<uint32_t>(value) >> 16) & 0x8000;
  uint32_t bits = std::bit_cast<uint32_t>(value) & 0x7FFFFFFF;
  if (bits < 0x38800000) {  // Below 2^-14: subnormal. Adding 0.5 lets the FPU do the rounding.
    const float sum = std::bit_cast<float>(bits) + 0.5f;
    return static_cast<uint16_t>(sign | (std::bit_cast<uint32_t>(sum) - 0x3F000000));
  }
  bits += 0xFFF + ((bits >> 13) & 1);
  return static_cast<uint16_t>(sign | ((bits - 0x38000000) >> 13));
}

// One splitmix64 output.
uint64_t Mix(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EB;
  return x ^ (x >> 31);
}

// The seed of one tensor's stream: FNV-1a of its name, mixed with the checkpoint's seed.
uint64_t StreamSeed(uint64_t seed, const std::string& name) {
  uint64_t hash = 0xCBF29CE484222325;
  for (unsigned char c : name) {
    hash = (hash ^ c) * 0x100000001B3;
  }
  return Mix(hash ^ Mix(seed));
}

// Element i of a stream, close to normal with mean 0 and deviation 1: the sum of four 16-bit
// uniforms, whose variance is 2^32 / 3.
float RandomUnit(uint64_t stream, uint64_t i) {
  const uint64_t bits = Mix(stream + (i + 1) * 0x9E3779B97F4A7C15);
  const int sum = static_cast<int>((bits & 0xFFFF) + ((bits >> 16) & 0xFFFF) +
                                   ((bits >> 32) & 0xFFFF) + (bits >> 48));
  constexpr float kScale = 2.6428996e-5f;  // sqrt(3) / 65536, for values minus their mean.
  return static_cast<float>(sum - 131070) * kScale;
}

uint64_t Elements(const std::vector<int64_t>& shape) {
  uint64_t count = 1;
  for (int64_t dim : shape) {
    count *= static_cast<uint64_t>(dim);
  }
  return count;
}

// Streams one tensor of random values, a buffer at a time.
absl::Status AppendRandom(const TensorSpec& spec, const RandomCheckpointOptions& options,
                          SafetensorsWriter& writer,
                          const std::function<void(uint64_t)>& on_bytes) {
  constexpr uint64_t kChunk = 1 << 18;  // Elements.
  const bool is_norm = spec.shape.size() == 1;
  const double fan_in = static_cast<double>(spec.shape.back());
  const float mean = is_norm ? 1.0f : 0.0f;
  const float deviation = is_norm              ? 0.05f
                          : options.stddev > 0 ? static_cast<float>(options.stddev)
                                               : static_cast<float>(1.0 / std::sqrt(fan_in));
  const uint64_t stream = StreamSeed(options.seed, spec.name);
  const uint64_t count = Elements(spec.shape);
  std::vector<float> wide(std::min(count, kChunk));
  std::vector<uint16_t> narrow(options.dtype == DType::kF32 ? 0 : wide.size());
  for (uint64_t done = 0; done < count;) {
    const uint64_t n = std::min(kChunk, count - done);
    for (uint64_t i = 0; i < n; ++i) {
      wide[i] = mean + deviation * RandomUnit(stream, done + i);
    }
    const void* bytes = wide.data();
    if (options.dtype == DType::kBF16) {
      std::transform(wide.begin(), wide.begin() + static_cast<ptrdiff_t>(n), narrow.begin(),
                     ToBf16);
      bytes = narrow.data();
    } else if (options.dtype == DType::kF16) {
      std::transform(wide.begin(), wide.begin() + static_cast<ptrdiff_t>(n), narrow.begin(), ToF16);
      bytes = narrow.data();
    }
    const size_t size = n * DTypeBytes(options.dtype);
    RETURN_IF_ERROR(writer.Append(bytes, size));
    on_bytes(size);
    done += n;
  }
  return absl::OkStatus();
}

// The shard of each tensor, in order: a shard is closed when it has its part of the bytes, or when
// the shards to come need the tensors that are left.
std::vector<int> AssignShards(std::span<const TensorSpec> specs, int shards) {
  uint64_t total = 0;
  for (const TensorSpec& spec : specs) {
    total += Elements(spec.shape);
  }
  std::vector<int> shard_of(specs.size());
  int shard = 0;
  uint64_t before = 0;
  for (size_t i = 0; i < specs.size(); ++i) {
    const bool full =
        before * static_cast<uint64_t>(shards) >= total * static_cast<uint64_t>(shard + 1);
    const bool needed = specs.size() - i <= static_cast<size_t>(shards - 1 - shard);
    if (i > 0 && shard + 1 < shards && (full || needed)) {
      ++shard;
    }
    shard_of[i] = shard;
    before += Elements(specs[i].shape);
  }
  return shard_of;
}

std::string ShardName(int shard, int shards) {
  if (shards == 1) {
    return "model.safetensors";
  }
  return absl::StrFormat("model-%05d-of-%05d.safetensors", shard + 1, shards);
}

std::string GenerationConfigJson(const ModelConfig& config) {
  nlohmann::ordered_json json;
  if (config.bos_token_id >= 0) {
    json["bos_token_id"] = config.bos_token_id;
  }
  if (!config.eos_token_ids.empty()) {
    json["eos_token_id"] = config.eos_token_ids;
  }
  json["do_sample"] = false;
  return json.dump(2) + "\n";
}

}  // namespace

absl::StatusOr<std::unique_ptr<SafetensorsWriter>> SafetensorsWriter::Create(
    const std::string& path, std::vector<TensorInfo> tensors,
    const std::vector<std::pair<std::string, std::string>>& metadata) {
  nlohmann::ordered_json json = nlohmann::ordered_json::object();
  for (const auto& [key, value] : metadata) {
    json["__metadata__"][key] = value;
  }
  uint64_t offset = 0;
  for (const TensorInfo& info : tensors) {
    const uint64_t begin = offset;
    const int bits = SafetensorsDTypeBits(info.dtype);
    offset += (Elements(info.shape) * static_cast<uint64_t>(bits) + 7) / 8;
    json[info.name] = {{"dtype", SafetensorsDTypeName(info.dtype)},
                       {"shape", info.shape},
                       {"data_offsets", {begin, offset}}};
  }
  std::string header = json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
  header.resize((header.size() + 7) / 8 * 8, ' ');
  std::string prefix;
  for (int i = 0; i < 8; ++i) {
    prefix.push_back(static_cast<char>(header.size() >> (8 * i)));
  }

  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd < 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat(path, ": cannot create"));
  }
  auto writer = std::unique_ptr<SafetensorsWriter>(new SafetensorsWriter(path, fd));
  prefix += header;
  RETURN_IF_ERROR(writer->Write(prefix.data(), prefix.size()));
  writer->remaining_ = offset;
  return writer;
}

SafetensorsWriter::~SafetensorsWriter() {
  if (fd_ >= 0) {
    close(fd_);
  }
}

absl::Status SafetensorsWriter::Write(const void* data, size_t bytes) {
  const char* next = static_cast<const char*>(data);
  while (bytes > 0) {
    const ssize_t count = write(fd_, next, bytes);
    if (count < 0 && errno == EINTR) {
      continue;
    }
    if (count < 0) {
      return absl::ErrnoToStatus(errno, absl::StrCat(path_, ": cannot write"));
    }
    next += count;
    bytes -= static_cast<size_t>(count);
  }
  return absl::OkStatus();
}

absl::Status SafetensorsWriter::Append(const void* data, size_t bytes) {
  if (bytes > remaining_) {
    return absl::InvalidArgumentError(
        absl::StrCat(path_, ": ", bytes - remaining_, " bytes more than the tensors have"));
  }
  remaining_ -= bytes;
  return Write(data, bytes);
}

absl::Status SafetensorsWriter::Finish() {
  if (remaining_ != 0) {
    return absl::FailedPreconditionError(absl::StrCat(path_, ": ", remaining_, " bytes missing"));
  }
  const int result = close(fd_);
  fd_ = -1;
  if (result != 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat(path_, ": cannot close"));
  }
  return absl::OkStatus();
}

absl::Status WriteRandomCheckpoint(const std::string& dir, const RandomCheckpointOptions& options,
                                   const std::function<void(uint64_t, uint64_t)>& progress) {
  RETURN_IF_ERROR(CheckModelConfig(options.config, dir));
  const TensorTable table(options.config);
  const std::span<const TensorSpec> specs = table.tensors();
  if (options.shards < 1 ||
      static_cast<size_t>(options.shards) > std::min(specs.size(), kMaxShards)) {
    return absl::InvalidArgumentError(
        absl::StrCat(dir, ": ", options.shards, " shards for ", specs.size(), " tensors"));
  }
  if (mkdir(dir.c_str(), 0755) != 0 && errno != EEXIST) {
    return absl::ErrnoToStatus(errno, absl::StrCat(dir, ": cannot make the folder"));
  }
  uint64_t total = 0;
  for (const TensorSpec& spec : specs) {
    total += Elements(spec.shape) * DTypeBytes(options.dtype);
  }
  uint64_t written = 0;
  const auto on_bytes = [&](uint64_t bytes) {
    written += bytes;
    if (progress) {
      progress(written, total);
    }
  };

  const std::vector<int> shard_of = AssignShards(specs, options.shards);
  nlohmann::ordered_json index;
  index["metadata"]["total_size"] = total;
  for (size_t begin = 0, end = 0; begin < specs.size(); begin = end) {
    const std::string name = ShardName(shard_of[begin], options.shards);
    std::vector<TensorInfo> infos;
    for (; end < specs.size() && shard_of[end] == shard_of[begin]; ++end) {
      infos.push_back({specs[end].name, FileDType(options.dtype), specs[end].shape, 0, 0});
      index["weight_map"][specs[end].name] = name;
    }
    ASSIGN_OR_RETURN(auto writer, SafetensorsWriter::Create(absl::StrCat(dir, "/", name),
                                                            std::move(infos), {{"format", "pt"}}));
    for (size_t i = begin; i < end; ++i) {
      RETURN_IF_ERROR(AppendRandom(specs[i], options, *writer, on_bytes));
    }
    RETURN_IF_ERROR(writer->Finish());
  }
  if (options.shards > 1) {
    RETURN_IF_ERROR(WriteTextFile(dir + "/model.safetensors.index.json", index.dump(2) + "\n"));
  }
  ModelConfig config = options.config;
  config.architecture = "MistralForCausalLM";
  config.torch_dtype = TorchDType(options.dtype);
  RETURN_IF_ERROR(WriteTextFile(dir + "/generation_config.json", GenerationConfigJson(config)));
  return WriteTextFile(dir + "/config.json", ModelConfigToJson(config));
}

}  // namespace alcca
