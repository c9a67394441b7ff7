#include "engine/model/rope_scaling.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "base/status_macros.h"
#include "base/strict_json.h"
#include "engine/model/model_config.h"

namespace alcca {
namespace {

constexpr double kMinTheta = 1.0, kMaxTheta = 1e12, kDefaultTheta = 10'000.0;
constexpr double kMinFactor = 1e-3, kMaxFactor = 1e6;
constexpr char kOriginal[] = "original_max_position_embeddings";

// What an object of one type may say. Transformers ignores other keys with a warning; here they are
// refused, because they say that something was meant.
struct TypeRow {
  const char* name;
  RopeType type;
  std::vector<std::string> keys;
};

std::vector<TypeRow> Types() {
  return {
      {"default", RopeType::kDefault, {}},
      {"linear", RopeType::kLinear, {"factor"}},
      {"dynamic", RopeType::kDefault, {"factor"}},
      {"llama3", RopeType::kLlama3, {"factor", "low_freq_factor", "high_freq_factor", kOriginal}},
      {"yarn",
       RopeType::kYarn,
       {"factor", kOriginal, "attention_factor", "beta_fast", "beta_slow", "mscale",
        "mscale_all_dim", "truncate", "finetuned"}}};
}

void ReadYarn(JsonReader& rope, int64_t positions, RopeScaling* out) {
  if (!rope.Has("factor")) {
    out->factor = static_cast<double>(positions) / static_cast<double>(out->original_positions);
  }
  rope.OptionalNumber("beta_fast", 1e-3, 1e6, &out->beta_fast);
  rope.OptionalNumber("beta_slow", 1e-3, 1e6, &out->beta_slow);
  rope.Bool("truncate", &out->truncate);
  double mscale = 0.0, mscale_all_dim = 0.0;
  rope.OptionalNumber("mscale", 0.0, 100.0, &mscale);
  rope.OptionalNumber("mscale_all_dim", 0.0, 100.0, &mscale_all_dim);
  out->attention_factor = mscale > 0.0 && mscale_all_dim > 0.0
                              ? YarnAttentionFactor(out->factor, mscale) /
                                    YarnAttentionFactor(out->factor, mscale_all_dim)
                              : YarnAttentionFactor(out->factor);
  rope.OptionalNumber("attention_factor", 1e-3, 1e3, &out->attention_factor);
}

// One of the two objects: rope_scaling, rope_parameters. `top` is what the config says outside it
// of the context before scaling; 0: nothing.
absl::Status ReadObject(JsonReader& rope, int64_t top, int64_t positions, RopeScaling* out) {
  const char* key = rope.Has("rope_type") || !rope.Has("type") ? "rope_type" : "type";
  std::string name = "default";
  rope.String("type", &name);
  rope.String("rope_type", &name);
  RETURN_IF_ERROR(rope.status());
  const std::vector<TypeRow> types = Types();
  const auto row = std::find_if(types.begin(), types.end(),
                                [&](const TypeRow& candidate) { return name == candidate.name; });
  if (row == types.end()) {
    return rope.Unsupported(key, "expected default, linear, dynamic, llama3 or yarn");
  }
  std::vector<std::string> known = {"type", "rope_type", "rope_theta", "partial_rotary_factor"};
  known.insert(known.end(), row->keys.begin(), row->keys.end());
  rope.RefuseOtherKeys(known);
  out->type = row->type;
  if (name == "linear" || name == "llama3") {
    rope.Number("factor", kMinFactor, kMaxFactor, &out->factor);
  }
  if (name == "yarn") {
    rope.OptionalNumber("factor", kMinFactor, kMaxFactor, &out->factor);
  }
  if (name == "llama3" || name == "yarn") {
    out->original_positions = positions;
    rope.OptionalInt(kOriginal, 1, kMaxModelPositions, &out->original_positions);
    out->original_positions = top > 0 ? top : out->original_positions;
  }
  if (name == "llama3") {
    rope.Number("low_freq_factor", 1e-3, 1e6, &out->low_freq_factor);
    rope.Number("high_freq_factor", 1e-3, 1e6, &out->high_freq_factor);
    RETURN_IF_ERROR(rope.status());
    if (out->low_freq_factor >= out->high_freq_factor) {
      return rope.Invalid("low_freq_factor", "is not below high_freq_factor");
    }
  }
  if (name == "yarn") {
    ReadYarn(rope, positions, out);
    if (out->factor < kMinFactor || out->factor > kMaxFactor) {
      return rope.Invalid(kOriginal, "is too far from max_position_embeddings");
    }
  }
  return rope.status();
}

// A share of each head that is rotated; only all of it is implemented.
absl::Status CheckPartial(JsonReader& json) {
  double share = 1.0;
  json.OptionalNumber("partial_rotary_factor", 0.0, 1.0, &share);
  RETURN_IF_ERROR(json.status());
  return share == 1.0
             ? absl::OkStatus()
             : json.Unsupported("partial_rotary_factor", "expected 1: the whole head is rotated");
}

}  // namespace

double YarnAttentionFactor(double factor, double mscale) {
  return factor <= 1.0 ? 1.0 : 0.1 * mscale * std::log(factor) + 1.0;
}

absl::Status ReadRope(JsonReader& json, int64_t positions, double* theta, RopeScaling* scaling) {
  double top_theta = 0.0, inner_theta = 0.0;
  int64_t top_original = 0;
  json.OptionalNumber("rope_theta", kMinTheta, kMaxTheta, &top_theta);
  json.OptionalInt(kOriginal, 1, kMaxModelPositions, &top_original);
  RETURN_IF_ERROR(json.status());
  RETURN_IF_ERROR(CheckPartial(json));
  for (const char* name : {"rope_parameters", "rope_scaling"}) {  // the latter wins, if it is there
    if (!json.Has(name)) {
      continue;
    }
    JsonReader rope = json.Object(name);
    RETURN_IF_ERROR(json.status());
    if (rope.Empty()) {
      continue;
    }
    RopeScaling read;
    RETURN_IF_ERROR(ReadObject(rope, top_original, positions, &read));
    RETURN_IF_ERROR(CheckPartial(rope));
    rope.OptionalNumber("rope_theta", kMinTheta, kMaxTheta, &inner_theta);
    RETURN_IF_ERROR(rope.status());
    if (top_theta != 0.0 && inner_theta != 0.0 && top_theta != inner_theta) {
      return rope.Invalid("rope_theta", "differs from the rope_theta of the top level");
    }
    *scaling = std::move(read);
  }
  *theta = inner_theta != 0.0 ? inner_theta : top_theta != 0.0 ? top_theta : kDefaultTheta;
  if (scaling->type == RopeType::kYarn && *theta <= 1.0) {
    return json.Invalid("rope_theta", "expected more than 1 beside yarn");
  }
  return absl::OkStatus();
}

}  // namespace alcca
