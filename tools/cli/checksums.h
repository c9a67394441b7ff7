#pragma once

// A folder against a list of SHA-256 sums, in the format that sha256sum writes and reads.

#include <cstdint>
#include <string>
#include <vector>

namespace alcca::cli {

struct Checksum {
  std::string hex;   // 64 digits, lower case
  std::string file;  // relative to the folder
};

// The result is empty on an error, and the error then names line and rule. A list names at least
// one file, each once, by a path that stays inside the folder.
std::vector<Checksum> ParseChecksums(const std::string& text, std::string* error);

// SHA-256 of a file in hex; empty with `error` set if it cannot be read.
std::string Sha256OfFile(const std::string& path, int64_t* bytes, std::string* error);

}  // namespace alcca::cli
