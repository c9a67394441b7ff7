#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_split.h"
#include "tools/cli/commands.h"
#include "tools/cli/options.h"
#include "tools/cli/stream.h"

namespace alcca::cli {
namespace {

struct Options {
  ConnectionOptions connection;
  AttentionOptions attention;
  std::vector<std::string> modes;
  std::string text_file;
  std::string separator = "<|endoftext|>";
  uint32_t length = 0;  // tokens scored together; 0: 512, or what the context holds
  int limit = 0;        // documents; 0: all
  int concurrency = 4;
};

// A text as token ids, in windows that share one token, so that each token but the first of a
// document is predicted once.
struct Corpus {
  std::vector<std::vector<uint32_t>> windows;
  int64_t bytes = 0;
  int documents = 0;
};

constexpr const char* kTree = "tree";  // beside the modes: alcca with tree search

struct Score {
  double nats = 0;
  int64_t tokens = 0, performed = 0, dense = 0, queries = 0, near_queries = 0, recall_wanted = 0,
          recall_found = 0;
  double seconds = 0;
};

grpc::Status ReadCorpus(const Options& options, v1::Inference::Stub* stub, Corpus* corpus) {
  std::ifstream file(options.text_file, std::ios::binary);
  if (!file) {
    return {grpc::StatusCode::NOT_FOUND, "cannot read '" + options.text_file + "'"};
  }
  const std::string all{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  v1::GetModelInfoResponse info;
  grpc::Status status = stub->GetModelInfo(options.connection.Context().get(), {}, &info);
  if (!status.ok()) {
    return status;
  }
  const uint32_t room = info.max_req_input_len() - 1;  // one token of a window is the next one's
  const uint32_t length = std::min(options.length == 0 ? 512 : options.length, room);
  for (const auto& part : absl::StrSplit(all, options.separator)) {
    const std::string text(absl::StripAsciiWhitespace(part));
    if (text.empty() || (options.limit > 0 && corpus->documents == options.limit)) {
      continue;
    }
    v1::TokenizeRequest request;
    request.set_text(text);
    request.set_add_bos(true);
    v1::TokenizeResponse response;
    status = stub->Tokenize(options.connection.Context().get(), request, &response);
    if (!status.ok()) {
      return status;
    }
    std::vector<uint32_t> ids(response.token_ids().begin(), response.token_ids().end());
    if (info.eos_token_ids_size() > 0) {
      ids.push_back(info.eos_token_ids(0));
    }
    for (size_t i = 0; i + 1 < ids.size(); i += length) {
      corpus->windows.emplace_back(ids.begin() + i,
                                   ids.begin() + std::min(ids.size(), i + length + 1));
    }
    corpus->bytes += static_cast<int64_t>(text.size());
    ++corpus->documents;
  }
  if (corpus->windows.empty()) {
    return {grpc::StatusCode::INVALID_ARGUMENT, "'" + options.text_file + "' holds no text"};
  }
  return grpc::Status::OK;
}

grpc::Status ScoreWindow(const Options& options, const std::string& mode,
                         const std::vector<uint32_t>& ids, v1::Inference::Stub* stub,
                         Score* score) {
  v1::GenerateRequest request;
  request.mutable_tokenized()->mutable_input_ids()->Assign(ids.begin(), ids.end());
  request.mutable_sampling_params()->set_max_tokens(1);
  request.mutable_sampling_params()->set_prompt_logprobs(0);
  *request.mutable_attention() = options.attention.Params();
  if (mode == kTree) {
    request.mutable_attention()->set_mode(v1::ATTENTION_MODE_ALCCA);
    request.mutable_attention()->set_search(v1::ATTENTION_SEARCH_TREE);
  } else {
    request.mutable_attention()->set_mode(ParseMode(mode));
  }
  const auto context = options.connection.Context();
  const auto reader = stub->Generate(context.get(), request);
  v1::GenerateComplete done;
  for (v1::GenerateResponse message; reader->Read(&message);) {
    if (message.has_complete()) {
      done = std::move(*message.mutable_complete());
    }
  }
  const grpc::Status status = reader->Finish();
  if (!status.ok()) {
    return status;
  }
  for (const v1::InputTokenLogProb& token : done.input_logprobs().token_logprobs()) {
    if (token.has_value()) {
      score->nats -= token.value();
      ++score->tokens;
    }
  }
  const v1::AttentionCounters& c = done.attention().prefill();
  score->performed += Performed(c);
  score->dense += c.dense_equivalent_qk() + c.dense_equivalent_pv();
  score->queries += c.queries();
  score->recall_wanted += c.recall_wanted();
  score->recall_found += c.recall_found();
  score->near_queries += c.near_queries();
  return grpc::Status::OK;
}

grpc::Status ScoreMode(const Options& options, const std::string& mode, const Corpus& corpus,
                       v1::Inference::Stub* stub, Score* total) {
  std::vector<Score> scores(corpus.windows.size());  // summed in order: the result repeats exactly
  std::atomic<size_t> next = 0;
  std::mutex mutex;
  grpc::Status failure;
  const auto start = std::chrono::steady_clock::now();
  std::vector<std::thread> workers;
  for (int i = 0; i < options.concurrency; ++i) {
    workers.emplace_back([&] {
      for (size_t at = next++; at < corpus.windows.size(); at = next++) {
        const grpc::Status status =
            ScoreWindow(options, mode, corpus.windows[at], stub, &scores[at]);
        if (!status.ok()) {
          const std::lock_guard lock(mutex);
          failure = status;
          next = corpus.windows.size();
        }
      }
    });
  }
  for (std::thread& worker : workers) {
    worker.join();
  }
  total->seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  for (const Score& s : scores) {
    total->nats += s.nats;
    total->tokens += s.tokens;
    total->performed += s.performed;
    total->dense += s.dense;
    total->queries += s.queries;
    total->recall_wanted += s.recall_wanted;
    total->recall_found += s.recall_found;
    total->near_queries += s.near_queries;
  }
  return failure;
}

int Eval(const Options& options) {
  const auto stub = options.connection.Stub();
  Corpus corpus;
  if (const grpc::Status status = ReadCorpus(options, stub.get(), &corpus); !status.ok()) {
    return Report(status);
  }
  std::printf("%s: %d documents, %lld bytes\n", options.text_file.c_str(), corpus.documents,
              static_cast<long long>(corpus.bytes));
  std::printf("%-10s %10s %10s %10s %11s %10s %14s %8s %8s\n", "mode", "nats/token", "perplexity",
              "nats/byte", "bits/byte", "tokens/s", "% of causal", "near %", "recall %");
  std::vector<std::string> modes = options.modes;
  if (modes.empty()) {
    modes = {options.attention.mode.empty() ? "" : options.attention.mode};
  }
  for (const std::string& mode : modes) {
    Score s;
    const grpc::Status status = ScoreMode(options, mode, corpus, stub.get(), &s);
    if (!status.ok()) {
      return Report(status);
    }
    const double per_token = s.nats / double(s.tokens), per_byte = s.nats / double(corpus.bytes);
    char recall[16] = "-";
    if (s.recall_wanted > 0) {
      std::snprintf(recall, sizeof(recall), "%.1f",
                    100.0 * double(s.recall_found) / double(s.recall_wanted));
    }
    std::printf("%-10s %10.4f %10.3f %10.4f %11.4f %10.0f %14.1f %8.2f %8s\n",
                mode.empty() ? "(default)" : mode.c_str(), per_token, std::exp(per_token), per_byte,
                per_byte / std::log(2.0), double(s.tokens) / s.seconds,
                100.0 * double(s.performed) / double(s.dense),
                100.0 * double(s.near_queries) / double(s.queries), recall);
    std::fflush(stdout);
  }
  return 0;
}

}  // namespace

void AddEval(CLI::App* app, Run* run) {
  CLI::App* command =
      app->add_subcommand("eval", "Loss of the served model on a text, per attention mode");
  auto options = std::make_shared<Options>();
  options->connection.AddTo(command);
  options->attention.AddTo(command);
  command->add_option("--text", options->text_file, "UTF-8 text")->required();
  command
      ->add_option("--modes", options->modes,
                   "modes to compare, as dense,alcca; tree is alcca with tree search")
      ->delimiter(',')
      ->check(CLI::IsMember({"dense", "alcca", kTree, "multipole", "window", "topk"}));
  command->add_option("--separator", options->separator, "between documents")
      ->capture_default_str();
  command->add_option("--length", options->length,
                      "tokens scored in one piece; 0: 512 or the context");
  command->add_option("--limit", options->limit, "documents; 0: all");
  command->add_option("--concurrency", options->concurrency)
      ->check(CLI::Range(1, 256))
      ->capture_default_str();
  command->callback([options, run] { *run = [options] { return Eval(*options); }; });
}

}  // namespace alcca::cli
