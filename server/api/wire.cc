#include "server/api/wire.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>

#include <cstddef>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status_macros.h"

namespace alcca {
namespace {

using google::protobuf::FieldDescriptor;

void SetTop(const TokenLogprob& from, v1::TopLogProbs* to) {
  for (const auto& [token, logprob] : from.top) {
    to->add_token_ids(token);
    to->add_values(logprob);
  }
}

// The field of this name, which tests/server/api/wire_vocabulary_test.cc holds to be there.
const FieldDescriptor* FieldOf(const google::protobuf::Message& message, const std::string& name) {
  const FieldDescriptor* field = message.GetDescriptor()->FindFieldByName(name);
  ALCCA_CHECK(field != nullptr);
  return field;
}

void SetCounters(const AttentionCounters& from, v1::AttentionCounters* to) {
  for (const CounterTraits& counter : kCounters) {
    to->GetReflection()->SetInt64(to, FieldOf(*to, counter.name), from.*counter.field);
  }
}

double Ratio(int64_t a, int64_t b) {
  return b > 0 ? static_cast<double>(a) / static_cast<double>(b) : 0.0;
}

}  // namespace

void SetLogprobs(const std::vector<TokenLogprob>& from, v1::OutputLogProbs* to) {
  for (const TokenLogprob& token : from) {
    to->add_token_ids(token.token);
    to->add_token_logprobs(token.logprob);
    SetTop(token, to->add_top_logprobs());
  }
}

void SetLogprobs(const std::vector<TokenLogprob>& from, v1::InputLogProbs* to) {
  for (size_t i = 0; i < from.size(); ++i) {
    to->add_token_ids(from[i].token);
    auto* value = to->add_token_logprobs();
    if (i > 0) {  // nothing precedes the first
      value->set_value(from[i].logprob);
    }
    SetTop(from[i], to->add_top_logprobs());
  }
}

void SetAttention(const AttentionParams& from, v1::AttentionParams* to) {
  to->set_mode(static_cast<v1::AttentionMode>(TraitsOf(from.mode).wire));
  if (TraitsOf(from.mode).searches) {
    to->set_search(static_cast<v1::AttentionSearch>(TraitsOf(from.search).wire));
  }
  const google::protobuf::Reflection& fields = *to->GetReflection();
  for (const Knob& knob : RequestKnobs()) {
    if (!Applies(knob, from)) {
      continue;
    }
    // What varies by head is not spelt out: tables of hundreds of numbers in every reply.
    if (IsPerHead(knob, from)) {
      fields.SetBool(to, FieldOf(*to, absl::StrCat(knob.name, "_per_head")), true);
    } else if (IsInteger(knob)) {
      fields.SetUInt32(to, FieldOf(*to, knob.name), static_cast<uint32_t>(Get(knob, from)));
    } else {
      fields.SetFloat(to, FieldOf(*to, knob.name), static_cast<float>(Get(knob, from)));
    }
  }
}

absl::StatusOr<AttentionSettings> ReadAttention(const v1::AttentionParams& from) {
  AttentionSettings settings;
  settings.mode = ModeOfWire(from.mode());
  if (from.mode() != v1::ATTENTION_MODE_UNSPECIFIED && !settings.mode) {
    return absl::InvalidArgumentError(absl::StrCat("mode: unknown value ", int{from.mode()}));
  }
  settings.search = SearchOfWire(from.search());
  if (from.search() != v1::ATTENTION_SEARCH_UNSPECIFIED && !settings.search) {
    return absl::InvalidArgumentError(absl::StrCat("search: unknown value ", int{from.search()}));
  }
  const google::protobuf::Reflection& fields = *from.GetReflection();
  for (const Knob& knob : RequestKnobs()) {
    const FieldDescriptor* field = FieldOf(from, knob.name);
    if (fields.HasField(from, field)) {
      RETURN_IF_ERROR(Set(knob,
                          IsInteger(knob) ? static_cast<double>(fields.GetUInt32(from, field))
                                          : static_cast<double>(fields.GetFloat(from, field)),
                          &settings));
    }
  }
  return settings;
}

void SetReport(const Ending& ending, v1::AttentionReport* to) {
  AttentionCounters all;
  for (const AttentionCounters& phase : ending.counters) {
    all += phase;
  }
  SetAttention(ending.attention, to->mutable_applied());
  SetCounters(ending.counters[static_cast<size_t>(Phase::kPrefill)], to->mutable_prefill());
  SetCounters(ending.counters[static_cast<size_t>(Phase::kDecode)], to->mutable_decode());
  to->set_near_share(Ratio(all.near_queries, all.queries));
  to->set_performed_over_dense_causal(Ratio(all.performed(), all.dense_equivalent()));
  to->set_qk_performed_over_dense_causal(Ratio(all.qk_performed(), all.dense_equivalent_qk));
  to->set_fell_back(ending.fell_back);
  to->set_index_bytes(ending.index_bytes);
  to->set_index_build_seconds(ending.timings.index_build_seconds);
  if (all.recall_wanted > 0) {
    to->set_search_recall(Ratio(all.recall_found, all.recall_wanted));
  }
  if (all.error_checked > 0) {
    to->set_output_error(1e-6 * Ratio(all.error_millionths, all.error_checked));
  }
}

}  // namespace alcca
