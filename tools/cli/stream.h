#pragma once

// Reads one Generate or Chat stream: text to the terminal as it arrives, statistics at the end.

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "alcca/v1/inference.grpc.pb.h"

namespace alcca::cli {

struct StreamResult {
  grpc::Status status;
  std::vector<v1::GenerateComplete> completions;  // by index, as far as they came
  double first_token_seconds = 0;                 // send to first chunk, as the client saw it
};

using Reader = grpc::ClientReaderInterface<v1::GenerateResponse>;

struct StreamStyle {
  bool json = false;   // every message as one line of JSON instead of text
  bool stats = false;  // print cost and timings when done
};

// With one completion the text streams; with several each is printed when all are done.
StreamResult PrintStream(const std::function<std::unique_ptr<Reader>()>& send, int completions,
                         const StreamStyle& style);

}  // namespace alcca::cli
