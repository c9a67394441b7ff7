#include "engine/text/jinja/strings.h"

#include <algorithm>
#include <set>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "engine/text/jinja/unicode.h"

namespace alcca::jinja {
namespace {

constexpr size_t kPartCost = sizeof(Value) + sizeof(Text) + sizeof(Text::Run);

// The beginning of the code point that ends at `end`.
size_t PreviousCodePoint(std::string_view bytes, size_t end) {
  do {
    --end;
  } while (end > 0 && (static_cast<unsigned char>(bytes[end]) & 0xC0) == 0x80);
  return end;
}

absl::StatusOr<Value> Parts(std::vector<Text> parts, Meter* meter) {
  std::vector<Value> values;
  values.reserve(parts.size());
  for (Text& part : parts) {
    RETURN_IF_ERROR(meter->Take(part.cost()));
    values.emplace_back(std::move(part));
  }
  return MakeList(std::move(values), meter);
}

absl::StatusOr<std::vector<Text>> SplitBlanks(const Text& text, int64_t limit, Meter* meter) {
  std::vector<Text> parts;
  const std::string& bytes = text.bytes();
  size_t begin = std::string::npos;  // Of the word that is being read.
  for (size_t at = 0; at < bytes.size();) {
    const size_t here = at;
    if (!IsSpace(NextCodePoint(bytes, &at))) {
      begin = std::min(begin, here);
      if (limit >= 0 && static_cast<int64_t>(parts.size()) == limit) {
        break;
      }
    } else if (begin != std::string::npos) {
      RETURN_IF_ERROR(meter->Take(kPartCost));
      parts.push_back(text.Slice(begin, here));
      begin = std::string::npos;
    }
  }
  if (begin != std::string::npos) {
    parts.push_back(text.Slice(begin, bytes.size()));
  }
  return parts;
}

absl::StatusOr<std::vector<Text>> SplitAt(const Text& text, std::string_view separator,
                                          int64_t limit, bool right, Meter* meter) {
  std::vector<size_t> found;
  for (size_t at = Find(text.bytes(), separator); at != std::string_view::npos && !right;
       at = Find(text.bytes(), separator, at + separator.size())) {
    if (limit >= 0 && static_cast<int64_t>(found.size()) == limit) {
      break;
    }
    RETURN_IF_ERROR(meter->Take(kPartCost));
    found.push_back(at);
  }
  // From the right: occurrences may overlap differently, so they are looked for from there.
  size_t end = text.size();
  while (right && end >= separator.size() &&
         (limit < 0 || static_cast<int64_t>(found.size()) < limit)) {
    RETURN_IF_ERROR(meter->Take(kPartCost));
    RETURN_IF_ERROR(meter->Step(end / 64 * (1 + separator.size())));
    const size_t at = text.bytes().rfind(separator, end - separator.size());
    if (at == std::string::npos) {
      break;
    }
    found.push_back(at);
    end = at;
  }
  std::sort(found.begin(), found.end());
  std::vector<Text> parts;
  size_t begin = 0;
  for (const size_t at : found) {
    parts.push_back(text.Slice(begin, at));
    begin = at + separator.size();
  }
  parts.push_back(text.Slice(begin, text.size()));
  return parts;
}

}  // namespace

absl::StatusOr<Value> Strip(const Text& text, const Text* characters, Side side, Meter* meter) {
  RETURN_IF_ERROR(meter->Step(text.size() / 64));
  std::set<char32_t> wanted;
  for (size_t at = 0; characters != nullptr && at < characters->size();) {
    RETURN_IF_ERROR(meter->Take(48));
    wanted.insert(NextCodePoint(characters->bytes(), &at));
  }
  const auto strips = [&](size_t at) {
    const char32_t code = NextCodePoint(text.bytes(), &at);
    return characters == nullptr ? IsSpace(code) : wanted.contains(code);
  };
  size_t begin = 0, end = text.size();
  while (side != Side::kRight && begin < end && strips(begin)) {
    NextCodePoint(text.bytes(), &begin);
  }
  while (side != Side::kLeft && begin < end) {
    const size_t before = PreviousCodePoint(text.bytes(), end);
    if (!strips(before)) {
      break;
    }
    end = before;
  }
  return MakeString(text.Slice(begin, end), meter);
}

absl::StatusOr<Value> Replace(const Text& text, const Text& old, const Text& replacement,
                              int64_t count, Meter* meter) {
  Text out;
  size_t done = 0;  // Bytes of `text` that are in `out`.
  for (size_t at = 0; count != 0; --count) {
    const size_t found = Find(text.bytes(), old.bytes(), at);
    if (found == std::string_view::npos) {
      break;
    }
    RETURN_IF_ERROR(meter->Take(found - done + replacement.cost() + 2 * sizeof(Text::Run)));
    out.AppendSlice(text, done, found);
    out.Append(replacement);
    done = found + old.size();
    at = done;
    if (old.empty()) {  // Found before each character and at the end.
      if (at == text.size()) {
        break;
      }
      NextCodePoint(text.bytes(), &at);
    }
  }
  out.AppendSlice(text, done, text.size());
  return MakeString(std::move(out), meter);
}

absl::StatusOr<Value> Split(const Text& text, const Text* separator, int64_t limit, bool right,
                            Meter* meter) {
  if (separator != nullptr && separator->empty()) {
    return absl::InvalidArgumentError("split: the separator is empty");
  }
  RETURN_IF_ERROR(meter->Step(text.size() / 64));
  if (separator == nullptr && right && limit >= 0) {
    return absl::InvalidArgumentError("rsplit at white space with a limit is not implemented");
  }
  ASSIGN_OR_RETURN(std::vector<Text> parts,
                   separator == nullptr ? SplitBlanks(text, limit, meter)
                                        : SplitAt(text, separator->bytes(), limit, right, meter));
  return Parts(std::move(parts), meter);
}

absl::StatusOr<std::vector<Text>> SplitLines(const Text& text, bool keep_ends, Meter* meter) {
  std::vector<Text> lines;
  const std::string& bytes = text.bytes();
  size_t begin = 0;
  for (size_t at = 0; at < bytes.size();) {
    const size_t here = at;
    const char32_t code = NextCodePoint(bytes, &at);
    if (!IsLineEnd(code)) {
      continue;
    }
    if (code == '\r' && at < bytes.size() && bytes[at] == '\n') {
      ++at;
    }
    RETURN_IF_ERROR(meter->Take(kPartCost + at - begin));
    lines.push_back(text.Slice(begin, keep_ends ? at : here));
    begin = at;
  }
  if (begin < bytes.size()) {
    lines.push_back(text.Slice(begin, bytes.size()));
  }
  return lines;
}

absl::StatusOr<Value> JoinTexts(const Text& separator, const std::vector<Value>& items,
                                Meter* meter) {
  Text out;
  for (size_t i = 0; i < items.size(); ++i) {
    if (!items[i].Is(Kind::kString)) {
      return absl::InvalidArgumentError(
          absl::StrCat("join: item ", i, " is a ", std::string(items[i].TypeName())));
    }
    RETURN_IF_ERROR(meter->Take(items[i].text().cost() + separator.cost()));
    if (i > 0) {
      out.Append(separator);
    }
    out.Append(items[i].text());
  }
  return MakeString(std::move(out), meter);
}

}  // namespace alcca::jinja
