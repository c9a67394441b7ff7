#pragma once

// Certificates of our own, made by the openssl command: fresh in every test.

#include <string>

namespace alcca::testing {

// Files in `dir`: NAME-ca.pem and its key; every leaf it signs is NAME.pem and NAME.key.
class CertificateAuthority {
 public:
  CertificateAuthority(std::string dir, std::string name);
  const std::string& ca() const { return ca_; }  // path of the root's PEM file

  struct Leaf {
    std::string cert, key;  // paths
  };
  // For the host `san` ("localhost") and 127.0.0.1. `days` may be negative: already expired.
  Leaf Sign(const std::string& name, const std::string& san, int days = 30) const;

 private:
  const std::string dir_, ca_, ca_key_;
};

}  // namespace alcca::testing
