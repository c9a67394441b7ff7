#include "tools/cli/stream.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/util/json_util.h>

#include <cstdio>
#include <optional>

#include "absl/strings/str_cat.h"
#include "attention/knobs.h"
#include "base/clock.h"
#include "tools/cli/measure/cost.h"
#include "tools/cli/options.h"
#include "tools/cli/report.h"

namespace alcca::cli {
namespace {

void Put(const std::string& text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
}

// "multipole mass=1 max_keys=1024 ...": what the reply says of each knob.
std::string Describe(const v1::AttentionParams& applied) {
  std::string line = ModeName(applied.mode());
  if (applied.search() == v1::ATTENTION_SEARCH_TREE) {
    absl::StrAppend(&line, " search=tree");
  }
  const google::protobuf::Descriptor& type = *v1::AttentionParams::descriptor();
  const google::protobuf::Reflection& fields = *applied.GetReflection();
  for (const Knob& knob : RequestKnobs()) {
    const auto* field = type.FindFieldByName(knob.name);
    const auto* table = type.FindFieldByName(absl::StrCat(knob.name, "_per_head"));
    if (table != nullptr && fields.GetBool(applied, table)) {
      absl::StrAppend(&line, " ", knob.name, "=per-head");
    } else if (fields.HasField(applied, field)) {
      const double value = IsInteger(knob) ? static_cast<double>(fields.GetUInt32(applied, field))
                                           : static_cast<double>(fields.GetFloat(applied, field));
      absl::StrAppend(&line, " ", knob.name, "=", Digits(knob, value));
    }
  }
  return line;
}

void PrintAttention(const v1::AttentionReport& report) {
  std::printf("  attention  %s\n", Describe(report.applied()).c_str());
  AttentionCounters all = CountersOf(report.prefill());
  all += CountersOf(report.decode());
  std::printf(
      "  cost       %s interactions of causal dense's %s: %.1f %% (query-key side %.1f %%)\n",
      Grouped(all.performed()).c_str(), Grouped(all.dense_equivalent()).c_str(),
      100 * report.performed_over_dense_causal(), 100 * report.qk_performed_over_dense_causal());
  const std::optional<AttentionMode> mode = ModeOfWire(report.applied().mode());
  if (mode && TraitsOf(*mode).has_near_gate) {
    std::printf("  near       %.2f %% of %s queries answered by the mean value\n",
                100 * report.near_share(), Grouped(all.queries).c_str());
  }
  if (report.index_bytes() > 0) {
    std::printf("  index      %s bytes beside the cache, %.2f ms to build\n",
                Grouped(report.index_bytes()).c_str(), 1e3 * report.index_build_seconds());
  }
  if (report.fell_back()) {
    std::printf("  fallback   the index met its bound of memory; the rest was answered by dense\n");
  }
  if (report.has_search_recall()) {
    std::printf("  recall     %.1f %% of the nearest keys, in searches that were checked\n",
                100 * report.search_recall());
  }
  if (report.has_output_error()) {
    std::printf("  error      %.2f %% of dense's outputs, in queries that were checked\n",
                100 * report.output_error());
  }
}

void PrintStats(const v1::GenerateComplete& done, double first_token_seconds) {
  const v1::Timings& t = done.timings();
  const int later = static_cast<int>(done.completion_tokens()) - 1;
  std::printf("\n--- %u prompt + %u completion tokens, finished: %s\n", done.prompt_tokens(),
              done.completion_tokens(), done.finish_reason().c_str());
  if (done.cached_tokens() > 0) {
    std::printf("  cached     %u prompt tokens had been computed before\n", done.cached_tokens());
  }
  std::printf("  time       queue %.1f ms, prefill %.1f ms, decode %.1f ms",
              1e3 * t.queue_seconds(), 1e3 * t.prefill_seconds(), 1e3 * t.decode_seconds());
  if (later > 0 && t.decode_seconds() > 0) {
    std::printf(" (%.2f ms a token, %.0f tokens/s)", 1e3 * t.decode_seconds() / later,
                later / t.decode_seconds());
  }
  std::printf("; first token seen after %.1f ms\n", 1e3 * first_token_seconds);
  PrintAttention(done.attention());
  std::fflush(stdout);
}

void PrintJson(const v1::GenerateResponse& message) {
  std::string line;
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  (void)google::protobuf::util::MessageToJsonString(message, &line, options);
  Put(line + "\n");
}

}  // namespace

StreamResult PrintStream(const std::function<std::unique_ptr<Reader>()>& send, int completions,
                         const StreamStyle& style) {
  StreamResult result;
  result.completions.resize(completions);
  const bool live = completions == 1 && !style.json;
  const TimePoint start = Clock::now();
  const std::unique_ptr<Reader> reader = send();
  v1::GenerateResponse message;
  while (reader->Read(&message)) {
    if (style.json) {
      PrintJson(message);
    }
    if (message.has_chunk()) {
      if (result.first_token_seconds == 0) {
        result.first_token_seconds = Seconds(start, Clock::now());
      }
      if (live) {
        Put(message.chunk().text());
      }
    } else if (message.complete().index() < result.completions.size()) {
      const uint32_t index = message.complete().index();
      result.completions[index] = std::move(*message.mutable_complete());
    }
  }
  result.status = reader->Finish();
  if (live) {
    Put("\n");
  }
  if (!result.status.ok() || style.json) {
    return result;
  }
  for (const v1::GenerateComplete& done : result.completions) {
    if (!live) {
      Put(absl::StrCat("[", done.index(), "] ", done.text(), "\n"));
    }
    if (style.stats) {
      PrintStats(done, result.first_token_seconds);
    }
  }
  return result;
}

}  // namespace alcca::cli
