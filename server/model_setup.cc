#include "server/model_setup.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <thread>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status_macros.h"
#include "engine/text/load_tokenizer.h"
#include "engine/text/vocabulary_bytes.h"
#include "engine/warm_up.h"
#include "kernels/make_backend.h"
#include "server/api/wire.h"
#include "server/logging.h"

namespace alcca {
namespace {

namespace fs = std::filesystem;
constexpr int32_t kHostKvBytes = 4;  // f32, as the CPU backend keeps keys and values
constexpr int32_t kCudaKvBytes = 2;  // bf16, CudaOptions' default

// A bar on a terminal, a line each tenth elsewhere.
class Progress {
 public:
  void operator()(int64_t done, int64_t all) {
    const int64_t tenth = done * 10 / all;
    if (isatty(STDERR_FILENO) != 0) {
      const int64_t full = done * 40 / all;
      std::fprintf(stderr, "\rloading [%.*s%.*s] %3d %%%s", static_cast<int>(full),
                   "########################################", static_cast<int>(40 - full),
                   "                                        ", static_cast<int>(done * 100 / all),
                   done == all ? "\n" : "");
    } else if (tenth > last_) {
      Log(LogLevel::kInfo, "loading", {{"percent", tenth * 10}});
    }
    last_ = tenth;
  }

 private:
  int64_t last_ = 0;
};

// Whole pages of so many bytes, as the model's cache stores them; all below 0.
int32_t IdlePages(int64_t bytes, const Model& model) {
  const auto pages = static_cast<size_t>(model.kv_shape().pages);
  if (bytes < 0 || model.kv_bytes() == 0) {
    return static_cast<int32_t>(pages);
  }
  const size_t page_bytes = std::max<size_t>(1, model.kv_bytes() / pages);
  return static_cast<int32_t>(std::min(pages, static_cast<size_t>(bytes) / page_bytes));
}

std::string DefaultSamplingJson(const GenerationConfig& g) {
  nlohmann::json json = nlohmann::json::object();
  if (g.do_sample) {
    json["do_sample"] = *g.do_sample;
  }
  if (g.temperature) {
    json["temperature"] = *g.temperature;
  }
  if (g.top_p) {
    json["top_p"] = *g.top_p;
  }
  if (g.top_k) {
    json["top_k"] = *g.top_k;
  }
  if (g.min_p) {
    json["min_p"] = *g.min_p;
  }
  if (g.repetition_penalty) {
    json["repetition_penalty"] = *g.repetition_penalty;
  }
  return json.dump();
}

v1::GetModelInfoResponse ModelInfo(const ServerConfig& config, const ModelPlan& plan,
                                   const Model& model, const RequestRules& rules) {
  v1::GetModelInfoResponse info;
  const std::string& name = plan.folder.name;
  const bool is_file = plan.folder.config.tensor_names == TensorNaming::kGguf;
  const std::string path = is_file ? fs::path(plan.folder.dir).filename().string() : name;
  info.set_model_path(path);
  info.set_is_generation(true);
  info.set_max_context_length(plan.max_context);
  info.set_vocab_size(static_cast<uint32_t>(plan.folder.config.vocab_size));
  info.set_served_model_name(config.served_model_name.empty() ? name : config.served_model_name);
  info.set_tokenizer_path(
      is_file ? path : absl::StrCat(path, "/", std::string(rules.tokenizer->file_name())));
  info.set_model_type(std::string(FamilyOf(plan.folder.config).model_type));
  info.add_architectures(plan.folder.config.architecture);
  info.mutable_eos_token_ids()->Assign(plan.folder.config.eos_token_ids.begin(),
                                       plan.folder.config.eos_token_ids.end());
  if (plan.folder.config.bos_token_id >= 0) {
    info.set_bos_token_id(plan.folder.config.bos_token_id);
  }
  info.set_max_req_input_len(plan.max_context - 1);
  info.set_default_sampling_params_json(DefaultSamplingJson(plan.folder.generation));
  SetAttention(rules.attention, info.mutable_default_attention());
  info.set_weight_dtype(FormatOf(plan.options.weight_dtype).name);
  info.set_device(model.Describe());
  info.set_weight_bytes(model.weight_bytes());
  info.set_kv_cache_bytes(model.kv_bytes());
  info.set_num_layers(static_cast<uint32_t>(plan.folder.config.num_layers));
  info.set_num_attention_heads(static_cast<uint32_t>(plan.folder.config.num_heads));
  info.set_num_key_value_heads(static_cast<uint32_t>(plan.folder.config.num_kv_heads));
  info.set_head_dim(static_cast<uint32_t>(plan.folder.config.head_dim));
  return info;
}

RequestRules MakeRules(const ServerConfig& config, const ModelPlan& plan,
                       const Tokenizer* tokenizer) {
  return {
      .tokenizer = tokenizer,
      .chat_template = plan.chat_template.get(),
      .chat_format = DetectChatFormat(*tokenizer),
      .vocab_size = static_cast<int32_t>(plan.folder.config.vocab_size),
      .max_context = plan.max_context,
      .default_max_tokens = static_cast<int32_t>(config.default_max_tokens),
      .max_n = static_cast<int32_t>(config.max_n),
      .max_logprobs = static_cast<int32_t>(config.max_logprobs),
      .max_stop_strings = static_cast<int32_t>(config.max_stop_strings),
      .max_stop_bytes = static_cast<int32_t>(config.max_stop_bytes),
      .max_logit_bias = static_cast<int32_t>(config.max_logit_bias),
      .json = {.whitespace = config.constraint_whitespace == "flexible" ? JsonWhitespace::kFlexible
                                                                        : JsonWhitespace::kCompact,
               .ordered = config.constraint_key_order == "schema"},
      .defaults = plan.folder.generation,
      .attention = plan.attention,
      .sliding_window = static_cast<int32_t>(plan.folder.config.sliding_window)};
}

absl::Status CheckCpuMultiplies(const std::string& weight_dtype) {
  const std::optional<WeightDType> dtype = WeightDTypeOf(weight_dtype);
  if (!dtype || FormatOf(*dtype).on_cpu) {
    return absl::OkStatus();
  }
  const WeightFormat* smallest = &FormatOf(WeightDType::kF32);
  for (const WeightFormat& format : kWeightFormats) {
    smallest = format.on_cpu && format.bits < smallest->bits ? &format : smallest;
  }
  return absl::FailedPreconditionError(absl::StrCat(
      "weight_dtype: ", weight_dtype,
      " is a choice of the CUDA device, and this daemon computes on the CPU; take ", smallest->name,
      ", the smallest of the CPU's, or serve on a card with --device cuda"));
}

// Whether configuration or alcca.json chose a mode that the model cannot have.
absl::Status CheckServes(const ModelPlan& plan) {
  const absl::Status status =
      CheckSlidingWindow(plan.attention.mode, plan.folder.config.sliding_window);
  return status.ok() ? status
                     : absl::InvalidArgumentError(absl::StrCat(
                           "attention.", std::string(status.message()), " (", plan.folder.dir,
                           " has a sliding window; --attention-mode decides)"));
}

// A warning if `auto` had to choose a format of fewer bits than the checkpoint's.
void LogPrecision(const ServerConfig& config, const ModelPlan& plan) {
  const WeightFormat& stored = FormatOf(StoredFormat(plan.folder.config));
  const WeightFormat& chosen = FormatOf(plan.options.weight_dtype);
  if (config.weight_dtype == "auto" && chosen.bits < stored.bits) {
    Log(LogLevel::kWarn, "weights lose precision: as stored they do not fit the memory",
        {{"stored", stored.name}, {"weight_dtype", chosen.name}});
  }
}

// Null: the built-in format.
absl::StatusOr<std::unique_ptr<TemplatedChat>> ChooseChatTemplate(const std::string& choice,
                                                                  const ModelFolder& folder) {
  if (choice == "builtin") {
    return nullptr;
  }
  ChatTemplateSource source = folder.chat_templates;
  if (choice != "auto") {
    RETURN_IF_ERROR(ReadChatTemplate(choice, &source));
  }
  if (choice == "auto" && IsMistralChat(source, *folder.tokenizer)) {
    return nullptr;
  }
  absl::StatusOr<TemplatedChat> chat = TemplatedChat::Make(source, *folder.tokenizer);
  if (!chat.ok()) {
    return absl::Status(chat.status().code(),
                        absl::StrCat(chat.status().message(),
                                     "; --chat-template builtin, or a file, goes without it"));
  }
  return std::make_unique<TemplatedChat>(*std::move(chat));
}

// Which files decide about text, and what they leave open.
void LogText(const ModelPlan& plan) {
  const Tokenizer& tokenizer = *plan.folder.tokenizer;
  std::vector<std::string> unread = TokenizerFiles(plan.folder.dir);
  unread.erase(std::remove(unread.begin(), unread.end(), tokenizer.file_name()), unread.end());
  Log(LogLevel::kInfo, "text",
      {{"tokenizer", std::string(tokenizer.file_name())},
       {"tokenizers_not_read", absl::StrJoin(unread, ", ")},
       {"chat_template", plan.chat_template == nullptr ? "builtin" : plan.chat_template->file()}});
  if (tokenizer.vocab_size() < plan.folder.config.vocab_size) {
    Log(LogLevel::kInfo, "token ids without text",
        {{"first", tokenizer.vocab_size()}, {"last", plan.folder.config.vocab_size - 1}});
  }
}

// Where the model will live, and what it may take there.
absl::Status ChooseDevice(const ServerConfig& config, ModelPlan* plan) {
  plan->available_bytes = AvailableBytes();
  if (config.device == "cpu") {
    return absl::OkStatus();
  }
  const absl::StatusOr<CudaCard> card = FindCudaCard();
  if (!card.ok()) {
    if (config.device == "cuda") {
      return absl::Status(card.status().code(), absl::StrCat("device: ", card.status().message()));
    }
    // A build without CUDA has nothing to say; one with it says why its card is not used.
    if (!absl::IsUnimplemented(card.status())) {
      Log(LogLevel::kInfo, "computing on the CPU", {{"cuda", card.status().message()}});
    }
    return absl::OkStatus();
  }
  plan->on_cuda = true;
  const size_t wanted = static_cast<size_t>(config.device_memory_bytes);
  if (wanted > card->free_bytes) {
    return absl::ResourceExhaustedError(absl::StrCat("device_memory_bytes (", wanted,
                                                     ") is more than the ", card->free_bytes,
                                                     " bytes free on ", card->name));
  }
  plan->available_bytes = wanted > 0 ? wanted : card->free_bytes / 10 * 9;
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Backend>> MakeBackend(const ServerConfig& config,
                                                     const ModelPlan& plan) {
  const int64_t row_ids = plan.max_context + config.max_logit_bias + kMaxStopTokenIds + 1 +
                          static_cast<int64_t>(plan.folder.config.eos_token_ids.size());
  const BackendLimits limits{
      .batch_tokens = static_cast<int32_t>(config.max_batch_tokens),
      .sampling = {.rows = plan.options.max_logit_rows,
                   .vocab = static_cast<int32_t>(plan.folder.config.vocab_size),
                   .row_ids = static_cast<int32_t>(row_ids),
                   .row_alternatives = static_cast<int32_t>(config.max_logprobs),
                   // What is in the cache, and the token of each row that is not there yet.
                   .history = int64_t{plan.options.kv_pages} * plan.options.page_tokens +
                              plan.options.max_logit_rows,
                   .constrained = static_cast<int32_t>(config.max_num_seqs)}};
  if (plan.on_cuda) {
    return MakeCudaBackend({.memory_bytes = plan.available_bytes,
                            .row_independent = config.row_independent,
                            .faiss_search = config.exact_search == "faiss",
                            .graph_rows = static_cast<int32_t>(config.cuda_graph_rows),
                            .limits = limits});
  }
  return MakeCpuBackend(
      {.threads = static_cast<int32_t>(config.threads), .isa = config.isa, .limits = limits});
}

absl::StatusOr<std::unique_ptr<CompilePool>> MakeConstraints(const ServerConfig& config,
                                                             const Tokenizer& tokenizer,
                                                             const EngineOptions& engine,
                                                             int32_t vocab_size) {
  ASSIGN_OR_RETURN(auto vocabulary, ConstraintVocabulary::Build(
                                        BytesOf(tokenizer, vocab_size, engine.eos_token_ids)));
  const auto states = static_cast<size_t>(config.constraint_states);
  return std::make_unique<CompilePool>(
      std::move(vocabulary),
      CompilePoolOptions{
          .threads = static_cast<int32_t>(config.constraint_threads),
          .max_queued = static_cast<int32_t>(config.constraint_queue),
          .cache_bytes = static_cast<size_t>(config.constraint_cache_bytes),
          .limits = {.text_bytes = static_cast<size_t>(config.constraint_text_bytes),
                     .grammar = {.states = states, .edges = 5 * states, .rules = states / 8},
                     .automaton = {.bytes = static_cast<size_t>(config.constraint_learned_bytes),
                                   .work = static_cast<uint64_t>(config.constraint_work)}}});
}

}  // namespace

absl::StatusOr<std::string> FindModelDir(const std::string& configured) {
  if (!configured.empty()) {
    std::error_code missing;
    if (!fs::is_directory(configured, missing) &&
        !(absl::EndsWith(configured, ".gguf") && fs::exists(configured, missing))) {
      return absl::NotFoundError(
          absl::StrCat("model: '", configured, "' is not a folder and no GGUF file"));
    }
    return configured;
  }
  std::error_code error;
  const fs::path bin = fs::read_symlink("/proc/self/exe", error).parent_path();
  for (const fs::path& candidate :
       {bin / "../../../models/afia-5m", bin / "../share/alcca/models/afia-5m"}) {
    if (fs::exists(candidate / "config.json", error)) {
      return fs::canonical(candidate).string();
    }
  }
  return absl::NotFoundError("model: no embedded model beside the executable; give --model DIR");
}

absl::StatusOr<ModelPlan> PlanModel(const ServerConfig& config) {
  ModelPlan plan;
  ASSIGN_OR_RETURN(const std::string dir, FindModelDir(config.model));
  ASSIGN_OR_RETURN(plan.folder, ModelFolder::Open(dir));
  ASSIGN_OR_RETURN(plan.chat_template, ChooseChatTemplate(config.chat_template, plan.folder));
  LogText(plan);
  for (const std::string& warning : plan.folder.warnings) {
    Log(LogLevel::kWarn, "model", {{"warning", warning}});
  }
  plan.attention = Resolve({&plan.folder.attention, &config.attention});
  RETURN_IF_ERROR(CheckServes(plan));

  RETURN_IF_ERROR(ChooseDevice(config, &plan));
  if (!plan.on_cuda && config.exact_search != "fused") {
    return absl::FailedPreconditionError(
        "exact_search: faiss is a choice of the CUDA device, and this daemon computes on the CPU, "
        "whose exact search is the request's FAISS index already; leave exact_search out, or serve "
        "on a card with --device cuda");
  }
  if (!plan.on_cuda) {
    RETURN_IF_ERROR(CheckCpuMultiplies(config.weight_dtype));
  }
  const size_t available = plan.available_bytes;
  const int32_t kv_element_bytes = plan.on_cuda ? kCudaKvBytes : kHostKvBytes;
  ASSIGN_OR_RETURN(const MemoryPlan memory,
                   PlanMemory(plan.folder.config, {.weight_dtype = config.weight_dtype,
                                                   .max_context = config.max_context,
                                                   .max_num_seqs = config.max_num_seqs,
                                                   .max_batch_tokens = config.max_batch_tokens,
                                                   .kv_cache_bytes = config.kv_cache_bytes,
                                                   .page_tokens = config.page_tokens,
                                                   .kv_element_bytes = kv_element_bytes,
                                                   .available_bytes = available}));
  plan.options = memory.options;
  plan.footprint = memory.footprint;
  plan.max_context = memory.max_context;
  Log(LogLevel::kInfo, "memory plan",
      {{"device", plan.on_cuda ? "cuda" : "cpu"},
       {"weights", Gib(plan.footprint.weight_bytes)},
       {"weight_dtype", FormatOf(plan.options.weight_dtype).name},
       {"kv_cache", Gib(plan.footprint.kv_bytes)},
       {"indices", Gib(plan.footprint.index_bytes)},
       {"activations", Gib(plan.footprint.activation_bytes)},
       {"available", Gib(available)},
       {"max_context", plan.max_context},
       {"kv_tokens", memory.kv_tokens()}});
  LogPrecision(config, plan);
  if (plan.footprint.total() > available) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the model needs ", Gib(plan.footprint.total()), " and ", Gib(available),
                     " are available; use --weight-dtype int8 or a smaller --kv-cache-bytes"));
  }
  return plan;
}

absl::StatusOr<std::unique_ptr<LoadedModel>> LoadModel(const ServerConfig& config, ModelPlan plan,
                                                       EventSink* sink) {
  const TimePoint start = Clock::now();
  auto loaded = std::make_unique<LoadedModel>();
  ASSIGN_OR_RETURN(auto backend, MakeBackend(config, plan));
  Progress progress;
  ASSIGN_OR_RETURN(auto model,
                   LoadModel(plan.folder, std::move(backend), plan.options, std::ref(progress)));
  plan.folder.checkpoint.reset();  // the files are not needed any more
  loaded->load_seconds = std::chrono::duration<double>(Clock::now() - start).count();
  loaded->weight_bytes = static_cast<int64_t>(model->weight_bytes());
  loaded->kv_pages = plan.options.kv_pages;
  loaded->tokenizer = std::move(plan.folder.tokenizer);
  loaded->serving.rules = MakeRules(config, plan, loaded->tokenizer.get());
  loaded->chat_template = std::move(plan.chat_template);
  loaded->serving.model_info = ModelInfo(config, plan, *model, loaded->serving.rules);
  loaded->serving.max_num_seqs = static_cast<int32_t>(config.max_num_seqs);
  Log(LogLevel::kInfo, "model loaded",
      {{"model", loaded->serving.model_info.served_model_name()},
       {"device", loaded->serving.model_info.device()},
       {"weights", Gib(static_cast<double>(loaded->weight_bytes))},
       {"attention", AttentionModeName(loaded->serving.rules.attention.mode)},
       {"seconds", loaded->load_seconds}});
  const TimePoint warm_up = Clock::now();
  RETURN_IF_ERROR(WarmUp(*model, loaded->serving.rules.attention,
                         std::min(plan.max_context, plan.options.max_batch_tokens)));
  Log(LogLevel::kInfo, "warmed up",
      {{"seconds", std::chrono::duration<double>(Clock::now() - warm_up).count()}});
  const EngineOptions options{
      .max_num_seqs = static_cast<int32_t>(config.max_num_seqs),
      .max_batch_tokens = static_cast<int32_t>(config.max_batch_tokens),
      .max_prefill_chunk = static_cast<int32_t>(config.max_prefill_chunk),
      .max_logit_rows = plan.options.max_logit_rows,
      .max_queued_requests = static_cast<int32_t>(config.max_queued_requests),
      .max_queued_tokens = config.max_queued_tokens,
      .max_context = plan.max_context,
      .prefix_cache = config.prefix_cache_bytes != 0,
      .max_idle_pages = IdlePages(config.prefix_cache_bytes, *model),
      .eos_token_ids = plan.folder.config.eos_token_ids};
  ASSIGN_OR_RETURN(loaded->engine,
                   Engine::Create(options, std::move(model), loaded->tokenizer.get(), sink));
  loaded->serving.engine = loaded->engine.get();
  ASSIGN_OR_RETURN(loaded->constraints, MakeConstraints(config, *loaded->tokenizer, options,
                                                        loaded->serving.rules.vocab_size));
  loaded->serving.constraints = loaded->constraints.get();
  return loaded;
}

}  // namespace alcca
