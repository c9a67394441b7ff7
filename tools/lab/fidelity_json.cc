#include <nlohmann/json.hpp>
#include <string>

#include "tools/lab/attention_json.h"
#include "tools/lab/fidelity.h"

namespace alcca::lab {
namespace {

using Json = nlohmann::ordered_json;

Json HeadJson(const HeadFidelity& head) {
  return {{"overlap", Rounded(head.overlap, 6)},
          {"output_error", Rounded(head.output_error, 6)},
          {"kv_bytes_share", Rounded(head.kv_bytes_share, 6)}};
}

Json LossJson(const ModelLoss& loss) {
  Json by_position = Json::array();
  for (const PositionLoss& part : loss.by_position) {
    by_position.push_back({{"begin", part.begin},
                           {"end", part.end},
                           {"nats_per_token", Rounded(part.nats_per_token, 7)},
                           {"interactions", Rounded(part.interactions, 7)}});
  }
  return {{"nats_per_token", Rounded(loss.nats_per_token, 7)},
          {"nats_per_byte", Rounded(loss.nats_per_byte, 7)},
          {"by_position", std::move(by_position)}};
}

Json ModeJson(const ModeFidelity& mode) {
  Json layers = Json::array();
  for (size_t l = 0; l < mode.heads.size(); ++l) {
    Json heads = Json::array();
    for (size_t h = 0; h < mode.heads[l].size(); ++h) {
      Json head = {{"head", h}};
      head.update(HeadJson(mode.heads[l][h]));
      heads.push_back(std::move(head));
    }
    layers.push_back({{"layer", l}, {"heads", std::move(heads)}});
  }
  return {{"label", mode.mode.label},
          {"attention", AttentionJson(mode.mode.params)},
          {"mean", HeadJson(mode.mean)},
          {"worst", HeadJson(mode.worst)},
          {"kl", Rounded(mode.kl, 6)},
          {"top1_agreement", Rounded(mode.top1_agreement, 6)},
          {"loss", LossJson(mode.loss)},
          {"performed_over_dense_causal",
           Rounded(double(mode.counters.performed()) / double(mode.counters.dense_equivalent()))},
          {"counters", CountersJson(mode.counters)},
          {"layers", std::move(layers)}};
}

}  // namespace

std::string FidelityJson(const LabModel& lab, const std::string& text_name, const Fidelity& f) {
  Json modes = Json::array();
  for (const ModeFidelity& mode : f.modes) {
    modes.push_back(ModeJson(mode));
  }
  const Json out = {
      {"schema", "alcca.fidelity"},
      {"version", 1},
      {"model", {{"name", lab.name}, {"weight_dtype", FormatOf(lab.weight_dtype).name}}},
      {"text", text_name},
      {"length", f.options.length},
      {"windows", f.windows},
      {"sampled_positions", f.positions.size()},
      {"seed", f.options.seed},
      {"dense", {{"loss", LossJson(f.dense)}, {"counters", CountersJson(f.dense_counters)}}},
      {"modes", std::move(modes)}};
  return out.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace alcca::lab
