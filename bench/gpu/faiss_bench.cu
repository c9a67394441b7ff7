// What exact search through FAISS costs per call, for one decoded token of one KV head (four query
// heads of 128 dimensions, k = 8): the host's time to enqueue a search, and the time of a search
// when many follow each other. A token of Mistral-7B takes 256 such searches.
//
//   faiss_bench [--contexts 8192,32768,131072] [--searches 64]      one JSON object a line

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "kernels/cuda/attention/alcca/faiss_search.h"
#include "kernels/cuda/device_words/runtime.h"
#include "kernels/half.h"

namespace alcca::ALCCA_GPU {
namespace {

constexpr int32_t kHeadDim = 128, kGroup = 4, kK = 8, kPageTokens = 64;

struct Filled {
  DeviceArray keys, pages, queries, out;
};

// Random bf16 keys in pages, and queries; all of about unit deviation.
Filled Fill(Stream stream, DeviceBudget& budget, int32_t context) {
  const int32_t page_count = (context + kPageTokens - 1) / kPageTokens;
  std::vector<uint16_t> keys(size_t(page_count) * kPageTokens * kHeadDim);
  uint32_t state = 1;
  const auto next = [&state] {
    state = state * 1664525u + 1013904223u;
    return static_cast<float>(state >> 8) / static_cast<float>(1 << 23) - 1.0f;
  };
  for (uint16_t& key : keys) {
    key = FloatToBFloat16(next());
  }
  std::vector<float> queries(kGroup * kHeadDim);
  for (float& query : queries) {
    query = next();
  }
  std::vector<int32_t> pages(static_cast<size_t>(page_count));
  for (size_t page = 0; page < pages.size(); ++page) {
    pages[page] = static_cast<int32_t>(page);
  }
  Filled filled;
  filled.keys = budget.Allocate(keys.size() * 2, "keys").value();
  filled.pages = budget.Allocate(pages.size() * 4, "pages").value();
  filled.queries = budget.Allocate(queries.size() * 4, "queries").value();
  filled.out = budget.Allocate(kGroup * kK * sizeof(NearestKey), "found").value();
  CopyIn(stream, filled.keys.get(), keys.data(), keys.size() * 2);
  CopyIn(stream, filled.pages.get(), pages.data(), pages.size() * 4);
  CopyIn(stream, filled.queries.get(), queries.data(), queries.size() * 4);
  Synchronize(stream);
  return filled;
}

double SecondsSince(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

void Measure(Stream stream, DeviceBudget& budget, FaissKeySearch& search, int32_t context,
             int32_t searches) {
  const Filled filled = Fill(stream, budget, context);
  const KeyPages<BFloat16> keys = {filled.keys.as<BFloat16>(), int64_t{kPageTokens} * kHeadDim,
                                   kPageTokens, filled.pages.as<int32_t>()};
  GroupQueries<float> queries;
  queries.queries = filled.queries.as<float>();
  queries.row_stride = kGroup * kHeadDim;
  queries.rows = 1;
  queries.group = kGroup;
  queries.first_prefix = context;
  queries.k = kK;
  search.Search(keys, queries, filled.out.as<NearestKey>());  // the first takes memory
  const int64_t scans_before = search.CountScans();
  const auto start = std::chrono::steady_clock::now();
  for (int32_t i = 0; i < searches; ++i) {
    search.Search(keys, queries, filled.out.as<NearestKey>());
  }
  const double enqueued = SecondsSince(start) / searches;
  Synchronize(stream);
  const double done = SecondsSince(start) / searches;
  std::printf(
      "{\"what\": \"faiss\", \"size\": %d, \"enqueue_seconds\": %.4g, \"seconds\": %.4g, "
      "\"scans\": "
      "%lld}\n",
      context, enqueued, done, static_cast<long long>(search.CountScans() - scans_before));
}

int Main(int argc, char** argv) {
  std::vector<int32_t> contexts = {8192, 32768, 131072};
  int32_t searches = 64;
  for (int i = 1; i + 1 < argc; i += 2) {
    if (std::strcmp(argv[i], "--contexts") == 0) {
      contexts.clear();
      for (const char* part = argv[i + 1]; part != nullptr; part = std::strchr(part, ',')) {
        part += *part == ',';
        contexts.push_back(std::atoi(part));
      }
    } else if (std::strcmp(argv[i], "--searches") == 0) {
      searches = std::atoi(argv[i + 1]);
    }
  }
  const auto device = OpenDevice();
  if (!device.ok()) {
    std::fprintf(stderr, "faiss_bench: %s\n", device.status().ToString().c_str());
    return 78;
  }
  const Stream stream = MakeStream();
  {
    DeviceBudget budget(size_t{2} << 30);
    const auto search =
        FaissKeySearch::Make(stream, budget, {.head_dim = kHeadDim, .rows = kGroup, .k = kK});
    if (!search.ok()) {
      std::fprintf(stderr, "faiss_bench: %s\n", search.status().ToString().c_str());
      return 69;
    }
    for (const int32_t context : contexts) {
      if (context > 0 && searches > 0) {
        Measure(stream, budget, **search, context, searches);
      }
    }
  }
  DestroyStream(stream);
  return 0;
}

}  // namespace
}  // namespace alcca::ALCCA_GPU

int main(int argc, char** argv) {
  return alcca::ALCCA_GPU::Main(argc, argv);
}
