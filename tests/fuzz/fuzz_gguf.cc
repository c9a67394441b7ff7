// Fuzzes the reader of GGUF files, its typed keys, the dequantisation of the tensors that it says
// are there, and what a model and a vocabulary are made of. Seeds: tools/golden/make_gguf_golden.py
// and make_gguf_model_golden.py.

#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "engine/checkpoint/gguf.h"
#include "engine/model/gguf_config.h"
#include "engine/model/gguf_tokenizer.h"

namespace {

void Expect(bool condition) {
  if (!condition) {
    std::abort();
  }
}

void ReadKeys(const alcca::GgufHeader& header) {
  for (const std::string_view key : {"t.u8", "t.f32", "t.string", "t.strings", "t.ints", "t.floats",
                                     "split.count", "tokenizer.ggml.tokens"}) {
    (void)header.String(key);
    (void)header.Integer(key);
    (void)header.Number(key);
    (void)header.Bool(key);
    (void)header.Strings(key);
    (void)header.Integers(key);
    (void)header.Floats(key);
  }
}

// The bytes as a file of memory: what opens a model reads files.
void ReadModel(std::string_view bytes) {
  const int fd = memfd_create("fuzz", MFD_CLOEXEC);
  Expect(fd >= 0);
  Expect(write(fd, bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()));
  const auto model = alcca::GgufModel::Open("/proc/self/fd/" + std::to_string(fd));
  if (model.ok()) {
    const auto config = alcca::ReadGgufConfig(*model);
    Expect(config.ok() || config.status().message().find('\n') == std::string_view::npos);
    if (config.ok()) {
      Expect(alcca::CheckModelConfig(*config, "fuzz").ok());
    }
    const auto tokenizer = alcca::LoadGgufTokenizer(model->header(), "fuzz");
    Expect(tokenizer.ok() || tokenizer.status().message().find('\n') == std::string_view::npos);
  }
  close(fd);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const auto header = alcca::GgufHeader::Parse(bytes, "fuzz");
  if (!header.ok()) {
    Expect(header.status().message().find('\n') == std::string_view::npos);
    return 0;
  }
  ReadKeys(*header);
  ReadModel(bytes);
  for (const alcca::GgufTensor& tensor : header->tensors()) {
    Expect(tensor.begin <= tensor.end && tensor.end <= size);
    Expect(header->FindTensor(tensor.name) == &tensor);
    const auto& format = *alcca::FindGgufBlockFormat(static_cast<uint32_t>(tensor.type));
    const uint64_t blocks = (tensor.end - tensor.begin) / format.bytes;
    std::vector<float> values(blocks * format.weights);
    alcca::DequantizeGguf(format, reinterpret_cast<const std::byte*>(data) + tensor.begin, blocks,
                          values.data());
  }
  return 0;
}
