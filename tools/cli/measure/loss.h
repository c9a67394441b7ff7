#pragma once

// Loss of a text, whole and by position.

#include <cstdint>
#include <vector>

namespace alcca::cli {

class Loss {
 public:
  // Tokens predicted from [from, to) tokens before them.
  struct Bucket {
    int64_t from = 0, to = 0, tokens = 0;
    double nats = 0;
    double nats_per_token() const { return tokens > 0 ? nats / double(tokens) : 0; }
  };

  // logprobs[i] is that of a token after i + 1 others.
  void Add(const std::vector<float>& logprobs);

  double nats() const;
  int64_t tokens() const;
  double nats_per_token() const { return nats() / double(tokens()); }
  // 1 to 15 tokens, then up to each power of two, as far as the longest sequence went.
  const std::vector<Bucket>& by_position() const { return buckets_; }

 private:
  std::vector<Bucket> buckets_;
};

}  // namespace alcca::cli
