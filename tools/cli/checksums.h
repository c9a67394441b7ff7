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

// Empty on an error, which then says line and rule. A list names at least one file, each once, by a
// path that stays inside the folder.
std::vector<Checksum> ParseChecksums(const std::string& text, std::string* error);

// SHA-256 of a file in hex; empty with `error` set if it cannot be read.
std::string Sha256OfFile(const std::string& path, int64_t* bytes, std::string* error);

}  // namespace alcca::cli
