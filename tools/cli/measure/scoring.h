#pragma once

// Teacher-forced scoring of token sequences by the served model, which eval, its tables and the
// tasks share: text to tokens, tokens to log-probabilities and to what attention cost.

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "alcca/v1/inference.grpc.pb.h"
#include "tools/cli/options.h"

namespace alcca::cli {

using TokenIds = std::vector<uint32_t>;

struct TokenizedText {
  TokenIds ids;
  std::vector<std::string> pieces;
};

// What the server tokenizes in one call, whatever its context.
inline constexpr size_t kTokenizeBytes = 1 << 20;

// Takes the front of `rest`, at most `most` bytes, to be tokenized alone. The cut is at a space,
// which is dropped: SentencePiece puts a space before a text, so the ids are those of the whole
// text. Without a space the cut is between two characters.
std::string_view CutTokenizable(size_t most, std::string_view* rest);

// Bytes of text that a piece stands for. Their sum over a text is the text's size, but for the
// space that a SentencePiece tokenizer puts before it.
int PieceBytes(std::string_view piece);

struct SequenceScore {
  std::vector<float> logprobs;  // [i]: of token i + 1 after those before it
  v1::AttentionReport attention;
};

// The parts of `text` between separators, blanks around them removed; `limit` of them, 0: all.
std::vector<std::string> SplitDocuments(const std::string& text, const std::string& separator,
                                        int limit);
// The whole of `file`, or of a pipe.
grpc::Status ReadText(const std::string& file, std::string* text);

// Calls work(0), ..., work(count - 1) on so many threads. The first failure ends it.
grpc::Status ForEach(size_t count, int threads, const std::function<grpc::Status(size_t)>& work);

// The served model. Thread-safe once connected.
class Scorer {
 public:
  explicit Scorer(const ConnectionOptions& connection)
      : connection_(connection), stub_(connection.Stub()) {}

  grpc::Status Connect();  // first of all: asks what is served
  const v1::GetModelInfoResponse& info() const { return info_; }
  // Layers times query heads, over which the server's counters are sums.
  int64_t heads() const { return int64_t{info_.num_layers()} * info_.num_attention_heads(); }

  grpc::Status Tokenize(const std::string& text, TokenizedText* out);  // no begin token
  // Log-probability of every token but the first.
  grpc::Status Score(const TokenIds& ids, const v1::AttentionParams& attention,
                     SequenceScore* score);
  // Seconds to the first token, as the server measured them.
  grpc::Status TimePrefill(const TokenIds& ids, const v1::AttentionParams& attention,
                           double* seconds);
  // The greedy continuation.
  grpc::Status Continue(const TokenIds& prompt, const v1::AttentionParams& attention,
                        uint32_t tokens, v1::GenerateComplete* done);

 private:
  grpc::Status Generate(const v1::GenerateRequest& request, v1::GenerateComplete* done);

  const ConnectionOptions connection_;
  const std::unique_ptr<v1::Inference::Stub> stub_;
  v1::GetModelInfoResponse info_;
};

// Sequences of exactly n tokens, the begin token and then a text's, one after the other.
struct ExactSequences {
  std::vector<TokenIds> ids;
  int64_t bytes = 0;  // of the tokens that are predicted: all but each sequence's first
};
ExactSequences CutSequences(const TokenizedText& text, const v1::GetModelInfoResponse& info,
                            uint32_t n, size_t at_most);

}  // namespace alcca::cli
