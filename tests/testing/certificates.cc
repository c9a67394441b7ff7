#include "tests/testing/certificates.h"

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <utility>
#include <vector>

#include "tests/testing/process.h"

namespace alcca::testing {
namespace {

void OpenSsl(const std::vector<std::string>& args) {
  const ProgramResult result = RunProgram("openssl", args);
  if (result.exit_code != 0) {
    std::fprintf(stderr, "openssl %s: %s\n", args[0].c_str(), result.err.c_str());
    std::abort();
  }
}

}  // namespace

CertificateAuthority::CertificateAuthority(std::string dir, std::string name)
    : dir_(std::move(dir)),
      ca_(dir_ + "/" + name + "-ca.pem"),
      ca_key_(dir_ + "/" + name + "-ca.key") {
  OpenSsl({"req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
           "-days", "30", "-subj", "/CN=" + name, "-keyout", ca_key_, "-out", ca_});
}

CertificateAuthority::Leaf CertificateAuthority::Sign(const std::string& name,
                                                      const std::string& san, int days) const {
  const std::string stem = dir_ + "/" + name;
  const Leaf leaf = {.cert = stem + ".pem", .key = stem + ".key"};
  std::ofstream(stem + ".ext") << "subjectAltName=DNS:" << san << ",IP:127.0.0.1\n";
  OpenSsl({"req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj",
           "/CN=" + name, "-keyout", leaf.key, "-out", stem + ".csr"});
  OpenSsl({"x509", "-req", "-in", stem + ".csr", "-CA", ca_, "-CAkey", ca_key_, "-CAcreateserial",
           "-days", std::to_string(days), "-extfile", stem + ".ext", "-out", leaf.cert});
  return leaf;
}

}  // namespace alcca::testing
