#include "server/process/tls.h"

#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <ctime>
#include <mutex>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/files.h"
#include "base/status_macros.h"

namespace alcca {
namespace {

struct Free {
  void operator()(BIO* bio) const { BIO_free(bio); }
  void operator()(X509* x509) const { X509_free(x509); }
  void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
};
template <typename T>
using Owned = std::unique_ptr<T, Free>;

constexpr uint64_t kMaxFileBytes = 1 << 20;  // a chain is a few KiB

// `name` is the configuration's key.
absl::StatusOr<std::string> ReadPem(const char* name, const std::string& path) {
  absl::StatusOr<std::string> text = ReadTextFile(path, kMaxFileBytes, FileKind::kAny);
  if (!text.ok()) {
    return absl::Status(text.status().code(), absl::StrCat(name, ": ", text.status().message()));
  }
  return text;
}

Owned<BIO> Memory(const std::string& text) {
  return Owned<BIO>(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

// Refuses instead of asking the terminal for a passphrase.
int NoPassphrase(char*, int, int, void*) {
  return -1;
}

// The first certificate of a PEM text; all that follow must parse, too.
absl::StatusOr<Owned<X509>> ParseCertificates(const char* name, const std::string& path,
                                              const std::string& text) {
  const Owned<BIO> bio = Memory(text);
  Owned<X509> first(PEM_read_bio_X509(bio.get(), nullptr, NoPassphrase, nullptr));
  if (first == nullptr) {
    ERR_clear_error();
    return absl::InvalidArgumentError(
        absl::StrCat(name, ": ", path, ": expected PEM with a certificate"));
  }
  while (Owned<X509>(PEM_read_bio_X509(bio.get(), nullptr, NoPassphrase, nullptr)) != nullptr) {
  }
  const bool at_end = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
  ERR_clear_error();
  if (!at_end) {
    return absl::InvalidArgumentError(
        absl::StrCat(name, ": ", path, ": a certificate after the first one is damaged"));
  }
  return first;
}

std::chrono::system_clock::time_point NotAfter(const X509& x509) {
  std::tm utc{};
  ASN1_TIME_to_tm(X509_get0_notAfter(&x509), &utc);
  return std::chrono::system_clock::from_time_t(timegm(&utc));
}

std::string Subject(const X509& x509) {
  const Owned<BIO> bio(BIO_new(BIO_s_mem()));
  X509_NAME_print_ex(bio.get(), X509_get_subject_name(&x509), 0, XN_FLAG_RFC2253);
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &data);
  return std::string(data, static_cast<size_t>(size));
}

// Holds what is in use and answers gRPC's question before each handshake: has it changed?
class ReloadingCredentials final : public grpc::ServerCredentials {
 public:
  ReloadingCredentials(TlsFiles files, TlsMaterial first, TlsObserver observer)
      : files_(std::move(files)), current_(std::move(first)), observer_(std::move(observer)) {
    observer_(current_);
    grpc_ssl_server_credentials_options* options =
        grpc_ssl_server_credentials_create_options_using_config_fetcher(
            files_.client_ca.empty() ? GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE
                                     : GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY,
            &ReloadingCredentials::Fetch, this);
    credentials_ = grpc_ssl_server_credentials_create_with_options(options);
  }
  ~ReloadingCredentials() override { grpc_server_credentials_release(credentials_); }

  void SetAuthMetadataProcessor(const std::shared_ptr<grpc::AuthMetadataProcessor>&) override {}

 private:
  int AddPortToServer(const std::string& address, grpc_server* server) override {
    return grpc_server_add_http2_port(server, address.c_str(), credentials_);
  }

  static grpc_ssl_certificate_config_reload_status Fetch(
      void* self, grpc_ssl_server_certificate_config** config) {
    return static_cast<ReloadingCredentials*>(self)->FetchLocked(config);
  }

  grpc_ssl_certificate_config_reload_status FetchLocked(
      grpc_ssl_server_certificate_config** config) {
    const std::lock_guard lock(mutex_);
    if (handed_out_) {
      absl::StatusOr<TlsMaterial> read = ReadTls(files_);
      if (!read.ok()) {  // half of a rotation, or a mistake: the old one serves on
        if (complaint_ != read.status()) {
          complaint_ = read.status();
          observer_(read);
        }
        return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_UNCHANGED;
      }
      complaint_ = absl::OkStatus();
      if (read->SameFiles(current_)) {
        return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_UNCHANGED;
      }
      current_ = *std::move(read);
      observer_(current_);
    }
    handed_out_ = true;
    const grpc_ssl_pem_key_cert_pair pair = {current_.key.c_str(), current_.cert.c_str()};
    // gRPC 1.51 aborts without roots. Those of a server that asks for no certificate verify nobody.
    const std::string& roots = current_.client_ca.empty() ? current_.cert : current_.client_ca;
    *config = grpc_ssl_server_certificate_config_create(roots.c_str(), &pair, 1);
    return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_NEW;
  }

  const TlsFiles files_;
  std::mutex mutex_;
  TlsMaterial current_;
  const TlsObserver observer_;
  absl::Status complaint_;  // the last one told to the observer
  bool handed_out_ = false;
  grpc_server_credentials* credentials_ = nullptr;
};

}  // namespace

absl::StatusOr<TlsMaterial> ReadTls(const TlsFiles& files) {
  TlsMaterial material;
  ASSIGN_OR_RETURN(material.cert, ReadPem("tls_cert", files.cert));
  ASSIGN_OR_RETURN(material.key, ReadPem("tls_key", files.key));
  ASSIGN_OR_RETURN(const Owned<X509> x509,
                   ParseCertificates("tls_cert", files.cert, material.cert));
  const Owned<BIO> bio = Memory(material.key);
  const Owned<EVP_PKEY> key(PEM_read_bio_PrivateKey(bio.get(), nullptr, NoPassphrase, nullptr));
  ERR_clear_error();
  if (key == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat("tls_key: ", files.key, ": expected PEM with a private key, not encrypted"));
  }
  const bool pair = X509_check_private_key(x509.get(), key.get()) == 1;
  ERR_clear_error();
  if (!pair) {
    return absl::InvalidArgumentError(absl::StrCat(
        "tls_key: ", files.key, ": does not belong to the certificate in ", files.cert));
  }
  if (!files.client_ca.empty()) {
    ASSIGN_OR_RETURN(material.client_ca, ReadPem("tls_client_ca", files.client_ca));
    RETURN_IF_ERROR(
        ParseCertificates("tls_client_ca", files.client_ca, material.client_ca).status());
  }
  material.not_after = NotAfter(*x509);
  material.subject = Subject(*x509);
  return material;
}

absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> ReloadingTls(const TlsFiles& files,
                                                                      TlsObserver observer) {
  ASSIGN_OR_RETURN(TlsMaterial first, ReadTls(files));
  return std::make_shared<ReloadingCredentials>(files, std::move(first), std::move(observer));
}

}  // namespace alcca
