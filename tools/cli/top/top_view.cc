#include "tools/cli/top/top_view.h"

#include <algorithm>
#include <functional>

#include "absl/strings/str_cat.h"
#include "tools/cli/report.h"

namespace alcca::cli {
namespace {

constexpr int kIndent = 13;
constexpr char kUnknown[] = "-";

Style StateStyle(TopState state) {
  switch (state) {
    case TopState::kUp:
    case TopState::kServing:
      return Style::kGood;
    case TopState::kLoading:
    case TopState::kDraining:
    case TopState::kUnready:
      return Style::kWarn;
    case TopState::kStalled:
    case TopState::kDown:
      return Style::kBad;
    case TopState::kUnknown:
      break;
  }
  return Style::kPlain;
}

std::string ShareText(std::optional<double> share) {
  return share ? Percent(*share) + " %" : kUnknown;
}

std::string LatencyText(const std::optional<TopQuantile>& value) {
  return value ? (value->above ? ">" : "") + HumanSeconds(value->seconds) : kUnknown;
}

// The three figures that GetLoads has as well.
double Running(const TopSample& s) {
  return s.figures ? s.figures->running : s.load ? s.load->running : 0;
}
double Waiting(const TopSample& s) {
  return s.figures ? s.figures->waiting : s.load ? s.load->waiting : 0;
}
double KvUsage(const TopSample& s) {
  return s.figures ? s.figures->kv_usage : s.load ? s.load->kv_usage : 0;
}
bool Known(const TopSample& s) {
  return s.figures.has_value() || s.load.has_value();
}

std::optional<double> GenerationRate(const TopDaemon& d) {
  if (d.rates) {
    return d.rates->generation_tokens;
  }
  return d.sample.load ? std::optional(d.sample.load->generation_rate) : std::nullopt;
}

std::string CountText(std::optional<double> value) {
  return value ? HumanCount(*value) : kUnknown;
}

// --- One daemon ----------------------------------------------------------------------------------

void AddIdentity(const TopDaemon& d, TermPage* page) {
  const TopSample& s = d.sample;
  std::vector<Cell> cells = {{{Printable(d.name), Style::kBold}},
                             {{TopStateName(s.state), StateStyle(s.state)}}};
  if (s.uptime >= 0) {
    cells.push_back({{"up " + HumanUptime(s.uptime)}});
  }
  for (const std::string& text : {s.model, s.weights, s.device, s.version}) {
    if (!text.empty()) {
      cells.push_back({{Printable(text, 60)}});
    }
  }
  page->Row("", 0, cells);
  if (!s.problem.empty()) {
    page->Paragraph(Printable(s.problem), 2, Style::kBad);
  }
  if (d.rates && d.rates->restarted) {
    page->Paragraph("restarted: counted from the start", 2, Style::kWarn);
  }
}

void AddThroughput(const TopDaemon& d, const TermLook& look, TermPage* page) {
  const auto row = [&](const char* label, std::optional<double> rate,
                       const std::vector<double>& history) {
    const std::string text = PadLeft(CountText(rate), 7) + " tokens/s";
    const int room = page->Room(kIndent + static_cast<int>(text.size()) + 2);
    std::vector<Cell> cells = {{{text, Style::kBold}}};
    if (room >= 4) {
      cells.push_back({{Sparkline(history, std::min(room, 60), look.unicode), Style::kGood}});
    }
    page->Row(label, kIndent, cells);
  };
  row("generation", GenerationRate(d), d.generation_history);
  row("prompts", d.rates ? std::optional(d.rates->prompt_tokens) : std::nullopt, d.prompt_history);
}

void AddRequests(const TopDaemon& d, TermPage* page) {
  const TopSample& s = d.sample;
  const double waiting_tokens = s.figures ? s.figures->waiting_tokens : s.load->waiting_tokens;
  std::string running = HumanCount(Running(s)) + " running";
  if (s.load && s.load->max_running > 0) {
    absl::StrAppend(&running, " of ", HumanCount(s.load->max_running));
  }
  std::vector<Cell> cells = {{{running}}};
  std::string waiting = HumanCount(Waiting(s)) + " waiting";
  if (waiting_tokens > 0) {
    absl::StrAppend(&waiting, " (", HumanCount(waiting_tokens), " tokens)");
  }
  cells.push_back({{waiting, Waiting(s) > 0 ? Style::kWarn : Style::kPlain}});
  if (d.rates) {
    const TopRates& r = *d.rates;
    cells.push_back({{HumanCount(r.finished) + "/s finished"}});
    cells.push_back(
        {{HumanCount(r.rejected) + "/s rejected", r.rejected > 0 ? Style::kBad : Style::kPlain}});
    if (r.failed > 0) {
      cells.push_back({{HumanCount(r.failed) + "/s failed", Style::kBad}});
    }
    if (r.prefix_hits) {
      cells.push_back({{Percent(*r.prefix_hits) + " % of prompts cached"}});
    }
    if (r.preemptions > 0) {
      cells.push_back({{HumanCount(r.preemptions) + "/s preempted", Style::kWarn}});
    }
  }
  page->Row("requests", kIndent, cells);
}

void AddLatency(const TopRates& r, TermPage* page) {
  constexpr int kColumn = 9;
  page->Row("latency", kIndent,
            {{{PadLeft("p50", kColumn) + PadLeft("p95", kColumn), Style::kDim}}});
  const auto row = [&](const char* label, const TopLatency& latency) {
    page->Row(label, kIndent,
              {{{PadLeft(LatencyText(latency.p50), kColumn) +
                 PadLeft(LatencyText(latency.p95), kColumn)}}});
  };
  row(" first token", r.first_token);
  row(" next tokens", r.token_gap);
  row(" request", r.request);
}

void AddMemory(const TopSample& s, const TermLook& look, TermPage* page) {
  const double usage = KvUsage(s);
  const int bar = std::clamp(look.width - kIndent - 20, 10, 32);
  std::string text = " " + Percent(usage) + " %";
  if (s.figures) {
    absl::StrAppend(&text, " of ", HumanCount(s.figures->kv_pages), " pages");
  }
  const Style style = usage > .95 ? Style::kBad : usage > .8 ? Style::kWarn : Style::kGood;
  std::vector<Cell> cells = {{{Bar(usage, bar, look.unicode), style}}, {{text.substr(1)}}};
  if (s.figures) {
    cells.push_back({{"index " + HumanBytes(s.figures->index_bytes)}});
  }
  page->Row("KV cache", kIndent, cells);
}

void AddAttention(const TopDaemon& d, TermPage* page) {
  constexpr int kColumn = 9;
  const TopRates& r = *d.rates;
  if (r.modes.empty()) {
    page->Row("attention", kIndent, {{{"no queries in the interval", Style::kDim}}});
  } else {
    page->Row(
        "attention", kIndent,
        {{{PadLeft("prefill", kColumn) + PadLeft("decode", kColumn) + PadLeft("near", kColumn),
           Style::kDim}},
         {{"of causal dense's work", Style::kDim}}});
  }
  for (const auto& [name, mode] : r.modes) {
    page->Row(
        " " + Printable(name, 11), kIndent,
        {{{PadLeft(ShareText(mode.cost[0]), kColumn) + PadLeft(ShareText(mode.cost[1]), kColumn) +
           PadLeft(ShareText(mode.near), kColumn)}}});
  }
  const TopFigures& f = *d.sample.figures;
  if (f.recall_wanted > 0) {
    page->Row(" tree recall", kIndent,
              {{{PadLeft(ShareText(r.recall), kColumn)}},
               {{ShareText(f.recall_found / f.recall_wanted) + " since the start"}}});
  }
  if (r.fallbacks > 0) {
    page->Row("", kIndent, {{{HumanCount(r.fallbacks) + "/s fell back to dense", Style::kWarn}}});
  }
}

void AddDetails(const TopDaemon& d, const TermLook& look, TermPage* page) {
  AddIdentity(d, page);
  if (!Known(d.sample)) {
    return;
  }
  AddThroughput(d, look, page);
  AddRequests(d, page);
  if (d.rates) {
    AddLatency(*d.rates, page);
  }
  AddMemory(d.sample, look, page);
  if (d.rates && d.sample.figures) {
    AddAttention(d, page);
  }
}

// --- Many daemons --------------------------------------------------------------------------------

struct Column {
  const char* title;
  int columns;
  int rank;  // the highest go first where there is no room
  std::function<std::string(const TopDaemon&)> text;
};

const std::vector<Column>& TableColumns() {
  static const std::vector<Column> columns = {
      {"tokens/s", 9, 1, [](const TopDaemon& d) { return CountText(GenerationRate(d)); }},
      {"prompt/s", 9, 6,
       [](const TopDaemon& d) { return d.rates ? HumanCount(d.rates->prompt_tokens) : kUnknown; }},
      {"run", 6, 3,
       [](const TopDaemon& d) {
         return Known(d.sample) ? HumanCount(Running(d.sample)) : kUnknown;
       }},
      {"wait", 6, 2,
       [](const TopDaemon& d) {
         return Known(d.sample) ? HumanCount(Waiting(d.sample)) : kUnknown;
       }},
      {"rej/s", 6, 7,
       [](const TopDaemon& d) { return d.rates ? HumanCount(d.rates->rejected) : kUnknown; }},
      {"ttft95", 9, 4,
       [](const TopDaemon& d) {
         return d.rates ? LatencyText(d.rates->first_token.p95) : kUnknown;
       }},
      {"itl95", 9, 5,
       [](const TopDaemon& d) { return d.rates ? LatencyText(d.rates->token_gap.p95) : kUnknown; }},
      {"KV", 8, 4,
       [](const TopDaemon& d) {
         return Known(d.sample) ? ShareText(KvUsage(d.sample)) : kUnknown;
       }},
      {"cost", 8, 5,
       [](const TopDaemon& d) { return d.rates ? ShareText(d.rates->cost) : kUnknown; }},
  };
  return columns;
}

void AddTable(const TopFrame& frame, size_t first, size_t rows, TermPage* page) {
  size_t name_columns = 6;
  for (const TopDaemon& d : frame.daemons) {
    name_columns = std::max(name_columns, d.name.size());
  }
  constexpr int kState = 9;
  const int name = std::min(static_cast<int>(name_columns), page->Room(kState + 3 + 9));
  int room = page->Room(2 + name + 1 + kState);
  int ranks = 0;  // how many ranks there is room for
  for (int rank = 1; rank <= 7; ++rank) {
    for (const Column& column : TableColumns()) {
      room -= column.rank == rank ? column.columns : 0;
    }
    ranks = room >= 0 ? rank : ranks;
  }
  std::string titles = PadRight("  daemon", 2 + name + 1) + PadRight("state", kState);
  for (const Column& column : TableColumns()) {
    titles += column.rank <= ranks ? PadLeft(column.title, column.columns) : "";
  }
  page->Line({{titles, Style::kDim}});
  for (size_t i = first; i < std::min(first + rows, frame.daemons.size()); ++i) {
    const TopDaemon& d = frame.daemons[i];
    std::string figures;
    for (const Column& column : TableColumns()) {
      figures += column.rank <= ranks ? PadLeft(column.text(d), column.columns) : "";
    }
    std::string short_name = Printable(d.name, static_cast<size_t>(std::max(0, name)));
    page->Line(
        {{i == frame.selected ? "> " : "  ", Style::kBold},
         {PadRight(short_name, name + 1), i == frame.selected ? Style::kBold : Style::kPlain},
         {PadRight(TopStateName(d.sample.state), kState), StateStyle(d.sample.state)},
         {figures}});
  }
}

void AddHead(const TopFrame& frame, TermPage* page) {
  size_t serving = 0;
  double generation = 0;
  for (const TopDaemon& d : frame.daemons) {
    serving += d.sample.state == TopState::kServing || d.sample.state == TopState::kUp ? 1 : 0;
    generation += GenerationRate(d).value_or(0);
  }
  std::vector<Cell> cells = {{{"alcca top", Style::kBold}},
                             {{"every " + HumanSeconds(frame.interval_seconds)}}};
  if (frame.daemons.size() > 1) {
    cells.push_back({{absl::StrCat(serving, " of ", frame.daemons.size(), " serving")}});
    cells.push_back({{HumanCount(generation) + " tokens/s", Style::kBold}});
  }
  if (frame.keys) {
    cells.push_back(
        {{frame.daemons.size() > 1 ? "q quits, arrows select" : "q quits", Style::kDim}});
  }
  page->Row("", 0, cells);
}

}  // namespace

std::vector<std::string> RenderTop(const TopFrame& frame, const TermLook& look) {
  TermPage page(look);
  AddHead(frame, &page);
  const size_t count = frame.daemons.size();
  if (count > 1) {
    // At most half of the window; scrolled so that the selected one shows.
    const size_t rows =
        look.height > 0 ? std::min<size_t>(count, std::max(1, look.height / 2 - 3)) : count;
    const size_t first = frame.selected < rows ? 0 : frame.selected + 1 - rows;
    AddTable(frame, first, rows, &page);
    page.Line({});
  }
  if (frame.selected < count) {
    AddDetails(frame.daemons[frame.selected], look, &page);
  }
  std::vector<std::string> lines = page.lines();
  if (look.height > 0 && lines.size() > static_cast<size_t>(look.height)) {
    lines.resize(static_cast<size_t>(look.height));
  }
  return lines;
}

}  // namespace alcca::cli
