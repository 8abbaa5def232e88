#include "authority.hpp"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <cstdio>
#include <filesystem>
#include <fstream>

#include "check.hpp"

namespace wire {
namespace {

void extend(X509* certificate, X509* issuer, int kind, const std::string& value) {
    X509V3_CTX context;
    X509V3_set_ctx_nodb(&context);
    X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
    auto* extension = X509V3_EXT_conf_nid(nullptr, &context, kind, value.c_str());
    if (!extension) throw check::Failure("not an extension: " + value);
    X509_add_ext(certificate, extension, -1);
    X509_EXTENSION_free(extension);
}

void write_key(const std::string& path, EVP_PKEY* key) {
    auto* file = std::fopen(path.c_str(), "w");
    PEM_write_PrivateKey(file, key, nullptr, nullptr, 0, nullptr, nullptr);
    std::fclose(file);
}

void write_certificate(const std::string& path, X509* certificate) {
    auto* file = std::fopen(path.c_str(), "w");
    PEM_write_X509(file, certificate);
    std::fclose(file);
}

}  // namespace

Authority::Authority() : key_(EVP_EC_gen("P-256"), &EVP_PKEY_free), certificate_(nullptr, &X509_free) {
    char place[] = "/tmp/push-proxy-test-XXXXXX";
    if (!mkdtemp(place)) throw check::Failure("no temporary folder");
    folder_ = place;
    ca_ = folder_ + "/ca.pem";
    certificate_ = make(key_.get(), {}, "test authority", -1, 1, true);
    write_certificate(ca_, certificate_.get());
}

Authority::~Authority() {
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
}

Authority::Certificate Authority::make(EVP_PKEY* key, const std::vector<std::string>& names,
                                       const std::string& common_name, int from, int to, bool authority) const {
    Certificate made(X509_new(), &X509_free);
    auto* certificate = made.get();
    X509_set_version(certificate, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), next_++);
    X509_gmtime_adj(X509_getm_notBefore(certificate), from * 86400L);
    X509_gmtime_adj(X509_getm_notAfter(certificate), to * 86400L);
    X509_set_pubkey(certificate, key);
    auto* subject = X509_get_subject_name(certificate);
    X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, reinterpret_cast<const unsigned char*>(common_name.c_str()),
                               -1, -1, 0);
    auto* issuer = authority ? certificate : certificate_.get();
    X509_set_issuer_name(certificate, X509_get_subject_name(issuer));
    if (authority) extend(certificate, issuer, NID_basic_constraints, "critical,CA:TRUE");
    // As public authorities issue them today: for servers only.
    if (!authority) extend(certificate, issuer, NID_ext_key_usage, "serverAuth");
    std::string all;
    for (const auto& name : names) all += (all.empty() ? "" : ",") + name;
    if (!all.empty()) extend(certificate, issuer, NID_subject_alt_name, all);
    X509_sign(certificate, key_.get(), EVP_sha256());
    return made;
}

void Authority::write(const Identity& to, const std::vector<std::string>& names, const std::string& common_name,
                      int from, int until) const {
    const Key key(EVP_EC_gen("P-256"), &EVP_PKEY_free);
    write_certificate(to.certificate, make(key.get(), names, common_name, from, until, false).get());
    write_key(to.key, key.get());
}

Identity Authority::issue(const std::vector<std::string>& names, const std::string& common_name, int from,
                          int until) const {
    const auto base = folder_ + "/" + std::to_string(next_);
    Identity made{base + ".pem", base + ".key", ca_};
    write(made, names, common_name, from, until);
    return made;
}

void Authority::replace(const Identity& identity, const std::vector<std::string>& names) const {
    write(identity, names, "test", -1, 1);
}

std::string Authority::file(const std::string& name, const std::string& content) const {
    const auto path = folder_ + "/" + name;
    std::ofstream(path) << content;
    return path;
}

}  // namespace wire
