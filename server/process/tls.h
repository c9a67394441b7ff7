#pragma once

// TLS of the gRPC port: certificate, key and client roots come from files, and a file that changes
// counts from the next handshake on, without a restart. The only file that knows OpenSSL.

#include <grpcpp/security/server_credentials.h>

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"

namespace alcca {

struct TlsFiles {
  std::string cert;       // PEM: the server's certificate, then its intermediates
  std::string key;        // PEM: its private key, not encrypted
  std::string client_ca;  // PEM: roots that sign clients; empty: clients need no certificate
};

// The files' text, checked: it parses, and the key belongs to the certificate.
struct TlsMaterial {
  std::string cert, key, client_ca;
  std::chrono::system_clock::time_point not_after;  // end of the certificate's validity
  std::string subject;                              // RFC 2253, for the log

  bool SameFiles(const TlsMaterial& other) const {
    return cert == other.cert && key == other.key && client_ca == other.client_ca;
  }
};

// NOT_FOUND: a file cannot be read. INVALID_ARGUMENT: its text is not what it should be. Both name
// the key, the file and the rule.
absl::StatusOr<TlsMaterial> ReadTls(const TlsFiles& files);

// Receives the first reading and every later one that differs: the new material, or the reason why
// the old one stays in use. Called from gRPC's threads, one call at a time.
using TlsObserver = std::function<void(const absl::StatusOr<TlsMaterial>&)>;

// Credentials that read the files again at every handshake (TLS 1.2 and 1.3; with client_ca a
// client without a certificate it signed is refused). Open connections keep what they began with.
// The result outlives every server that uses it.
absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> ReloadingTls(const TlsFiles& files,
                                                                      TlsObserver observer);

}  // namespace alcca
