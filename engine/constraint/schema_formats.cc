// The formats of JSON schema as expressions that match the whole string. Each is exact or accepts
// less than the format does, which docs/constraints.md says of each.

#include <map>
#include <string>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "engine/constraint/schema_shape.h"

namespace alcca {
namespace {

// RFC 3339, with the days that each month has. The year 0000 is left out: most libraries have none.
std::string FullDate() {
  const std::string year = "(?:000[1-9]|00[1-9]\\d|0[1-9]\\d\\d|[1-9]\\d{3})";
  const std::string leap =
      "(?:\\d\\d(?:0[48]|[2468][048]|[13579][26])|(?:0[48]|[2468][048]|[13579][26])00)";
  return absl::StrCat("(?:", year,
                      "-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\\d|3[01])|"
                      "(?:0[469]|11)-(?:0[1-9]|[12]\\d|30)|02-(?:0[1-9]|1\\d|2[0-8]))|",
                      leap, "-02-29)");
}

// A leap second is the last of a day in UTC; of other time zones it is left out.
std::string FullTime() {
  return "(?:(?:[01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d(?:\\.\\d+)?"
         "(?:[Zz]|[+-](?:[01]\\d|2[0-3]):[0-5]\\d)|23:59:60(?:\\.\\d+)?[Zz])";
}

// ISO 8601 as RFC 3339's appendix A has it.
std::string Duration() {
  const std::string time = "T(?:\\d+H(?:\\d+M(?:\\d+S)?)?|\\d+M(?:\\d+S)?|\\d+S)";
  return absl::StrCat("P(?:\\d+W|", time,
                      "|(?:\\d+Y(?:\\d+M(?:\\d+D)?)?|\\d+M(?:\\d+D)?|\\d+D)(?:", time, ")?)");
}

std::string Ipv4() {
  const std::string byte = "(?:25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)";
  return absl::StrCat(byte, "(?:\\.", byte, "){3}");
}

// RFC 4291, section 2.2.
std::string Ipv6() {
  const std::string h = "[0-9A-Fa-f]{1,4}";
  const std::string last = absl::StrCat("(?:", h, ":", h, "|", Ipv4(), ")");
  std::string out = absl::StrCat("(?:(?:", h, ":){6}", last);
  // n groups before "::"; at most 7 - n behind it.
  for (int before = 0; before <= 7; ++before) {
    const std::string front = before == 0 ? "" : absl::StrCat(h, "(?::", h, "){", before - 1, "}");
    absl::StrAppend(&out, "|", front, "::");
    const int behind = 7 - before;
    if (behind >= 2) {
      absl::StrAppend(&out, "(?:(?:", h, ":){0,", behind - 2, "}", last, "|", h, ")?");
    } else if (behind == 1) {
      absl::StrAppend(&out, "(?:", h, ")?");
    }
  }
  return out + ")";
}

// RFC 1123. A name has at most 253 characters; held by at most 8 labels of at most 30.
std::string Hostname() {
  const std::string label = "[A-Za-z0-9](?:[A-Za-z0-9-]{0,28}[A-Za-z0-9])?";
  return absl::StrCat(label, "(?:\\.", label, "){0,7}");
}

std::string Email() {
  const std::string atom = "[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+";
  return absl::StrCat(atom, "(?:\\.", atom, ")*@", Hostname());
}

// RFC 3986.
std::string Uri(bool absolute) {
  const std::string escaped = "%[0-9A-Fa-f]{2}";
  const std::string pchar = absl::StrCat("(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|", escaped, ")");
  const std::string no_colon = absl::StrCat("(?:[A-Za-z0-9._~!$&'()*+,;=@-]|", escaped, ")");
  const std::string user = absl::StrCat("(?:[A-Za-z0-9._~!$&'()*+,;=:-]|", escaped, ")");
  const std::string host =
      absl::StrCat("(?:\\[", Ipv6(), "\\]|(?:[A-Za-z0-9._~!$&'()*+,;=-]|", escaped, ")*)");
  const std::string authority = absl::StrCat("(?:", user, "*@)?", host, "(?::\\d*)?");
  const std::string rest = absl::StrCat("(?:/", pchar, "*)*");
  const std::string query =
      absl::StrCat("(?:\\?(?:", pchar, "|[/?])*)?(?:#(?:", pchar, "|[/?])*)?");
  const std::string rooted = absl::StrCat("/(?:", pchar, "+", rest, ")?");
  const std::string uri = absl::StrCat("[A-Za-z][A-Za-z0-9+.-]*:(?://", authority, rest, "|",
                                       rooted, "|", pchar, "+", rest, "|)", query);
  if (absolute) {
    return uri;
  }
  return absl::StrCat("(?:", uri, "|(?://", authority, rest, "|", rooted, "|", no_colon, "+", rest,
                      "|)", query, ")");
}

std::map<std::string, std::string, std::less<>> MakeFormats() {
  const std::string pointer = "(?:/(?:[^~/]|~[01])*)*";
  const std::string hex = "[0-9A-Fa-f]";
  std::map<std::string, std::string, std::less<>> formats = {
      {"date", FullDate()},
      {"time", FullTime()},
      {"date-time", absl::StrCat(FullDate(), "[Tt]", FullTime())},
      {"duration", Duration()},
      {"email", Email()},
      {"hostname", Hostname()},
      {"ipv4", Ipv4()},
      {"ipv6", Ipv6()},
      {"uri", Uri(true)},
      {"uri-reference", Uri(false)},
      {"uuid", absl::StrCat(hex, "{8}-", hex, "{4}-", hex, "{4}-", hex, "{4}-", hex, "{12}")},
      {"json-pointer", pointer},
      {"relative-json-pointer", absl::StrCat("(?:0|[1-9]\\d*)(?:#|", pointer, ")")},
  };
  // Names of earlier drafts and of OpenAPI.
  formats["host-name"] = formats["hostname"];
  formats["ip-address"] = formats["ipv4"];
  formats["url"] = formats["uri"];
  for (auto& [name, pattern] : formats) {
    pattern = absl::StrCat("^(?:", pattern, ")$");
  }
  return formats;
}

}  // namespace

const char* FormatPattern(std::string_view format) {
  static const auto& kFormats = *new std::map<std::string, std::string, std::less<>>(MakeFormats());
  const auto it = kFormats.find(format);
  return it == kFormats.end() ? nullptr : it->second.c_str();
}

bool IsUnsupportedFormat(std::string_view format) {
  for (const std::string_view defined :
       {"idn-email", "idn-hostname", "iri", "iri-reference", "regex", "uri-template"}) {
    if (format == defined) {
      return true;
    }
  }
  return false;
}

}  // namespace alcca
