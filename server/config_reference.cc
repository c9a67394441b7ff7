// docs/configure.md: what is said once, and a table from the keys themselves.

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/text/chat_template.h"
#include "server/api/request_validation.h"
#include "server/config.h"

namespace alcca {
namespace {

constexpr char kHead[] = R"(# Configure

<!-- Made by `alccad --config-reference > docs/configure.md` from the table in server/config_keys.cc; a test
compares. Edit there. -->

A key is a line of YAML (`alccad --config FILE`; keys with a dot are nested: `attention.k` is `k` under
`attention:`) and a flag. A flag wins over the file, the file over the default; there are no environment
variables. An unknown key, a value out of bounds or a key given twice ends the start with exit code 64 and
one line that names file, key, value and rule.

```
alccad --print-config                  # what applies, as YAML that --config reads back
alccad --config FILE --check           # keys, model files and memory, then exit
```

Sizes are bytes, times seconds, counts plain numbers. An empty string on the command line is an argument of its
own: `--metrics-listen ""`. A key of attention that is not set says nothing: the model's own `alcca.json`
decides, else the default; a request may override each of them.
)";

struct Section {
  const char* group;
  const char* text;
};
// What a table cannot say. A group that is not here gets its table alone.
constexpr Section kSections[] = {
    {"model",
     "The folder is checked whole before a port is opened: shapes, types, offsets, tokenizer "
     "against\n"
     "vocabulary. `alccad` without `model` serves the embedded 5-million-parameter model."},
    {"network",
     "Both endpoints listen on loopback until told otherwise: read [secure.md](secure.md) first."},
    {"scheduler",
     "`max_prefill_chunk` and `max_num_seqs` may not exceed `max_batch_tokens`. What they cost in\n"
     "memory, and what a machine carries: [sizing.md](sizing.md), `alcca size`."},
    {"requests", "Limits on what one request may ask; beyond them it is INVALID_ARGUMENT."},
    {"constraints",
     "What an answer's text may be asked to be: [constraints.md](constraints.md). A constraint "
     "over a "
     "limit ends\n"
     "its own request and nothing else."},
    {"attention",
     "Defaults for requests that do not say. Until version 0.1 an empty string, 0 or a negative "
     "number\n"
     "said that a key is not set; this version still reads them where they are no value of the "
     "key, with\n"
     "a warning in the log, and the next will refuse them. Modes and what they cost:\n"
     "[counting.md](counting.md)."},
    {"operation", "Start, drain, logs and exit codes: [operations.md](operations.md)."},
};

// Limits without a key, so that nobody looks for one.
std::string FixedLimits() {
  return absl::StrCat(
      "Fixed, without a key: ", kMaxStopTokenIds, " `stop_token_ids`, ", kMaxChatTools, " tools, ",
      kMaxRequestIdBytes, " bytes of\n`request_id`, and ", kMaxMetadataBytes / 1024,
      " KiB of metadata a call (above it gRPC itself answers RESOURCE_EXHAUSTED).\n"
      "Ranges of single fields stand beside them in `proto/alcca/v1/inference.proto`.\n");
}

std::string Code(const std::string& text) {
  return text.empty() ? "empty" : absl::StrCat("`", text, "`");
}

std::string Title(std::string group) {
  group[0] = static_cast<char>(group[0] - 'a' + 'A');
  return group;
}

std::string Row(const KeyDescription& key) {
  return absl::StrCat("| `", key.name, "` | `", key.flag, "` | ", key.type, " | ",
                      key.asks_model ? "the model's, else " : "", Code(key.default_value), " | ",
                      key.bounds, " | ", key.help, " |\n");
}

}  // namespace

std::string ConfigReference() {
  std::string out = kHead;
  std::string group;
  for (const KeyDescription& key : DescribeKeys()) {
    if (key.group != group) {
      group = key.group;
      absl::StrAppend(&out, "\n## ", Title(group), "\n");
      for (const Section& section : kSections) {
        if (group == section.group) {
          absl::StrAppend(&out, section.text, "\n");
        }
      }
      if (group == "requests") {
        absl::StrAppend(&out, FixedLimits());
      }
      absl::StrAppend(&out, "\n| key | flag | type | default | bounds | meaning |\n",
                      "| --- | --- | --- | --- | --- | --- |\n");
    }
    absl::StrAppend(&out, Row(key));
  }
  return out;
}

}  // namespace alcca
