// The nine rules: bytes in, checked SafetensorsHeader out. Outside input; fuzzed by
// tests/fuzz/fuzz_safetensors.cc.

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <limits>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "base/utf8.h"
#include "engine/checkpoint/safetensors.h"
#include "nlohmann/json.hpp"

namespace alcca {
namespace {

template <typename... Args>
absl::Status Bad(std::string_view file, const Args&... args) {
  return absl::InvalidArgumentError(
      absl::StrCat(absl::string_view(file.data(), file.size()), ": ", args...));
}

template <typename... Args>
absl::Status BadTensor(std::string_view file, const TensorInfo& info, const Args&... args) {
  return Bad(file, "tensor ", QuoteName(info.name), ": ", args...);
}

std::string Offsets(const TensorInfo& info) {
  return absl::StrCat("data_offsets [", info.begin, ", ", info.end, "]");
}

// What the JSON library does not check for us: UTF-8 before anything else (rule 4), no NUL (the
// library takes it for the end of the text), and no string, number or blank so long that the
// library's copy of it matters.
absl::Status CheckHeaderText(std::string_view text, std::string_view file) {
  constexpr size_t kMaxGap = 4096;  // Between two of {}[]:," outside strings.
  for (size_t i = 0; i < text.size();) {
    const int length = Utf8CharLength(text.substr(i));
    if (length <= 0) {
      return Bad(file, "header is not UTF-8 at byte ", 8 + i, " (rule 4)");
    }
    i += static_cast<size_t>(length);
  }
  if (text.empty() || text[0] != '{') {
    return Bad(file, "header does not begin with '{' (rule 5)");
  }
  const size_t nul = text.find('\0');
  if (nul != std::string_view::npos) {
    return Bad(file, "header has a NUL at byte ", 8 + nul, " (rule 5)");
  }
  bool in_string = false;
  size_t start = 0;  // Of the string, or of the gap.
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '"') {
      in_string = !in_string;
      start = i;
    } else if (in_string && c == '\\') {
      ++i;
    } else if (!in_string &&
               (c == '{' || c == '}' || c == '[' || c == ']' || c == ':' || c == ',')) {
      start = i;
    }
    if (i - start > (in_string ? kMaxSafetensorsStringBytes : kMaxGap)) {
      return Bad(file, "header has a ", in_string ? "string" : "number or blank", " of more than ",
                 in_string ? kMaxSafetensorsStringBytes : kMaxGap, " bytes");
    }
  }
  return absl::OkStatus();
}

// Streams the header into a SafetensorsHeader without building a document. The grammar is so small
// (object of objects of a string and two integer arrays) that nesting is refused, not bounded.
class HeaderSax : public nlohmann::json_sax<nlohmann::json> {
 public:
  HeaderSax(std::string_view file, SafetensorsHeader* header) : file_(file), header_(header) {}

  // Rule and place of the first problem.
  absl::Status status() const { return status_; }

  bool start_object(size_t) override {
    if (state_ == State::kStart) {
      return Enter(State::kTop);
    }
    if (state_ == State::kTop && is_metadata_) {
      return Enter(State::kMetadata);
    }
    if (state_ == State::kTop) {
      fields_ = 0;
      return Enter(State::kTensor);
    }
    return Unexpected("an object");
  }

  bool key(std::string& text) override {
    if (state_ == State::kTop) {
      return TopKey(text);
    }
    if (state_ == State::kMetadata) {
      if (header_->metadata.size() >= kMaxSafetensorsTensors) {
        return Fail("__metadata__ has more than ", kMaxSafetensorsTensors, " entries");
      }
      header_->metadata.emplace_back(text, "");
      return true;
    }
    constexpr std::string_view kFields[] = {"dtype", "shape", "data_offsets"};
    const auto* found = std::find(std::begin(kFields), std::end(kFields), text);
    if (found == std::end(kFields)) {
      return FailTensor("unknown key ", QuoteName(text), " (rule 5)");
    }
    field_ = static_cast<Field>(1 << (found - std::begin(kFields)));
    if (fields_ & field_) {
      return FailTensor("duplicate key '", text, "' (rule 5)");
    }
    fields_ |= field_;
    return true;
  }

  bool end_object() override {
    if (state_ == State::kTensor) {
      if (!(fields_ & kDTypeField)) {
        return FailTensor("no dtype (rule 5)");
      }
      if (!(fields_ & kShapeField)) {
        return FailTensor("no shape (rule 5)");
      }
      if (!(fields_ & kOffsetsField)) {
        return FailTensor("no data_offsets (rule 5)");
      }
    }
    return Enter(state_ == State::kTop ? State::kEnd : State::kTop);
  }

  bool start_array(size_t) override {
    if (state_ != State::kTensor || field_ == kDTypeField) {
      return Unexpected("an array");
    }
    numbers_ = 0;
    return Enter(field_ == kShapeField ? State::kShape : State::kOffsets);
  }

  bool end_array() override {
    if (state_ == State::kOffsets && numbers_ != 2) {
      return FailTensor("data_offsets has ", numbers_, " numbers, expected 2 (rule 6)");
    }
    return Enter(State::kTensor);
  }

  bool string(std::string& text) override {
    if (state_ == State::kMetadata) {
      header_->metadata.back().second = text;
      return true;
    }
    if (state_ != State::kTensor || field_ != kDTypeField) {
      return Unexpected("a string");
    }
    header_->tensors.back().dtype = SafetensorsDTypeFromName(text);
    return true;
  }

  bool number_unsigned(uint64_t value) override {
    TensorInfo* info = header_->tensors.empty() ? nullptr : &header_->tensors.back();
    if (state_ == State::kShape) {
      if (info->shape.size() == kMaxSafetensorsRank) {
        return FailTensor("shape has more than ", kMaxSafetensorsRank, " dimensions");
      }
      if (value > uint64_t{std::numeric_limits<int64_t>::max()}) {
        return FailTensor("dimension ", value, " is too large (rule 7)");
      }
      info->shape.push_back(static_cast<int64_t>(value));
      return true;
    }
    if (state_ != State::kOffsets) {
      return Unexpected("a number");
    }
    (numbers_ == 0 ? info->begin : info->end) = value;
    return ++numbers_ <= 2 || FailTensor("data_offsets has more than 2 numbers (rule 6)");
  }

  bool number_integer(int64_t) override { return Unexpected("a negative number"); }
  bool number_float(double, const std::string&) override { return Unexpected("a fraction"); }
  bool boolean(bool) override { return Unexpected("a boolean"); }
  bool null() override { return Unexpected("null"); }
  bool binary(nlohmann::json::binary_t&) override { return Unexpected("binary data"); }
  bool parse_error(size_t position, const std::string&, const nlohmann::json::exception&) override {
    return Fail("header is not valid JSON at byte ", 8 + position, " (rule 5)");
  }

 private:
  enum class State { kStart, kTop, kMetadata, kTensor, kShape, kOffsets, kEnd };
  enum Field { kNoField = 0, kDTypeField = 1, kShapeField = 2, kOffsetsField = 4 };

  bool Enter(State state) {
    state_ = state;
    return true;
  }

  bool TopKey(const std::string& text) {
    is_metadata_ = text == "__metadata__";
    if (is_metadata_) {
      if (seen_metadata_) {
        return Fail("duplicate key '__metadata__' (rule 5)");
      }
      seen_metadata_ = true;
      return true;
    }
    if (text.size() > kMaxSafetensorsNameBytes) {
      return Fail("tensor ", QuoteName(text), ": name has ", text.size(), " bytes, more than ",
                  kMaxSafetensorsNameBytes);
    }
    if (header_->tensors.size() == kMaxSafetensorsTensors) {
      return Fail("more than ", kMaxSafetensorsTensors, " tensors");
    }
    header_->tensors.emplace_back().name = text;
    return true;
  }

  template <typename... Args>
  bool Fail(const Args&... args) {
    status_ = Bad(file_, args...);
    return false;
  }

  template <typename... Args>
  bool FailTensor(const Args&... args) {
    status_ = BadTensor(file_, header_->tensors.back(), args...);
    return false;
  }

  bool Unexpected(const char* what) {
    if (state_ == State::kStart) {
      return Fail("header is ", what, ", expected an object (rule 5)");
    }
    if (state_ == State::kMetadata || is_metadata_) {
      return Fail("__metadata__: found ", what, ", expected strings (rule 5)");
    }
    if (state_ == State::kTop) {
      return FailTensor("is ", what, ", expected an object (rule 5)");
    }
    if (field_ == kDTypeField) {
      return FailTensor("dtype is ", what, " (rule 5)");
    }
    if (field_ == kShapeField) {
      return FailTensor("shape: found ", what, ", expected unsigned integers (rule 7)");
    }
    return FailTensor("data_offsets: found ", what, ", expected unsigned integers (rule 6)");
  }

  std::string_view file_;
  SafetensorsHeader* header_;
  absl::Status status_;
  State state_ = State::kStart;
  Field field_ = kNoField;
  int fields_ = 0;   // Fields seen of the current tensor.
  int numbers_ = 0;  // Offsets seen of the current tensor.
  bool is_metadata_ = false;
  bool seen_metadata_ = false;
};

// Rules 7 and 8.
absl::Status CheckSize(const TensorInfo& info, std::string_view file) {
  if (info.end < info.begin) {
    return BadTensor(file, info, Offsets(info), ": end before begin (rule 6)");
  }
  if (info.dtype == SafetensorsDType::kUnknown) {
    return absl::OkStatus();
  }
  uint64_t bits = static_cast<uint64_t>(SafetensorsDTypeBits(info.dtype));
  for (int64_t dim : info.shape) {
    if (__builtin_mul_overflow(bits, static_cast<uint64_t>(dim), &bits)) {
      return BadTensor(file, info, "shape ", ShapeToString(info.shape), " of ",
                       SafetensorsDTypeName(info.dtype), " overflows (rule 7)");
    }
  }
  if (bits % 8 != 0) {
    return BadTensor(file, info, "shape ", ShapeToString(info.shape), " of ",
                     SafetensorsDTypeName(info.dtype), " is not whole bytes (rule 7)");
  }
  if (info.end - info.begin != bits / 8) {
    return BadTensor(file, info, Offsets(info), " are ", info.end - info.begin, " bytes, but ",
                     SafetensorsDTypeName(info.dtype), " ", ShapeToString(info.shape), " needs ",
                     bits / 8, " (rule 8)");
  }
  return absl::OkStatus();
}

// Rules 6 and 9: in the order of their offsets, the tensors tile [0, data_bytes).
absl::Status CheckTiling(std::vector<TensorInfo>& tensors, uint64_t data_bytes,
                         std::string_view file) {
  std::sort(tensors.begin(), tensors.end(), [](const TensorInfo& a, const TensorInfo& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  uint64_t previous_end = 0;
  for (const TensorInfo& info : tensors) {
    if (info.begin != previous_end) {
      return BadTensor(file, info, Offsets(info), ": ",
                       info.begin < previous_end ? "overlap with" : "hole after",
                       " the tensor before, which ends at ", previous_end, " (rule 6)");
    }
    if (info.end > data_bytes) {
      return BadTensor(file, info, Offsets(info), ": file is truncated, it has ", data_bytes,
                       " bytes of data (rule 9)");
    }
    previous_end = info.end;
  }
  if (previous_end != data_bytes) {
    return Bad(file, data_bytes - previous_end, " bytes after the last tensor",
               tensors.empty() ? "" : " " + QuoteName(tensors.back().name), " (rule 9)");
  }
  return absl::OkStatus();
}

template <typename Entry, typename Key>
const Entry* SortAndFindDuplicate(std::vector<Entry>& entries, Key key) {
  std::sort(entries.begin(), entries.end(),
            [&](const Entry& a, const Entry& b) { return key(a) < key(b); });
  const auto it =
      std::adjacent_find(entries.begin(), entries.end(),
                         [&](const Entry& a, const Entry& b) { return key(a) == key(b); });
  return it == entries.end() ? nullptr : &*it;
}

}  // namespace

absl::StatusOr<SafetensorsHeader> ParseSafetensorsHeader(std::string_view prefix_bytes,
                                                         uint64_t file_size,
                                                         std::string_view name) {
  if (file_size < 8 || prefix_bytes.size() < 8) {
    return Bad(name, "file of ", file_size, " bytes, expected at least 8 (rule 1)");
  }
  uint64_t n = 0;
  for (int i = 7; i >= 0; --i) {
    n = n << 8 | static_cast<unsigned char>(prefix_bytes[i]);
  }
  if (n > kMaxSafetensorsHeaderBytes) {
    return Bad(name, "header length ", n, ", at most ", kMaxSafetensorsHeaderBytes, " (rule 2)");
  }
  if (8 + n > file_size || 8 + n > prefix_bytes.size()) {
    return Bad(name, "header length ", n, " in a file of ", file_size, " bytes (rule 3)");
  }
  std::string_view text = prefix_bytes.substr(8, n);
  text = text.substr(0, text.find_last_not_of(" \t\r\n") + 1);  // Writers pad to align the data.
  RETURN_IF_ERROR(CheckHeaderText(text, name));

  SafetensorsHeader header;
  header.data_start = 8 + n;
  HeaderSax sax(name, &header);
  if (!nlohmann::json::sax_parse(text.begin(), text.end(), &sax)) {
    return sax.status();
  }
  const auto* metadata = SortAndFindDuplicate(
      header.metadata, [](const auto& entry) -> const std::string& { return entry.first; });
  if (metadata != nullptr) {
    return Bad(name, "__metadata__: duplicate key ", QuoteName(metadata->first), " (rule 5)");
  }
  for (const TensorInfo& info : header.tensors) {
    RETURN_IF_ERROR(CheckSize(info, name));
  }
  RETURN_IF_ERROR(CheckTiling(header.tensors, file_size - header.data_start, name));
  const TensorInfo* twin = SortAndFindDuplicate(
      header.tensors, [](const TensorInfo& info) -> const std::string& { return info.name; });
  if (twin != nullptr) {
    return BadTensor(name, *twin, "duplicate key (rule 5)");
  }
  return header;
}

}  // namespace alcca
