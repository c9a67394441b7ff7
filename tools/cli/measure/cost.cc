#include "tools/cli/measure/cost.h"

#include <google/protobuf/descriptor.h>

#include <algorithm>

namespace alcca::cli {
namespace {

double Share(int64_t part, double whole) {
  return whole > 0 ? double(part) / whole : 0;
}

}  // namespace

AttentionCounters CountersOf(const v1::AttentionCounters& counters) {
  AttentionCounters out;
  const google::protobuf::Reflection& fields = *counters.GetReflection();
  for (const CounterTraits& counter : kCounters) {
    out.*counter.field = fields.GetInt64(
        counters, v1::AttentionCounters::descriptor()->FindFieldByName(counter.name));
  }
  return out;
}

int64_t Performed(const v1::AttentionCounters& counters) {
  return CountersOf(counters).performed();
}

int64_t QueryKey(const v1::AttentionCounters& counters) {
  return CountersOf(counters).qk_performed() - counters.index_build();
}

void Add(const v1::AttentionCounters& from, v1::AttentionCounters* to) {
  // By reflection, so that a counter of a newer server is never left out.
  const google::protobuf::Descriptor& type = *v1::AttentionCounters::descriptor();
  const google::protobuf::Reflection& fields = *to->GetReflection();
  for (int i = 0; i < type.field_count(); ++i) {
    const google::protobuf::FieldDescriptor* field = type.field(i);
    if (field->cpp_type() == google::protobuf::FieldDescriptor::CPPTYPE_INT64) {
      fields.SetInt64(to, field, fields.GetInt64(*to, field) + fields.GetInt64(from, field));
    }
  }
}

void Cost::Add(const v1::AttentionReport& report, int64_t heads) {
  cli::Add(report.prefill(), &sum);
  cli::Add(report.decode(), &sum);
  ++sequences;
  fell_back += report.fell_back();
  if (heads > 0) {
    // Queries say what was fed: the last sampled token never is.
    const int64_t n = (report.prefill().queries() + report.decode().queries()) / heads;
    square += n * n * heads;
    heads_of_length[n] += heads;
  }
}

uint32_t Cost::MatchedWindow() const {
  const int64_t budget = QueryKey(sum) + sum.index_build();
  const auto costs = [this](int64_t window) {
    int64_t interactions = 0;
    for (const auto& [n, heads] : heads_of_length) {
      const int64_t seen = std::min(n, window);
      interactions += heads * (seen * (seen + 1) / 2 + seen * (n - seen));
    }
    return interactions;
  };
  // Beyond the longest sequence it is dense, whatever the budget.
  int64_t low = 1, high = heads_of_length.empty()
                              ? 1
                              : std::max<int64_t>(1, heads_of_length.rbegin()->first);
  while (low < high) {
    const int64_t middle = (low + high) / 2;
    if (costs(middle) < budget) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return static_cast<uint32_t>(low);
}

double Cost::query_key_over_square() const {
  return Share(QueryKey(sum) + sum.index_build(), double(square));
}

double Cost::query_key_over_causal() const {
  return Share(QueryKey(sum) + sum.index_build(), double(sum.dense_equivalent_qk()));
}

double Cost::performed_over_square() const {
  return Share(Performed(sum), 2.0 * double(square));
}

double Cost::performed_over_causal() const {
  return Share(Performed(sum), double(sum.dense_equivalent_qk() + sum.dense_equivalent_pv()));
}

double Cost::near_share() const {
  return Share(sum.near_queries(), double(sum.queries()));
}

double Cost::recall() const {
  return Share(sum.recall_found(), double(sum.recall_wanted()));
}

double Cost::error() const {
  return 1e-6 * Share(sum.error_millionths(), double(sum.error_checked()));
}

double Cost::query_key_per_query() const {
  return Share(QueryKey(sum) + sum.index_build(), double(sum.queries()));
}

double Cost::values_per_query() const {
  return Share(sum.pv_exact(), double(sum.queries()));
}

}  // namespace alcca::cli
