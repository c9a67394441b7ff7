#include "tools/cli/measure/scoring.h"

#include <atomic>
#include <mutex>
#include <thread>

#include "absl/strings/ascii.h"
#include "absl/strings/str_split.h"
#include "base/files.h"

namespace alcca::cli {
namespace {

constexpr std::string_view kSpace = "\u2581";  // how SentencePiece writes a space in a piece

v1::GenerateRequest Request(const TokenIds& ids, const v1::AttentionParams& attention,
                            uint32_t max_tokens) {
  v1::GenerateRequest request;
  request.mutable_tokenized()->mutable_input_ids()->Assign(ids.begin(), ids.end());
  request.mutable_sampling_params()->set_max_tokens(max_tokens);
  request.mutable_sampling_params()->set_temperature(0);
  *request.mutable_attention() = attention;
  request.set_bypass_prefix_cache(true);  // what is measured is computed
  return request;
}

}  // namespace

std::string_view CutTokenizable(size_t most, std::string_view* rest) {
  size_t end = rest->size(), next = end;
  if (end > most) {
    end = rest->rfind(' ', most);
    if (end != std::string_view::npos && end > 0) {
      next = end + 1;
    } else {
      for (end = most; end > 1 && (static_cast<unsigned char>((*rest)[end]) & 0xc0) == 0x80;) {
        --end;
      }
      next = end;
    }
  }
  const std::string_view front = rest->substr(0, end);
  rest->remove_prefix(next);
  return front;
}

int PieceBytes(std::string_view piece) {
  if (piece.size() == 6 && piece.starts_with("<0x") && piece.back() == '>') {
    return 1;  // a byte of a character that is no piece
  }
  int bytes = static_cast<int>(piece.size());
  for (size_t at = piece.find(kSpace); at != std::string_view::npos;
       at = piece.find(kSpace, at + kSpace.size())) {
    bytes -= static_cast<int>(kSpace.size()) - 1;
  }
  return bytes;
}

std::vector<std::string> SplitDocuments(const std::string& text, const std::string& separator,
                                        int limit) {
  std::vector<std::string> documents;
  for (const absl::string_view part : absl::StrSplit(text, separator)) {
    const absl::string_view document = absl::StripAsciiWhitespace(part);
    if (!document.empty() && (limit == 0 || documents.size() < static_cast<size_t>(limit))) {
      documents.emplace_back(document);
    }
  }
  return documents;
}

grpc::Status ReadText(const std::string& file, std::string* text) {
  constexpr uint64_t kMaxTextBytes = uint64_t{1} << 30;
  absl::StatusOr<std::string> content = ReadTextFile(file, kMaxTextBytes, FileKind::kAny);
  if (!content.ok()) {
    return {static_cast<grpc::StatusCode>(content.status().code()),
            std::string(content.status().message())};
  }
  *text = *std::move(content);
  return grpc::Status::OK;
}

grpc::Status ForEach(size_t count, int threads, const std::function<grpc::Status(size_t)>& work) {
  std::atomic<size_t> next = 0;
  std::mutex mutex;
  grpc::Status failure;
  std::vector<std::thread> workers;
  for (int i = 0; i < threads; ++i) {
    workers.emplace_back([&] {
      for (size_t at = next++; at < count; at = next++) {
        if (const grpc::Status status = work(at); !status.ok()) {
          const std::lock_guard lock(mutex);
          failure = failure.ok() ? status : failure;
          next = count;
        }
      }
    });
  }
  for (std::thread& worker : workers) {
    worker.join();
  }
  return failure;
}

grpc::Status Scorer::Connect() {
  return stub_->GetModelInfo(connection_.Context().get(), {}, &info_);
}

grpc::Status Scorer::Tokenize(const std::string& text, TokenizedText* out) {
  *out = {};
  for (std::string_view rest = text; !rest.empty();) {
    v1::TokenizeRequest request;
    request.set_text(std::string(CutTokenizable(kTokenizeBytes, &rest)));
    v1::TokenizeResponse response;
    const grpc::Status status = stub_->Tokenize(connection_.Context().get(), request, &response);
    if (!status.ok()) {
      return status;
    }
    out->ids.insert(out->ids.end(), response.token_ids().begin(), response.token_ids().end());
    out->pieces.insert(out->pieces.end(), response.pieces().begin(), response.pieces().end());
  }
  return grpc::Status::OK;
}

grpc::Status Scorer::Generate(const v1::GenerateRequest& request, v1::GenerateComplete* done) {
  const auto context = connection_.Context();
  const auto reader = stub_->Generate(context.get(), request);
  for (v1::GenerateResponse message; reader->Read(&message);) {
    if (message.has_complete()) {
      *done = std::move(*message.mutable_complete());
    }
  }
  return reader->Finish();
}

grpc::Status Scorer::Score(const TokenIds& ids, const v1::AttentionParams& attention,
                           SequenceScore* score) {
  v1::GenerateRequest request = Request(ids, attention, 1);
  request.mutable_sampling_params()->set_prompt_logprobs(0);
  v1::GenerateComplete done;
  const grpc::Status status = Generate(request, &done);
  score->logprobs.clear();
  for (const v1::InputTokenLogProb& token : done.input_logprobs().token_logprobs()) {
    if (token.has_value()) {
      score->logprobs.push_back(token.value());
    }
  }
  if (status.ok() && score->logprobs.size() + 1 != ids.size()) {
    return {grpc::StatusCode::INTERNAL, "the server did not score every token"};
  }
  score->attention = std::move(*done.mutable_attention());
  return status;
}

grpc::Status Scorer::TimePrefill(const TokenIds& ids, const v1::AttentionParams& attention,
                                 double* seconds) {
  v1::GenerateComplete done;
  const grpc::Status status = Generate(Request(ids, attention, 1), &done);
  *seconds = done.timings().prefill_seconds();
  return status;
}

grpc::Status Scorer::Continue(const TokenIds& prompt, const v1::AttentionParams& attention,
                              uint32_t tokens, v1::GenerateComplete* done) {
  return Generate(Request(prompt, attention, tokens), done);
}

ExactSequences CutSequences(const TokenizedText& text, const v1::GetModelInfoResponse& info,
                            uint32_t n, size_t at_most) {
  ExactSequences out;
  const size_t begin = info.has_bos_token_id() ? 1 : 0;
  if (n <= begin) {
    return out;
  }
  const size_t step = n - begin;
  for (size_t at = 0; at + step <= text.ids.size() && out.ids.size() < at_most; at += step) {
    TokenIds& ids = out.ids.emplace_back();
    if (begin > 0) {
      ids.push_back(info.bos_token_id());
    }
    ids.insert(ids.end(), text.ids.begin() + at, text.ids.begin() + at + step);
    for (size_t i = at + 1 - begin; i < at + step; ++i) {
      out.bytes += PieceBytes(text.pieces[i]);
    }
  }
  if (begin > 0 && !out.ids.empty() && text.pieces[0].starts_with(kSpace)) {
    --out.bytes;  // the space that the tokenizer put before the text
  }
  return out;
}

}  // namespace alcca::cli
