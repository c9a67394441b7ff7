#pragma once

// What Python's strings know of Unicode. Tables: unicode_tables.h.

#include "engine/text/jinja/text.h"

namespace alcca::jinja {

bool IsSpace(char32_t code);      // str.isspace
bool IsPrintable(char32_t code);  // str.isprintable
bool IsLineEnd(char32_t code);    // Of str.splitlines; "\r\n" is one end.

// str.lower and so on; each character keeps its origin.
Text Lower(const Text& text);
Text Upper(const Text& text);
Text Title(const Text& text);
Text Capitalize(const Text& text);

// str.isupper and str.islower.
bool IsUpper(const Text& text);
bool IsLower(const Text& text);

}  // namespace alcca::jinja
