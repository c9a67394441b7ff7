// The stop matcher against a search of the whole text. Input: a byte of flags (bit 0 include, bits
// 1-3 number of stops), a byte for the length of the part where nothing may match, then each stop
// (a length byte, its bytes), then a byte that says how the text is cut, then the text.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/check.h"
#include "engine/text/stop_strings.h"

namespace {

int ExpectedEnd(std::string_view text, const std::vector<std::string>& stops, size_t blind,
                size_t* end) {
  for (*end = blind + 1; *end <= text.size(); ++*end) {
    int longest = -1;
    for (size_t i = 0; i < stops.size(); ++i) {
      if (text.substr(0, *end).ends_with(stops[i]) &&
          (longest < 0 || stops[i].size() > stops[longest].size())) {
        longest = static_cast<int>(i);
      }
    }
    if (longest >= 0) {
      return longest;
    }
  }
  return -1;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view in(reinterpret_cast<const char*>(data), std::min(size, size_t{2048}));
  const auto take = [&in]() -> uint8_t {
    if (in.empty()) {
      return 0;
    }
    const auto byte = static_cast<uint8_t>(in[0]);
    in.remove_prefix(1);
    return byte;
  };
  const uint8_t flags = take();
  const bool include = flags & 1;
  size_t blind = take();
  std::vector<std::string> stops;
  for (int i = 0; i < (flags >> 1 & 7); ++i) {
    const size_t length = take() % 32;
    const std::string_view stop = in.substr(0, length);
    in.remove_prefix(stop.size());
    if (!stop.empty()) {
      stops.emplace_back(stop);
    }
  }
  const uint8_t cuts = take();
  const std::string_view text = in;
  blind = std::min(blind, text.size());

  alcca::StopMatcher matcher(stops, include);
  std::string out;
  size_t begin = 0;
  bool stopped = false;
  for (size_t i = 1; i <= text.size() && !stopped; ++i) {
    if (i == text.size() || i == blind || (cuts >> (i % 8) & 1)) {
      stopped = matcher.Push(text.substr(begin, i - begin), begin >= blind, &out);
      begin = i;
      ALCCA_CHECK(stopped || text.substr(0, i).starts_with(out));
    }
  }
  size_t end = 0;
  const int expected = ExpectedEnd(text, stops, blind, &end);
  ALCCA_CHECK(stopped == (expected >= 0) && matcher.matched() == expected);
  if (stopped) {
    ALCCA_CHECK(out == text.substr(0, include ? end : end - stops[expected].size()));
  } else {
    ALCCA_CHECK(out + matcher.Flush() == text);
  }
  return 0;
}
