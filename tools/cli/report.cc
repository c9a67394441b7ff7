#include "tools/cli/report.h"

#include <fstream>
#include <nlohmann/json.hpp>

#include "CLI/CLI.hpp"
#include "absl/strings/str_format.h"

namespace alcca::cli {

std::string Grouped(int64_t value) {
  std::string digits = std::to_string(value);
  for (int at = static_cast<int>(digits.size()) - 3; at > (value < 0 ? 1 : 0); at -= 3) {
    digits.insert(at, ",");
  }
  return digits;
}

std::string Percent(double share) {
  const int decimals = share > 0 && share < .01 ? 3 : share < .1 ? 2 : 1;
  return absl::StrFormat("%.*f", decimals, 100 * share);
}

void JsonOption::AddTo(CLI::App* app) {
  app->add_option("--json", file_, "write the figures as JSON: to stdout, or to this file")
      ->expected(0, 1)
      ->default_str(kStdout);
}

grpc::Status JsonOption::Write(const nlohmann::json& json) const {
  if (file_.empty()) {
    return grpc::Status::OK;
  }
  const std::string text = json.dump(2) + "\n";
  if (file_ == kStdout) {
    std::fputs(text.c_str(), stdout);
    return grpc::Status::OK;
  }
  std::ofstream out(file_);
  out << text;
  out.flush();
  return out ? grpc::Status::OK
             : grpc::Status(grpc::StatusCode::NOT_FOUND, "cannot write '" + file_ + "'");
}

}  // namespace alcca::cli
