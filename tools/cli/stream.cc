#include "tools/cli/stream.h"

#include <google/protobuf/util/json_util.h>

#include <cstdio>

#include "absl/strings/str_cat.h"
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

void PrintAttention(const v1::AttentionReport& report) {
  const v1::AttentionParams& applied = report.applied();
  std::string line = ModeName(applied.mode());
  if (applied.mode() == v1::ATTENTION_MODE_ALCCA) {
    absl::StrAppend(&line, " k=", applied.k_per_head() ? "per head" : std::to_string(applied.k()));
    if (applied.has_near_share()) {
      absl::StrAppend(&line, " near_share=", applied.near_share());
    } else if (applied.theta_per_head()) {
      absl::StrAppend(&line, " theta=per head");
    } else {
      absl::StrAppend(&line, " theta=", applied.theta());
    }
    absl::StrAppend(&line, " epsilon=", applied.epsilon());
    if (applied.search() == v1::ATTENTION_SEARCH_TREE) {
      absl::StrAppend(&line, ", tree search of ", applied.tree_distances(), " distances, ",
                      applied.tree_recent(), " recent");
    }
  } else if (applied.mode() == v1::ATTENTION_MODE_MULTIPOLE) {
    absl::StrAppend(&line, " mass=", applied.mass(), " max_keys=", applied.max_keys(),
                    " sinks=", applied.sinks(), " recent=", applied.recent(), ", dense below ",
                    applied.dense_below());
  } else if (applied.mode() == v1::ATTENTION_MODE_WINDOW) {
    absl::StrAppend(&line, " of ", applied.window(), " keys");
  } else if (applied.mode() == v1::ATTENTION_MODE_TOPK) {
    absl::StrAppend(&line, " sparsity=", applied.sparsity());
  }
  std::printf("  attention  %s\n", line.c_str());
  const int64_t performed = Performed(report.prefill()) + Performed(report.decode());
  int64_t dense = 0, queries = 0;
  for (const v1::AttentionCounters* c : {&report.prefill(), &report.decode()}) {
    dense += c->dense_equivalent_qk() + c->dense_equivalent_pv();
    queries += c->queries();
  }
  std::printf(
      "  cost       %s interactions of causal dense's %s: %.1f %% (query-key side %.1f %%)\n",
      Grouped(performed).c_str(), Grouped(dense).c_str(),
      100 * report.performed_over_dense_causal(), 100 * report.qk_performed_over_dense_causal());
  if (applied.mode() == v1::ATTENTION_MODE_ALCCA) {
    std::printf("  near       %.2f %% of %s queries answered by the mean value\n",
                100 * report.near_share(), Grouped(queries).c_str());
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
