// What `alcca top` reads from a network: an HTTP answer, or a metrics page alone.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "tools/cli/top/http_get.h"
#include "tools/cli/top/top_rates.h"

namespace {

using namespace alcca::cli;  // NOLINT(google-build-using-namespace)

void Read(std::string_view page) {
  const auto samples = ParsePrometheusText(page);
  if (!samples.ok()) {
    return;
  }
  if (samples->size() > kMaxSamples) {
    std::abort();
  }
  const auto figures = ReadFigures(*samples);
  if (figures.ok()) {  // whatever it says, rates and quantiles are computed
    (void)Between(TopFigures(), *figures, 1);
    (void)Between(*figures, *figures, 1);
    (void)Between(*figures, TopFigures(), 1);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto body = HttpBody(text);
  Read(body.ok() ? std::string_view(*body) : text);
  return 0;
}
