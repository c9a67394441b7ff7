#include "engine/text/jinja/text.h"

#include <string.h>

#include <algorithm>

namespace alcca::jinja {

void Text::Append(std::string_view bytes, Origin origin) {
  if (bytes.empty()) {
    return;
  }
  bytes_ += bytes;
  if (!runs_.empty() && runs_.back().origin == origin) {
    runs_.back().end = bytes_.size();
  } else {
    runs_.push_back({bytes_.size(), origin});
  }
}

void Text::AppendSlice(const Text& text, size_t begin, size_t end) {
  const auto first = std::upper_bound(text.runs_.begin(), text.runs_.end(), begin,
                                      [](size_t byte, const Run& run) { return byte < run.end; });
  for (auto run = first; run != text.runs_.end() && begin < end; ++run) {
    const size_t stop = std::min(run->end, end);
    Append(std::string_view(text.bytes_).substr(begin, stop - begin), run->origin);
    begin = stop;
  }
}

Text Text::Slice(size_t begin, size_t end) const {
  Text slice;
  slice.AppendSlice(*this, begin, end);
  return slice;
}

Origin Text::OriginAt(size_t byte) const {
  return std::upper_bound(runs_.begin(), runs_.end(), byte,
                          [](size_t at, const Run& run) { return at < run.end; })
      ->origin;
}

size_t CodePoints(std::string_view bytes) {
  return static_cast<size_t>(std::count_if(bytes.begin(), bytes.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  }));
}

std::vector<size_t> CodePointOffsets(std::string_view bytes) {
  std::vector<size_t> offsets;
  offsets.reserve(bytes.size() + 1);
  for (size_t i = 0; i < bytes.size(); ++i) {
    if ((static_cast<unsigned char>(bytes[i]) & 0xC0) != 0x80) {
      offsets.push_back(i);
    }
  }
  offsets.push_back(bytes.size());
  return offsets;
}

char32_t NextCodePoint(std::string_view bytes, size_t* at) {
  const auto lead = static_cast<unsigned char>(bytes[*at]);
  const size_t size = lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  char32_t code = size == 1 ? lead : lead & (0x7F >> size);
  for (size_t i = 1; i < size && *at + i < bytes.size(); ++i) {
    code = code << 6 | (static_cast<unsigned char>(bytes[*at + i]) & 0x3F);
  }
  *at = std::min(*at + size, bytes.size());
  return code;
}

void AppendUtf8(char32_t code, std::string* out) {
  if (code < 0x80) {
    *out += static_cast<char>(code);
  } else if (code < 0x800) {
    *out += static_cast<char>(0xC0 | code >> 6);
    *out += static_cast<char>(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    *out += static_cast<char>(0xE0 | code >> 12);
    *out += static_cast<char>(0x80 | (code >> 6 & 0x3F));
    *out += static_cast<char>(0x80 | (code & 0x3F));
  } else {
    *out += static_cast<char>(0xF0 | code >> 18);
    *out += static_cast<char>(0x80 | (code >> 12 & 0x3F));
    *out += static_cast<char>(0x80 | (code >> 6 & 0x3F));
    *out += static_cast<char>(0x80 | (code & 0x3F));
  }
}

size_t Find(std::string_view text, std::string_view needle, size_t from) {
  if (from > text.size()) {
    return std::string_view::npos;
  }
  const void* found = memmem(text.data() + from, text.size() - from, needle.data(), needle.size());
  return found == nullptr ? std::string_view::npos
                          : static_cast<size_t>(static_cast<const char*>(found) - text.data());
}

}  // namespace alcca::jinja
