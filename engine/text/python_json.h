#pragma once

// JSON rewritten as Python's json module writes it after reading it: what the models saw in
// training and what mistral-common's prompts hold, byte for byte.

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace alcca {

inline constexpr size_t kMaxPythonJsonDepth = 128;

// JSON text as Python would write it after reading it.
struct PythonJson {
  struct Member {
    std::string key;  // Empty in an array.
    std::string value;
  };
  std::string text;
  std::vector<Member> members;  // Of the outermost array or object, when asked for.
};

enum class JsonVerdict { kOk, kNotJson, kRefused };

// `max_members` > 0 asks for the members of the outermost value. `refusal` says why our own rules
// (repeated keys, depth, members) stopped the parser; empty if the text is just no JSON.
JsonVerdict ToPythonJson(std::string_view text, size_t max_members, PythonJson* json,
                         std::string* refusal);

// As Python's repr: the shortest digits, with an exponent below 1e-4 and from 1e16 on.
std::string PythonFloat(double value);

// A JSON string literal, quotes included.
std::string Quoted(std::string_view text);

}  // namespace alcca
