#include "server/api/request_validation.h"

#include <algorithm>
#include <cmath>
#include <random>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "base/utf8.h"
#include "server/api/status.h"
#include "server/api/wire.h"

namespace alcca {
namespace {

constexpr int32_t kDefaultMaxTokens = 256;

// `value` if in [low, high]; NaN is in no range. Exclusive low where the rule says "above".
absl::StatusOr<float> InRange(float value, float low, float high, std::string_view field,
                              bool above = false) {
  if (!(value >= low && value <= high) || (above && value == low)) {
    return FieldError(field, absl::StrCat(above ? "must be above " : "must be from ", low,
                                          above ? ", up to " : " to ", high, ", is ", value));
  }
  return value;
}

absl::StatusOr<int32_t> IntInRange(int64_t value, int64_t low, int64_t high,
                                   std::string_view field) {
  if (value < low || value > high) {
    return FieldError(field, absl::StrCat("must be from ", low, " to ", high, ", is ", value));
  }
  return static_cast<int32_t>(value);
}

absl::Status SetDistribution(const v1::SamplingParams& in, const GenerationConfig& model,
                             SamplingParams* out) {
  // A model that asks for greedy decoding (do_sample: false), whatever temperature it has beside
  // that, still samples where a client asks.
  const float preset =
      model.do_sample.value_or(true) ? model.temperature.value_or(out->temperature) : 0.0f;
  out->temperature = in.has_temperature() ? in.temperature() : preset;
  out->top_p = in.has_top_p() ? in.top_p() : model.top_p.value_or(out->top_p);
  out->min_p = in.has_min_p() ? in.min_p() : model.min_p.value_or(out->min_p);
  out->repetition_penalty = in.has_repetition_penalty()
                                ? in.repetition_penalty()
                                : model.repetition_penalty.value_or(out->repetition_penalty);
  out->frequency_penalty = in.frequency_penalty();
  out->presence_penalty = in.presence_penalty();
  const std::string p = "sampling_params.";
  RETURN_IF_ERROR(InRange(out->temperature, 0, 100, p + "temperature").status());
  RETURN_IF_ERROR(InRange(out->top_p, 0, 1, p + "top_p", true).status());
  RETURN_IF_ERROR(InRange(out->min_p, 0, 1, p + "min_p").status());
  // Below, a logit divided by it could leave what a float holds.
  RETURN_IF_ERROR(InRange(out->repetition_penalty, 1e-3f, 10, p + "repetition_penalty").status());
  RETURN_IF_ERROR(InRange(out->frequency_penalty, -2, 2, p + "frequency_penalty").status());
  RETURN_IF_ERROR(InRange(out->presence_penalty, -2, 2, p + "presence_penalty").status());
  const int64_t top_k = in.has_top_k() ? in.top_k() : model.top_k.value_or(0);
  ASSIGN_OR_RETURN(out->top_k, IntInRange(top_k, 0, 1 << 24, p + "top_k"));
  return absl::OkStatus();
}

absl::Status SetStops(const v1::SamplingParams& in, const RequestRules& rules,
                      SamplingParams* out) {
  RETURN_IF_ERROR(
      IntInRange(in.stop_size(), 0, rules.max_stop_strings, "sampling_params.stop (count)")
          .status());
  for (int i = 0; i < in.stop_size(); ++i) {
    const std::string field = absl::StrCat("sampling_params.stop[", i, "]");
    RETURN_IF_ERROR(ValidateText(in.stop(i), field));
    RETURN_IF_ERROR(IntInRange(static_cast<int64_t>(in.stop(i).size()), 1, rules.max_stop_bytes,
                               absl::StrCat(field, " (bytes)"))
                        .status());
    out->stop.push_back(in.stop(i));
  }
  RETURN_IF_ERROR(IntInRange(in.stop_token_ids_size(), 0, kMaxStopTokenIds,
                             "sampling_params.stop_token_ids (count)")
                      .status());
  ASSIGN_OR_RETURN(
      out->stop_token_ids,
      ValidateTokenIds(in.stop_token_ids(), "sampling_params.stop_token_ids", rules.vocab_size));
  RETURN_IF_ERROR(IntInRange(in.logit_bias_size(), 0, rules.max_logit_bias,
                             "sampling_params.logit_bias (entries)")
                      .status());
  for (const auto& [id, bias] : in.logit_bias()) {
    const std::string field = absl::StrCat("sampling_params.logit_bias[", id, "]");
    RETURN_IF_ERROR(IntInRange(id, 0, rules.vocab_size - 1, field + " (token id)").status());
    RETURN_IF_ERROR(InRange(bias, -100, 100, field).status());
    out->logit_bias.emplace_back(id, bias);
  }
  std::sort(out->logit_bias.begin(), out->logit_bias.end());
  return absl::OkStatus();
}

absl::Status SetLogprobs(const v1::SamplingParams& in, const RequestRules& rules,
                         SamplingParams* out) {
  if (in.has_logprobs()) {
    ASSIGN_OR_RETURN(out->logprobs,
                     IntInRange(in.logprobs(), 0, rules.max_logprobs, "sampling_params.logprobs"));
  }
  if (in.has_prompt_logprobs()) {
    ASSIGN_OR_RETURN(out->prompt_logprobs, IntInRange(in.prompt_logprobs(), 0, rules.max_logprobs,
                                                      "sampling_params.prompt_logprobs"));
  }
  return absl::OkStatus();
}

// The text is read when it is compiled.
absl::Status SetConstraint(const v1::SamplingParams& in, const RequestRules& rules,
                           Request* request) {
  using In = v1::SamplingParams;
  using Kind = ConstraintSpec::Kind;
  AskedConstraint asked;
  ConstraintSpec& spec = asked.spec;
  spec.json = rules.json;
  const auto set = [&](Kind kind, std::string_view field, std::string text) {
    spec.kind = kind;
    spec.text = std::move(text);
    asked.field = absl::StrCat("sampling_params.", std::string(field));
  };
  switch (in.constraint_case()) {
    case In::CONSTRAINT_NOT_SET:
      return absl::OkStatus();
    case In::kJsonSchema:
      set(Kind::kJsonSchema, "json_schema", in.json_schema());
      break;
    case In::kRegex:
      set(Kind::kRegex, "regex", in.regex());
      break;
    case In::kGrammar:
      set(Kind::kGrammar, "grammar", in.grammar());
      break;
    case In::kStructuralTag:
      set(Kind::kStructuralTag, "structural_tag", in.structural_tag());
      break;
    case In::kJsonObject:
      if (!in.json_object()) {
        return absl::OkStatus();
      }
      set(Kind::kJsonObject, "json_object", "");
      break;
    case In::kChoice:
      set(Kind::kChoice, "choice", "");
      spec.choices.assign(in.choice().choices().begin(), in.choice().choices().end());
      break;
  }
  RETURN_IF_ERROR(ValidateText(spec.text, asked.field));
  for (size_t i = 0; i < spec.choices.size(); ++i) {
    RETURN_IF_ERROR(
        ValidateText(spec.choices[i], absl::StrCat("sampling_params.choice.choices[", i, "]")));
  }
  request->asked_constraint = std::move(asked);
  return absl::OkStatus();
}

absl::Status RefuseUnimplemented(const v1::SamplingParams& in) {
  if (in.has_spaces_between_special_tokens() && !in.spaces_between_special_tokens()) {
    return absl::UnimplementedError(
        "sampling_params.spaces_between_special_tokens: only true is supported");
  }
  return absl::OkStatus();
}

// The prompt, which `input` was, is known by now: it bounds max_tokens.
absl::Status SetLengths(const v1::SamplingParams& in, const RequestRules& rules,
                        std::string_view input, Request* request) {
  if (in.has_truncate_prompt_tokens()) {
    ASSIGN_OR_RETURN(const int32_t keep,
                     IntInRange(in.truncate_prompt_tokens(), 1, rules.max_context,
                                "sampling_params.truncate_prompt_tokens"));
    if (static_cast<int32_t>(request->prompt.size()) > keep) {
      request->prompt.erase(request->prompt.begin(), request->prompt.end() - keep);
    }
  }
  const int64_t room = int64_t{rules.max_context} - static_cast<int64_t>(request->prompt.size());
  if (room < 1) {
    return FieldError(input, absl::StrCat("the prompt has ", request->prompt.size(),
                                          " tokens and the context holds ", rules.max_context,
                                          " with at least one to generate; shorten it or set "
                                          "sampling_params.truncate_prompt_tokens"));
  }
  SamplingParams& out = request->sampling;
  if (in.has_max_tokens()) {
    if (in.max_tokens() < 1 || in.max_tokens() > room) {
      return FieldError(
          "sampling_params.max_tokens",
          absl::StrCat("must be from 1 to ", room, " (context ", rules.max_context, " less prompt ",
                       request->prompt.size(), "), is ", in.max_tokens()));
    }
    out.max_tokens = static_cast<int32_t>(in.max_tokens());
  } else {
    const int32_t wanted = rules.default_max_tokens > 0
                               ? rules.default_max_tokens
                               : rules.defaults.max_new_tokens.value_or(kDefaultMaxTokens);
    out.max_tokens = static_cast<int32_t>(std::min<int64_t>(wanted, room));
  }
  ASSIGN_OR_RETURN(out.min_tokens,
                   IntInRange(in.min_tokens(), 0, out.max_tokens, "sampling_params.min_tokens"));
  return absl::OkStatus();
}

absl::Status SetSampling(const v1::SamplingParams& in, const RequestRules& rules,
                         std::string_view input, Request* request) {
  SamplingParams& out = request->sampling;
  RETURN_IF_ERROR(RefuseUnimplemented(in));
  RETURN_IF_ERROR(SetConstraint(in, rules, request));
  RETURN_IF_ERROR(SetDistribution(in, rules.defaults, &out));
  RETURN_IF_ERROR(SetStops(in, rules, &out));
  RETURN_IF_ERROR(SetLogprobs(in, rules, &out));
  ASSIGN_OR_RETURN(out.n, IntInRange(in.has_n() ? in.n() : 1, 1, rules.max_n, "sampling_params.n"));
  out.ignore_eos = in.ignore_eos();
  out.include_stop_str_in_output = in.include_stop_str_in_output();
  out.skip_special_tokens = in.has_skip_special_tokens() ? in.skip_special_tokens() : true;
  static thread_local std::mt19937_64 seeds{std::random_device{}()};
  out.seed = in.has_seed() ? static_cast<uint64_t>(static_cast<int64_t>(in.seed())) : seeds();
  return SetLengths(in, rules, input, request);
}

// The engine's errors about a conversation, "messages[3]: rule" or "tools[0]: rule", with the
// request's field.
absl::Status ChatFieldError(const absl::Status& status) {
  if (!absl::IsInvalidArgument(status)) {
    return status;
  }
  const std::string text(status.message());
  const size_t colon = text.find(": ");
  return text.starts_with("messages") && colon != std::string::npos
             ? FieldError(text.substr(0, colon), text.substr(colon + 2))
             : FieldError("tools_json", text);
}

// The vocabulary's errors, "k: rule", with the request's field.
absl::Status AttentionFieldError(const absl::Status& status) {
  const std::string text(status.message());
  const size_t colon = text.find(": ");
  const std::string field = "attention." + text.substr(0, colon);
  return FieldError(field, text.substr(colon + 2));
}

// What Generate and Chat have in common beside sampling and attention.
template <typename Message>
absl::StatusOr<Request> Begin(const Message& in, const Arrival& arrival) {
  RETURN_IF_ERROR(ValidateText(in.request_id(), "request_id"));
  RETURN_IF_ERROR(IntInRange(static_cast<int64_t>(in.request_id().size()), 0, kMaxRequestIdBytes,
                             "request_id (bytes)")
                      .status());
  RETURN_IF_ERROR(IntInRange(static_cast<int64_t>(in.cache_salt().size()), 0, kMaxCacheSaltBytes,
                             "cache_salt (bytes)")
                      .status());
  Request request;
  request.id = in.request_id();
  request.cache_salt = in.cache_salt();
  request.bypass_prefix_cache = in.bypass_prefix_cache();
  request.arrival = arrival.time;
  request.deadline = arrival.deadline;
  return request;
}

}  // namespace

absl::Status ValidateText(std::string_view text, std::string_view field) {
  return IsValidUtf8(text) ? absl::OkStatus() : FieldError(field, "is not valid UTF-8");
}

absl::StatusOr<std::vector<int32_t>> ValidateTokenIds(
    const google::protobuf::RepeatedField<uint32_t>& ids, std::string_view field,
    int32_t vocab_size) {
  std::vector<int32_t> out;
  out.reserve(ids.size());
  for (int i = 0; i < ids.size(); ++i) {
    if (ids[i] >= static_cast<uint32_t>(vocab_size)) {
      return FieldError(
          absl::StrCat(std::string(field), "[", i, "]"),
          absl::StrCat("token id ", ids[i], " is outside the vocabulary of ", vocab_size));
    }
    out.push_back(static_cast<int32_t>(ids[i]));
  }
  return out;
}

absl::StatusOr<AttentionParams> ValidateAttention(const v1::AttentionParams& in,
                                                  const RequestRules& rules) {
  const absl::StatusOr<AttentionSettings> asked = ReadAttention(in);
  if (!asked.ok()) {
    return AttentionFieldError(asked.status());
  }
  AttentionParams out = rules.attention;
  Override(*asked, &out);
  if (const absl::Status status = CheckAsked(*asked, out, rules.sliding_window); !status.ok()) {
    return AttentionFieldError(status);
  }
  return out;
}

absl::Status ValidateTextSize(size_t bytes, const RequestRules& rules, std::string_view field,
                              int64_t least) {
  const int64_t most =
      std::max(least, int64_t{rules.max_context} * rules.tokenizer->longest_piece());
  return static_cast<int64_t>(bytes) <= most
             ? absl::OkStatus()
             : FieldError(field, absl::StrCat("has ", bytes, " bytes; at most ", most,
                                              " are tokenized, for a context of ",
                                              rules.max_context, " tokens"));
}

absl::StatusOr<Request> ValidateGenerate(const v1::GenerateRequest& in, const RequestRules& rules,
                                         const Arrival& arrival) {
  ASSIGN_OR_RETURN(Request out, Begin(in, arrival));
  if (in.has_tokenized()) {
    ASSIGN_OR_RETURN(out.prompt, ValidateTokenIds(in.tokenized().input_ids(), "tokenized.input_ids",
                                                  rules.vocab_size));
    if (out.prompt.empty()) {
      return FieldError("tokenized.input_ids", "must not be empty");
    }
  } else if (in.has_text()) {
    if (in.text().empty()) {
      return FieldError("text", "must not be empty");
    }
    RETURN_IF_ERROR(ValidateText(in.text(), "text"));
    RETURN_IF_ERROR(ValidateTextSize(in.text().size(), rules, "text"));
    out.prompt = rules.tokenizer->Encode(in.text(), {.bos = true});
  } else {
    return FieldError("input", "one of text and tokenized is required");
  }
  RETURN_IF_ERROR(SetSampling(in.sampling_params(), rules, "input", &out));
  ASSIGN_OR_RETURN(out.attention, ValidateAttention(in.attention(), rules));
  return out;
}

absl::StatusOr<Request> ValidateChat(const v1::ChatRequest& in, const RequestRules& rules,
                                     const Arrival& arrival) {
  ASSIGN_OR_RETURN(Request out, Begin(in, arrival));
  size_t bytes = 0;
  for (const v1::ChatMessage& message : in.messages()) {
    bytes += message.ByteSizeLong();
  }
  RETURN_IF_ERROR(ValidateTextSize(bytes, rules, "messages"));
  std::vector<ChatMessage> messages;
  for (int i = 0; i < in.messages_size(); ++i) {
    const v1::ChatMessage& from = in.messages(i);
    const std::string field = absl::StrCat("messages[", i, "].");
    RETURN_IF_ERROR(ValidateText(from.content(), field + "content"));
    ChatMessage& to = messages.emplace_back(ChatMessage{.role = from.role(),
                                                        .content = from.content(),
                                                        .tool_calls = {},
                                                        .tool_call_id = from.tool_call_id(),
                                                        .name = from.name()});
    for (const v1::ToolCall& call : from.tool_calls()) {
      RETURN_IF_ERROR(ValidateText(call.arguments(), field + "tool_calls.arguments"));
      to.tool_calls.push_back({call.id(), call.name(), call.arguments()});
    }
  }
  if (messages.empty()) {
    return FieldError("messages", "must not be empty");
  }
  RETURN_IF_ERROR(ValidateText(in.tools_json(), "tools_json"));
  RETURN_IF_ERROR(ValidateTextSize(in.tools_json().size(), rules, "tools_json"));
  absl::StatusOr<std::vector<int32_t>> prompt =
      EncodeChat(*rules.tokenizer, rules.chat_format, messages, in.tools_json());
  if (!prompt.ok()) {
    return ChatFieldError(prompt.status());
  }
  out.prompt = *std::move(prompt);
  RETURN_IF_ERROR(SetSampling(in.sampling_params(), rules, "messages", &out));
  ASSIGN_OR_RETURN(out.attention, ValidateAttention(in.attention(), rules));
  return out;
}

}  // namespace alcca
