#pragma once

// A string that knows where each of its bytes came from: the template, or a message (a client).
// Every operation of the interpreter keeps that, so that a tokenizer may look for control tokens in
// the template's bytes alone: user text never becomes a control token.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace alcca::jinja {

enum class Origin : uint8_t {
  kTemplate,  // The model's author or the server: template text, bos_token, dates.
  kMessage,   // A client: messages, tools, and whatever was computed from their values.
};

class Text {
 public:
  // Bytes from the end of the run before (0 for the first) up to `end`.
  struct Run {
    size_t end;
    Origin origin;
  };

  Text() = default;
  // `bytes` are valid UTF-8; so are all slices that the interpreter makes.
  Text(std::string_view bytes, Origin origin) { Append(bytes, origin); }

  const std::string& bytes() const { return bytes_; }
  const std::vector<Run>& runs() const { return runs_; }  // Ends ascend; neighbours differ.
  size_t size() const { return bytes_.size(); }
  bool empty() const { return bytes_.empty(); }
  // What the text costs in memory, in bytes.
  size_t cost() const { return bytes_.size() + runs_.size() * sizeof(Run); }

  void Append(std::string_view bytes, Origin origin);
  void Append(const Text& text) { AppendSlice(text, 0, text.size()); }
  // Bytes [begin, end) of another text.
  void AppendSlice(const Text& text, size_t begin, size_t end);
  Text Slice(size_t begin, size_t end) const;
  Origin OriginAt(size_t byte) const;

 private:
  std::string bytes_;
  std::vector<Run> runs_;
};

// Python's strings are sequences of code points; ours of bytes. `bytes` are valid UTF-8.
size_t CodePoints(std::string_view bytes);
// Where code point number 0, 1, ... begins, and the size at the end.
std::vector<size_t> CodePointOffsets(std::string_view bytes);
// The code point at *at, which moves behind it.
char32_t NextCodePoint(std::string_view bytes, size_t* at);
void AppendUtf8(char32_t code, std::string* out);

// The first `needle` in `text` from byte `from` on, or npos. Linear in the sizes, unlike
// std::string_view::find, because both may be a client's.
size_t Find(std::string_view text, std::string_view needle, size_t from = 0);

}  // namespace alcca::jinja
