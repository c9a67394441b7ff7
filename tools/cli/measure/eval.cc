#include <chrono>
#include <cmath>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "tools/cli/commands.h"
#include "tools/cli/measure/card_table.h"
#include "tools/cli/measure/cost.h"
#include "tools/cli/measure/loss.h"
#include "tools/cli/measure/scoring.h"
#include "tools/cli/measure/variant.h"
#include "tools/cli/options.h"
#include "tools/cli/report.h"

namespace alcca::cli {
namespace {

struct EvalFlags {
  ConnectionOptions connection;
  AttentionOptions attention;
  JsonOption json;
  std::vector<std::string> modes;
  std::string text_file;
  std::string separator = "<|endoftext|>";
  uint32_t length = 0;  // tokens scored together; 0: 512, or what the context holds
  int limit = 0;        // documents; 0: all
  int concurrency = 4;
  bool by_position = false;
  bool card_table = false;
  std::vector<uint32_t> lengths = {1000, 4000, 16000, 32000};
};

// A text as token ids, in windows that share one token, so that each token but the first of a
// document is predicted once.
struct Corpus {
  std::vector<TokenIds> windows;
  int64_t bytes = 0;
  int documents = 0;
};

struct Result {
  std::string name;
  v1::AttentionParams applied;
  Loss loss;
  Cost cost;
  double seconds = 0;
};

grpc::Status ReadCorpus(const EvalFlags& options, Scorer* scorer, Corpus* corpus) {
  std::string all;
  if (const grpc::Status status = ReadText(options.text_file, &all); !status.ok()) {
    return status;
  }
  const v1::GetModelInfoResponse& info = scorer->info();
  const uint32_t room = info.max_req_input_len() - 1;  // one token of a window is the next one's
  if (options.length > room) {
    return {grpc::StatusCode::INVALID_ARGUMENT,
            absl::StrCat("--length ", options.length, ": the served model scores at most ", room,
                         " tokens in one piece")};
  }
  const uint32_t length = options.length == 0 ? std::min(512u, room) : options.length;
  for (const std::string& document : SplitDocuments(all, options.separator, options.limit)) {
    TokenizedText text;
    if (const grpc::Status status = scorer->Tokenize(document, &text); !status.ok()) {
      return status;
    }
    TokenIds& ids = text.ids;
    if (info.has_bos_token_id()) {
      ids.insert(ids.begin(), info.bos_token_id());
    }
    if (info.eos_token_ids_size() > 0) {
      ids.push_back(info.eos_token_ids(0));
    }
    for (size_t i = 0; i + 1 < ids.size(); i += length) {
      corpus->windows.emplace_back(ids.begin() + i,
                                   ids.begin() + std::min(ids.size(), i + length + 1));
    }
    corpus->bytes += static_cast<int64_t>(document.size());
    ++corpus->documents;
  }
  if (corpus->windows.empty()) {
    return {grpc::StatusCode::INVALID_ARGUMENT, "'" + options.text_file + "' holds no text"};
  }
  return grpc::Status::OK;
}

grpc::Status ScoreCorpus(const Variant& variant, const Corpus& corpus, int concurrency,
                         Scorer* scorer, Result* result) {
  std::vector<SequenceScore> scores(corpus.windows.size());
  const auto start = std::chrono::steady_clock::now();
  const grpc::Status status = ForEach(scores.size(), concurrency, [&](size_t i) {
    return scorer->Score(corpus.windows[i], variant.attention, &scores[i]);
  });
  result->name = variant.name;
  result->seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  for (const SequenceScore& score : scores) {  // in order: the sum repeats exactly
    result->loss.Add(score.logprobs);
    result->cost.Add(score.attention, scorer->heads());
  }
  result->applied = scores[0].attention.applied();
  return status;
}

void PrintRow(const Result& r, int64_t bytes, FILE* out) {
  const double per_token = r.loss.nats_per_token(), per_byte = r.loss.nats() / double(bytes);
  std::string recall = "-";
  if (r.cost.sum.recall_wanted() > 0) {
    recall = absl::StrFormat("%.1f", 100 * r.cost.recall());
  }
  std::fprintf(out, "%-12s %10.4f %10.3f %10.4f %11.4f %10.0f %14.1f %8.2f %8s\n", r.name.c_str(),
               per_token, std::exp(per_token), per_byte, per_byte / std::log(2.0),
               double(r.loss.tokens()) / r.seconds, 100 * r.cost.performed_over_causal(),
               100 * r.cost.near_share(), recall.c_str());
  std::fflush(out);
}

// Nats per token, a row a bucket and a column a mode.
void PrintByPosition(const std::vector<Result>& results, FILE* out) {
  std::fprintf(out, "\nnats/token by tokens before\n%-15s %9s", "position", "tokens");
  for (const Result& r : results) {
    std::fprintf(out, " %12s", r.name.c_str());
  }
  for (size_t i = 0; i < results[0].loss.by_position().size(); ++i) {
    const Loss::Bucket& bucket = results[0].loss.by_position()[i];
    std::fprintf(out, "\n%-15s %9lld", absl::StrFormat("%d-%d", bucket.from, bucket.to - 1).c_str(),
                 static_cast<long long>(bucket.tokens));
    for (const Result& r : results) {
      std::fprintf(out, " %12.4f", r.loss.by_position()[i].nats_per_token());
    }
  }
  std::fprintf(out, "\n");
}

nlohmann::json ToJson(const Result& r, int64_t bytes, bool by_position) {
  const double per_token = r.loss.nats_per_token(), per_byte = r.loss.nats() / double(bytes);
  nlohmann::json json = {{"mode", ModeName(r.applied.mode())},
                         {"label", r.name},
                         {"tokens", r.loss.tokens()},
                         {"nats_per_token", per_token},
                         {"perplexity", std::exp(per_token)},
                         {"nats_per_byte", per_byte},
                         {"bits_per_byte", per_byte / std::log(2.0)},
                         {"tokens_per_second", double(r.loss.tokens()) / r.seconds},
                         {"performed_vs_causal", r.cost.performed_over_causal()},
                         {"qk_with_build_vs_causal", r.cost.query_key_over_causal()},
                         {"near_share", r.cost.near_share()}};
  if (r.cost.sum.recall_wanted() > 0) {
    json["recall"] = r.cost.recall();
  }
  if (r.cost.sum.error_checked() > 0) {
    json["output_error"] = r.cost.error();
  }
  for (const Loss::Bucket& bucket : r.loss.by_position()) {
    if (by_position) {
      json["by_position"].push_back({{"from", bucket.from},
                                     {"to", bucket.to},
                                     {"tokens", bucket.tokens},
                                     {"nats_per_token", bucket.nats_per_token()}});
    }
  }
  return json;
}

// The documents as one text.
grpc::Status JoinDocuments(const EvalFlags& options, std::string* text) {
  const grpc::Status status = ReadText(options.text_file, text);
  *text = absl::StrJoin(SplitDocuments(*text, options.separator, options.limit), "\n\n");
  std::string_view rest = *text;
  text->resize(CutTokenizable(kTokenizeBytes, &rest).size());  // sequences enough of any length
  return status;
}

int EvalCardTable(const EvalFlags& options) {
  Scorer scorer(options.connection);
  CardOptions card;
  card.lengths = options.lengths;
  card.attention = options.attention.Params();
  card.concurrency = options.concurrency;
  CardTable table;
  table.text = options.text_file;
  grpc::Status status = scorer.Connect();
  if (status.ok()) {
    status = JoinDocuments(options, &card.text);
  }
  if (status.ok()) {
    status = MeasureCardTable(card, &scorer, options.json.text(), &table);
  }
  return Report(status.ok() ? options.json.Write(CardTableJson(table)) : status);
}

int Eval(const EvalFlags& options) {
  Scorer scorer(options.connection);
  Corpus corpus;
  grpc::Status status = scorer.Connect();
  if (status.ok()) {
    status = ReadCorpus(options, &scorer, &corpus);
  }
  if (!status.ok()) {
    return Report(status);
  }
  std::vector<Variant> variants;
  (void)ParseVariants(options.modes, options.attention.Params(), &variants);  // checked by the flag
  if (variants.empty()) {
    const std::optional<AttentionMode>& mode = options.attention.settings.mode;
    variants = {{mode ? AttentionModeName(*mode) : "(default)", options.attention.Params()}};
  }
  FILE* out = options.json.text();
  std::fprintf(out, "%s: %d documents, %lld bytes\n", options.text_file.c_str(), corpus.documents,
               static_cast<long long>(corpus.bytes));
  std::fprintf(out, "%-12s %10s %10s %10s %11s %10s %14s %8s %8s\n", "mode", "nats/token",
               "perplexity", "nats/byte", "bits/byte", "tokens/s", "% of causal", "near %",
               "recall %");
  nlohmann::json json = {{"text", options.text_file},
                         {"documents", corpus.documents},
                         {"bytes", corpus.bytes},
                         {"modes", nlohmann::json::array()}};
  std::vector<Result> results;
  for (Variant& variant : variants) {
    if (variant.matched) {
      MatchBudget(results.back().applied, results.back().cost, &variant);
    }
    Result result;
    status = ScoreCorpus(variant, corpus, options.concurrency, &scorer, &result);
    if (!status.ok()) {
      return Report(status);
    }
    PrintRow(result, corpus.bytes, out);
    json["modes"].push_back(ToJson(result, corpus.bytes, options.by_position));
    results.push_back(std::move(result));
  }
  if (options.by_position) {
    PrintByPosition(results, out);
  }
  return Report(options.json.Write(json));
}

}  // namespace

void AddEval(CLI::App* app, Run* run) {
  CLI::App* command =
      app->add_subcommand("eval", "Loss of the served model on a text, per attention mode");
  auto options = std::make_shared<EvalFlags>();
  options->connection.AddTo(command);
  options->attention.AddTo(command);
  options->json.AddTo(command);
  command->add_option("--text", options->text_file, "UTF-8 text")->required();
  command->add_option("--modes", options->modes, kVariantHelp)->delimiter(',');
  command->add_option("--separator", options->separator, "between documents")
      ->capture_default_str();
  command->add_option("--length", options->length,
                      "tokens scored in one piece; 0: 512 or the context");
  command->add_option("--limit", options->limit, "documents; 0: all");
  command->add_flag("--by-position", options->by_position,
                    "also the loss by the number of tokens before, in their piece");
  CLI::Option* card = command->add_flag(
      "--card-table", options->card_table,
      "the published model card's comparison, measured on the joined documents instead");
  command->add_option("--lengths", options->lengths, "of the card's table, in tokens")
      ->delimiter(',')
      ->check(CLI::Range(2u, 1u << 20))
      ->needs(card)
      ->capture_default_str();
  command->add_option("--concurrency", options->concurrency)
      ->check(CLI::Range(1, 256))
      ->capture_default_str();
  command->callback([options, run] {
    std::vector<Variant> unused;
    if (const std::string wrong = ParseVariants(options->modes, {}, &unused); !wrong.empty()) {
      throw CLI::ValidationError("--modes", wrong);
    }
    *run = [options] { return options->card_table ? EvalCardTable(*options) : Eval(*options); };
  });
}

}  // namespace alcca::cli
