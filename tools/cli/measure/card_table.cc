#include "tools/cli/measure/card_table.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "absl/strings/str_format.h"
#include "tools/cli/report.h"

namespace alcca::cli {
namespace {

constexpr int kTimedRuns = 3;  // of each row; the table has the median

// The card, word for word where it is words.
constexpr int kPublishedLength = 1000;
constexpr const char* kPublishedClaim =
    "98.7 % fewer than full, 87 % fewer than sliding window and sparse";
struct PublishedRow {
  const char* role;
  int64_t interactions;
};
constexpr PublishedRow kPublished[] = {
    {"full", 1000000}, {"window", 100000}, {"sparse", 100000}, {"tree", 11000}};

// `label` is in the server's words, not the card's: what the card calls full is n^2, which no mode
// computes, and its sparse attention is topk. `role` is the key of a row, whatever its label.
struct RowPlan {
  const char* role;
  std::string label, variant;
};

std::vector<RowPlan> Plan() {
  return {{"full", "dense (causal)", "dense"},
          {"window", "window 100", "window:window=100"},
          {"sparse", "topk 0.1", "topk:sparsity=0.1"},
          {"exact", "alcca k=8, exact search", "exact:k=8"},
          {"tree", "alcca k=8, tree search", "tree:k=8"},
          {"window_k", "window 8 (alcca's k)", "window:window=8"}};
}

bool Refused(const grpc::Status& status) {
  return status.error_code() == grpc::StatusCode::UNIMPLEMENTED ||
         status.error_code() == grpc::StatusCode::INVALID_ARGUMENT;
}

class LengthMeasurement {
 public:
  LengthMeasurement(const CardOptions& options, const ExactSequences& sequences, Scorer* scorer,
                    CardTable::Length* out)
      : options_(options), sequences_(sequences), scorer_(*scorer), out_(*out) {}

  grpc::Status Run() {
    grpc::Status status;
    for (const RowPlan& plan : Plan()) {
      Variant variant;
      (void)ParseVariant(plan.variant, options_.attention, &variant);
      if (status = Add(plan.role, plan.label, variant.attention); !status.ok()) {
        return status;
      }
    }
    if (status = AddTreeBudget(); !status.ok()) {
      return status;
    }
    if (status = AddMultipole(); !status.ok()) {
      return status;
    }
    return Time();
  }

 private:
  // The tree's budget is the server's to say where no flag does: its reply tells. Two controls,
  // since a softmax window on a model trained with the formula loses by its kernel alone.
  grpc::Status AddTreeBudget() {
    const CardRow tree = *out_.Find("tree");
    Variant newest, window;
    MatchBudget(tree.applied, tree.cost, &newest);
    const uint32_t distances = tree.applied.tree_distances();
    window.attention = options_.attention;
    window.attention.set_mode(v1::ATTENTION_MODE_WINDOW);
    window.attention.set_window(distances);
    const grpc::Status status =
        Add("window_tree", absl::StrFormat("window %d (the tree's distances)", distances),
            window.attention);
    return !status.ok() ? status
                        : Add("newest", absl::StrFormat("alcca k=8, %d newest keys", distances),
                              newest.attention);
  }

  grpc::Status AddMultipole() {
    Variant variant;
    (void)ParseVariant(kMultipole, options_.attention, &variant);
    const grpc::Status status = Add("multipole", "multipole", variant.attention);
    if (Refused(status)) {
      out_.notes.push_back("multipole: the server refuses it: " + status.error_message());
      return grpc::Status::OK;
    }
    if (!status.ok()) {
      return status;
    }
    Variant window;
    const CardRow multipole = *out_.Find("multipole");
    MatchBudget(multipole.applied, multipole.cost, &window);
    return Add("window_multipole",
               absl::StrFormat("window %d (multipole's budget)", window.attention.window()),
               window.attention);
  }

  grpc::Status Add(const std::string& role, const std::string& label,
                   const v1::AttentionParams& attention) {
    std::vector<SequenceScore> scores(sequences_.ids.size());
    const grpc::Status status = ForEach(scores.size(), options_.concurrency, [&](size_t i) {
      return scorer_.Score(sequences_.ids[i], attention, &scores[i]);
    });
    if (!status.ok()) {
      return status;
    }
    CardRow row;
    row.role = role;
    row.label = label;
    row.n = out_.n;
    row.heads = scorer_.heads();
    row.asked = attention;
    double nats = 0;
    for (const SequenceScore& score : scores) {  // in order: the sum repeats exactly
      row.cost.Add(score.attention, row.heads);
      for (const float logprob : score.logprobs) {
        nats -= logprob;
      }
    }
    if (row.cost.fell_back > 0) {
      out_.notes.push_back(absl::StrFormat("%s: %d of %d sequences fell back to dense", label,
                                           row.cost.fell_back, row.cost.sequences));
    }
    row.applied = scores[0].attention.applied();
    row.nats_per_byte = nats / double(sequences_.bytes);
    out_.rows.push_back(std::move(row));
    return status;
  }

  // One at a time, and the rows in turns, so that a machine that slows down slows all of them.
  grpc::Status Time() {
    std::vector<std::vector<double>> seconds(out_.rows.size());
    for (int run = 0; run < kTimedRuns; ++run) {
      for (size_t i = 0; i < out_.rows.size(); ++i) {
        const TokenIds& ids = sequences_.ids[run % sequences_.ids.size()];
        const grpc::Status status =
            scorer_.TimePrefill(ids, out_.rows[i].asked, &seconds[i].emplace_back());
        if (!status.ok()) {
          return status;
        }
      }
    }
    for (size_t i = 0; i < out_.rows.size(); ++i) {
      std::sort(seconds[i].begin(), seconds[i].end());
      out_.rows[i].seconds = seconds[i][kTimedRuns / 2];
    }
    return grpc::Status::OK;
  }

  const CardOptions& options_;
  const ExactSequences& sequences_;
  Scorer& scorer_;
  CardTable::Length& out_;
};

std::string Fewer(double part, double whole) {
  const double saved = 1 - part / whole;
  return absl::StrFormat("%.1f %% %s", 100 * std::abs(saved), saved < 0 ? "more" : "fewer");
}

std::string Claim(const CardTable::Length& length) {
  std::string text;
  const CardRow* window = length.Find("window");
  const CardRow* sparse = length.Find("sparse");
  for (const char* role : {"tree", "exact"}) {
    const CardRow* row = length.Find(role);
    if (row == nullptr || window == nullptr || sparse == nullptr) {
      continue;
    }
    absl::StrAppendFormat(&text,
                          "  measured   %s, build included: %s than n^2, %s than causal dense,\n"
                          "             %s than window, %s than topk (which scores every key)\n",
                          row->label, Fewer(row->cost.query_key_over_square(), 1),
                          Fewer(row->cost.query_key_over_causal(), 1),
                          Fewer(row->with_build(), window->with_build()),
                          Fewer(row->with_build(), sparse->with_build()));
  }
  return text;
}

}  // namespace

double CardRow::PerHead(int64_t sum) const {
  return heads > 0 && cost.sequences > 0 ? double(sum) / double(heads * cost.sequences) : 0;
}

double CardRow::all() const {
  return PerHead(Performed(cost.sum));
}

double CardRow::kv_bytes() const {
  return cost.sequences > 0 ? double(cost.sum.kv_bytes_read()) / double(cost.sequences) : 0;
}

const CardRow* CardTable::Length::Find(const std::string& role) const {
  const auto row = std::find_if(rows.begin(), rows.end(),
                                [&](const CardRow& candidate) { return candidate.role == role; });
  return row == rows.end() ? nullptr : &*row;
}

grpc::Status MeasureCardTable(const CardOptions& options, Scorer* scorer, FILE* out,
                              CardTable* table) {
  const v1::GetModelInfoResponse& info = scorer->info();
  table->model = info.served_model_name();
  table->default_mode = ModeName(info.default_attention().mode());
  TokenizedText text;
  if (const grpc::Status status = scorer->Tokenize(options.text, &text); !status.ok()) {
    return status;
  }
  std::fputs(CardHeading(*table).c_str(), out);
  for (const uint32_t n : options.lengths) {
    CardTable::Length& length = table->lengths.emplace_back();
    length.n = n;
    const ExactSequences sequences = CutSequences(text, info, n, text.ids.size());
    grpc::Status status;
    if (n > info.max_req_input_len()) {
      length.notes.push_back(absl::StrFormat(
          "not measured: it exceeds the model's context of %d tokens (prompts of %d at most)",
          info.max_context_length(), info.max_req_input_len()));
    } else if (sequences.ids.empty()) {
      length.notes.push_back(
          absl::StrFormat("not measured: the text has only %d tokens", text.ids.size()));
    } else {
      length.sequences = static_cast<int64_t>(sequences.ids.size());
      length.bytes = sequences.bytes;
      status = LengthMeasurement(options, sequences, scorer, &length).Run();
    }
    if (!status.ok()) {
      return status;
    }
    std::fputs(CardText(length).c_str(), out);
    std::fflush(out);
  }
  return grpc::Status::OK;
}

std::string CardHeading(const CardTable& table) {
  return absl::StrFormat(
      "%s on %s. Interactions of one sequence of n tokens, per layer and query head.\n"
      "The server's default attention is %s; a model trained with one kernel loses under "
      "another.\n",
      table.model, table.text, table.default_mode);
}

std::string CardText(const CardTable::Length& length) {
  std::string text = absl::StrFormat("\nn = %d", length.n);
  if (!length.rows.empty()) {
    absl::StrAppendFormat(&text, ", %d sequences, %s bytes\n  %-34s %11s %11s %9s %9s %9s %9s %9s",
                          length.sequences, Grouped(length.bytes), "", "query-key", "with build",
                          "% of n^2", "% causal", "KV MB", "ms", "nats/byte");
  }
  text += "\n";
  for (const CardRow& row : length.rows) {
    absl::StrAppendFormat(&text, "  %-34s %11s %11s %9s %9s %9.1f %9.1f %9.4f\n", row.label,
                          Grouped(std::llround(row.qk())), Grouped(std::llround(row.with_build())),
                          Percent(row.cost.query_key_over_square()),
                          Percent(row.cost.query_key_over_causal()), row.kv_bytes() / 1e6,
                          1e3 * row.seconds, row.nats_per_byte);
  }
  for (const std::string& note : length.notes) {
    absl::StrAppendFormat(&text, "  %s\n", note);
  }
  if (length.n == kPublishedLength) {
    absl::StrAppendFormat(
        &text,
        "  published  full (n^2) 1,000,000; window 100,000; sparse (topk) 100,000; ALCCA "
        "about 11,000:\n             %s\n",
        kPublishedClaim);
  }
  return text + Claim(length);
}

nlohmann::json CardTableJson(const CardTable& table) {
  nlohmann::json json = {{"text", table.text},
                         {"model", table.model},
                         {"default_mode", table.default_mode},
                         {"rows", nlohmann::json::array()},
                         {"notes", nlohmann::json::array()}};
  json["published"] = {{"n", kPublishedLength}, {"claim", kPublishedClaim}};
  for (const PublishedRow& row : kPublished) {
    json["published"]["interactions"][row.role] = row.interactions;
  }
  for (const CardTable::Length& length : table.lengths) {
    for (const CardRow& row : length.rows) {
      json["rows"].push_back({{"n", row.n},
                              {"role", row.role},
                              {"label", row.label},
                              {"mode", ModeName(row.applied.mode())},
                              {"interactions_qk", row.qk()},
                              {"interactions_with_build", row.with_build()},
                              {"interactions_all", row.all()},
                              {"vs_n2", row.cost.query_key_over_square()},
                              {"vs_causal", row.cost.query_key_over_causal()},
                              {"all_vs_2n2", row.cost.performed_over_square()},
                              {"all_vs_causal", row.cost.performed_over_causal()},
                              {"kv_bytes", row.kv_bytes()},
                              {"ms", 1e3 * row.seconds},
                              {"nats_per_byte", row.nats_per_byte}});
    }
    for (const std::string& note : length.notes) {
      json["notes"].push_back({{"n", length.n}, {"note", note}});
    }
  }
  return json;
}

}  // namespace alcca::cli
