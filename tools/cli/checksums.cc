#include "tools/cli/checksums.h"

#include <openssl/evp.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <set>
#include <sstream>

namespace alcca::cli {
namespace {

bool IsHex(const std::string& text) {
  return text.find_first_not_of("0123456789abcdef") == std::string::npos;
}

// No absolute path, no empty part, no "..": a list cannot point outside its folder.
bool StaysInside(const std::string& path) {
  if (path.empty() || path.back() == '/') {
    return false;
  }
  std::istringstream parts(path);
  for (std::string part; std::getline(parts, part, '/');) {
    if (part.empty() || part == "." || part == "..") {
      return false;
    }
  }
  return true;
}

}  // namespace

std::vector<Checksum> ParseChecksums(const std::string& text, std::string* error) {
  std::vector<Checksum> sums;
  std::set<std::string> seen;
  std::istringstream lines(text);
  int number = 0;
  const auto bad = [&](const std::string& rule) {
    *error = "line " + std::to_string(number) + ": " + rule;
    return std::vector<Checksum>();
  };
  for (std::string line; std::getline(lines, line);) {
    ++number;
    if (!line.empty() && line.back() == '\r') {
      line.pop_back();
    }
    if (line.empty() || line[0] == '#') {
      continue;
    }
    if (line.size() < 67 || !IsHex(line.substr(0, 64)) || line[64] != ' ' ||
        (line[65] != ' ' && line[65] != '*')) {
      return bad("expected 64 hex digits, two spaces and a file, as sha256sum writes them");
    }
    const std::string file = line.substr(66);
    if (!StaysInside(file)) {
      return bad("'" + file + "' is not a path inside the folder");
    }
    if (!seen.insert(file).second) {
      return bad("'" + file + "' is listed twice");
    }
    sums.push_back({line.substr(0, 64), file});
  }
  if (sums.empty()) {
    *error = "it lists no file";
  }
  return sums;
}

std::string Sha256OfFile(const std::string& path, int64_t* bytes, std::string* error) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "rb"),
                                                             std::fclose);
  if (file == nullptr) {
    *error = std::strerror(errno);
    return "";
  }
  const std::unique_ptr<EVP_MD_CTX, void (*)(EVP_MD_CTX*)> context(EVP_MD_CTX_new(),
                                                                   EVP_MD_CTX_free);
  EVP_DigestInit_ex(context.get(), EVP_sha256(), nullptr);
  std::vector<char> buffer(1 << 20);
  *bytes = 0;
  for (size_t count; (count = std::fread(buffer.data(), 1, buffer.size(), file.get())) > 0;) {
    EVP_DigestUpdate(context.get(), buffer.data(), count);
    *bytes += static_cast<int64_t>(count);
  }
  if (std::ferror(file.get())) {  // a folder, a bad disk
    *error = std::strerror(errno);
    return "";
  }
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  EVP_DigestFinal_ex(context.get(), digest, &size);
  std::string hex;
  for (unsigned int i = 0; i < size; ++i) {
    char digits[3];
    std::snprintf(digits, sizeof(digits), "%02x", digest[i]);
    hex += digits;
  }
  return hex;
}

}  // namespace alcca::cli
