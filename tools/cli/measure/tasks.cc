#include <algorithm>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/strings/str_format.h"
#include "tools/cli/commands.h"
#include "tools/cli/measure/far_key_tasks.h"
#include "tools/cli/measure/scoring.h"
#include "tools/cli/measure/task_report.h"
#include "tools/cli/measure/variant.h"
#include "tools/cli/options.h"
#include "tools/cli/report.h"

namespace alcca::cli {
namespace {

constexpr uint32_t kAnswerTokens = 8;  // of a greedy completion; its first word is what counts

struct TaskFlags {
  ConnectionOptions connection;
  AttentionOptions attention;
  JsonOption json;
  std::string task;
  std::vector<uint32_t> lengths = {1000};
  std::vector<std::string> variants = {"dense", "exact", "tree", "matched", kMultipole, "matched"};
  int samples = 32;
  int candidates = 8;
  bool greedy_only = false;
  uint64_t seed = 0;
  int concurrency = 4;
};

// A sample as the server is asked it.
struct Question {
  TaskSample sample;
  TokenIds prompt;
  std::vector<TokenIds> full;   // the prompt and each candidate
  std::vector<TokenIds> alone;  // the question and each candidate
  size_t answer_at = 0;         // tokens that prompt and all of `full` share: scored from here on
};

grpc::Status Tokenize(const std::string& text, Scorer* scorer, TokenIds* out) {
  TokenizedText tokenized;
  const grpc::Status status = scorer->Tokenize(text, &tokenized);
  if (scorer->info().has_bos_token_id()) {
    out->push_back(scorer->info().bos_token_id());
  }
  out->insert(out->end(), tokenized.ids.begin(), tokenized.ids.end());
  return status;
}

grpc::Status Tokenize(TaskSample sample, Scorer* scorer, Question* out) {
  *out = {};
  grpc::Status status = Tokenize(sample.prompt, scorer, &out->prompt);
  out->answer_at = out->prompt.size();
  for (const std::string& candidate : sample.candidates) {
    TokenIds& full = out->full.emplace_back();
    if (status.ok()) {
      status = Tokenize(sample.prompt + candidate, scorer, &full);
    }
    if (status.ok()) {
      status = Tokenize(sample.question + candidate, scorer, &out->alone.emplace_back());
    }
    const size_t most = std::min(full.size(), out->answer_at);
    out->answer_at =
        std::mismatch(full.begin(), full.begin() + most, out->prompt.begin()).first - full.begin();
  }
  out->sample = std::move(sample);
  return status;
}

size_t Tokens(const Question& question) {
  size_t most = question.prompt.size() + kAnswerTokens;
  for (const TokenIds& full : question.full) {
    most = std::max(most, full.size() + 1);
  }
  return most;
}

// The longest text of a seed that, with its answer, is no longer than n tokens. No prompt: even the
// shortest is.
grpc::Status Fit(const TaskFlags& options, TaskShape shape, uint32_t n, Scorer* scorer,
                 Question* out) {
  int low = 0, high = static_cast<int>(n);  // a unit is more than one token
  while (high - low > 1) {
    shape.units = (low + high) / 2;
    Question question;
    const grpc::Status status = Tokenize(MakeTask(options.task, shape), scorer, &question);
    if (!status.ok()) {
      return status;
    }
    if (Tokens(question) <= n) {
      low = shape.units;
      *out = std::move(question);
    } else {
      high = shape.units;
    }
  }
  return grpc::Status::OK;
}

struct Answer {
  std::vector<double> logprobs, question_alone;  // mean over a candidate's tokens; see TaskRow::Add
  v1::GenerateComplete greedy;
};

// Appends the mean log-probability of the last tokens of `ids`.
grpc::Status ScoreEnd(const TokenIds& ids, size_t tokens, const v1::AttentionParams& attention,
                      Scorer* scorer, std::vector<double>* out) {
  SequenceScore score;
  const grpc::Status status = scorer->Score(ids, attention, &score);
  double sum = 0;
  for (size_t i = 0; status.ok() && i < tokens; ++i) {
    sum += score.logprobs[score.logprobs.size() - 1 - i];
  }
  out->push_back(sum / double(tokens));
  return status;
}

grpc::Status Ask(const Question& question, const v1::AttentionParams& attention, bool greedy_only,
                 Scorer* scorer, Answer* out) {
  for (size_t i = 0; !greedy_only && i < question.full.size(); ++i) {
    const size_t tokens = question.full[i].size() - question.answer_at;
    grpc::Status status = ScoreEnd(question.full[i], tokens, attention, scorer, &out->logprobs);
    if (status.ok()) {
      status = ScoreEnd(question.alone[i], tokens, attention, scorer, &out->question_alone);
    }
    if (!status.ok()) {
      return status;
    }
  }
  return scorer->Continue(question.prompt, attention, kAnswerTokens, &out->greedy);
}

grpc::Status RunVariant(const TaskFlags& options, const Variant& variant,
                        const std::vector<Question>& questions, Scorer* scorer, TaskRow* row) {
  std::vector<Answer> answers(questions.size());
  const grpc::Status status = ForEach(questions.size(), options.concurrency, [&](size_t i) {
    return Ask(questions[i], variant.attention, options.greedy_only, scorer, &answers[i]);
  });
  if (!status.ok()) {
    return status;
  }
  row->label = variant.name;
  row->applied = answers[0].greedy.attention().applied();
  for (size_t i = 0; i < answers.size(); ++i) {
    const TaskSample& sample = questions[i].sample;
    row->Add(answers[i].logprobs, answers[i].question_alone,
             Answers(answers[i].greedy.text(), sample), sample.depth);
    row->cost.Add(answers[i].greedy.attention(), scorer->heads());
  }
  return status;
}

grpc::Status MakeQuestions(const TaskFlags& options, uint32_t n, Scorer* scorer,
                           std::vector<Question>* out, TaskLength* length) {
  out->resize(options.samples);
  grpc::Status status = ForEach(out->size(), options.concurrency, [&](size_t i) {
    const TaskShape shape = {.seed = options.seed * 1000003 + i,
                             .units = 1,
                             .candidates = options.candidates,
                             .depth = (double(i) + .5) / options.samples};
    return Fit(options, shape, n, scorer, &(*out)[i]);
  });
  for (const Question& question : *out) {
    length->prompt_tokens += double(question.prompt.size()) / options.samples;
    if (question.prompt.empty() && length->notes.empty()) {
      length->notes.push_back("not measured: the shortest text of this task is longer");
    }
  }
  return status;
}

grpc::Status RunLength(const TaskFlags& options, std::vector<Variant> variants, uint32_t n,
                       Scorer* scorer, TaskLength* length) {
  length->n = n;
  if (n > scorer->info().max_context_length()) {
    length->notes.push_back(absl::StrFormat("not measured: it exceeds the model's context of %d",
                                            scorer->info().max_context_length()));
    return grpc::Status::OK;
  }
  std::vector<Question> questions;
  grpc::Status status = MakeQuestions(options, n, scorer, &questions, length);
  if (!status.ok() || !length->notes.empty()) {
    return status;
  }
  bool measured = false;  // whether the variant before was: matched has nothing to match otherwise
  for (Variant& variant : variants) {
    if (variant.matched && !measured) {
      continue;
    }
    if (variant.matched) {
      MatchBudget(length->rows.back().applied, length->rows.back().cost, &variant);
    }
    TaskRow row;
    status = RunVariant(options, variant, questions, scorer, &row);
    measured = status.ok();
    if (measured) {
      length->rows.push_back(std::move(row));
    } else if (status.error_code() == grpc::StatusCode::UNIMPLEMENTED) {
      length->notes.push_back(variant.name + ": the server refuses it: " + status.error_message());
    } else {
      return status;
    }
  }
  return grpc::Status::OK;
}

int Tasks(const TaskFlags& options) {
  Scorer scorer(options.connection);
  if (const grpc::Status status = scorer.Connect(); !status.ok()) {
    return Report(status);
  }
  std::vector<Variant> variants;
  (void)ParseVariants(options.variants, options.attention.Params(), &variants);  // checked before
  TaskReport report;
  report.task = options.task;
  report.model = scorer.info().served_model_name();
  report.seed = options.seed;
  report.samples = options.samples;
  report.candidates = options.candidates;
  report.greedy_only = options.greedy_only;
  report.has_depth = options.task == "passkey" || options.task == "recall";
  FILE* out = options.json.text();
  std::fputs(TaskHeading(report).c_str(), out);
  for (const uint32_t n : options.lengths) {
    const grpc::Status status =
        RunLength(options, variants, n, &scorer, &report.lengths.emplace_back());
    if (!status.ok()) {
      return Report(status);
    }
    std::fputs(TaskText(report, report.lengths.back()).c_str(), out);
    std::fflush(out);
  }
  return Report(options.json.Write(TaskJson(report)));
}

}  // namespace

void AddTasks(CLI::App* app, Run* run) {
  CLI::App* command =
      app->add_subcommand("tasks", "Whether far keys are found: tasks that a window cannot do");
  auto options = std::make_shared<TaskFlags>();
  options->connection.AddTo(command);
  options->attention.AddTo(command);
  options->json.AddTo(command);
  command->add_option("--task", options->task)->required()->check(CLI::IsMember(TaskNames()));
  command->add_option("--lengths", options->lengths, "tokens of a text with its answer")
      ->delimiter(',')
      ->check(CLI::Range(16u, 1u << 20))
      ->capture_default_str();
  command->add_option("--attention", options->variants, kVariantHelp)
      ->delimiter(',')
      ->capture_default_str();
  command->add_option("--samples", options->samples, "texts of a length")
      ->check(CLI::Range(1, 100000))
      ->capture_default_str();
  command->add_option("--candidates", options->candidates, "answers to choose from, one right")
      ->check(CLI::Range(2, kTaskCandidatesMax))
      ->capture_default_str();
  command->add_flag("--greedy-only", options->greedy_only,
                    "only what the model writes is scored: one prompt a sample");
  command->add_option("--seed", options->seed)->capture_default_str();
  command->add_option("--concurrency", options->concurrency)
      ->check(CLI::Range(1, 256))
      ->capture_default_str();
  command->callback([options, run] {
    std::vector<Variant> unused;
    if (const std::string wrong = ParseVariants(options->variants, {}, &unused); !wrong.empty()) {
      throw CLI::ValidationError("--attention", wrong);
    }
    *run = [options] { return Tasks(*options); };
  });
}

}  // namespace alcca::cli
