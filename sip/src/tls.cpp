#include "tls.hpp"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/x509err.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <stdexcept>

namespace push_proxy {
namespace {

constexpr unsigned char kSessionContext[] = "push-proxy";

std::string last_error() {
    const auto code = ERR_peek_last_error();
    const char* reason = code ? ERR_reason_error_string(code) : nullptr;
    ERR_clear_error();
    return reason ? reason : "unknown reason";
}

std::string lower(std::string text) {
    std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return std::tolower(c); });
    return text;
}

void check_readable(const char* what, const std::string& path) {
    errno = 0;
    if (!std::ifstream(path)) throw std::invalid_argument(std::string(what) + " " + path + ": " + std::strerror(errno));
}

TlsContexts::Context make_context(const TlsFiles& files, bool server) {
    TlsContexts::Context made;
    made.verify = files.verify;
    made.context.reset(SSL_CTX_new(server ? TLS_server_method() : TLS_client_method()));
    auto* context = made.context.get();
    if (!context) throw std::invalid_argument("OpenSSL: " + last_error());
    SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);  // RFC 8996
    SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_IGNORE_UNEXPECTED_EOF);
    // A connection at rest gives its 32 kB of buffers back.
    SSL_CTX_set_mode(context,
                     SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    // Else one call reads on for as long as the other side sends records without data (new keys), and nobody else
    // is served.
    SSL_CTX_clear_mode(context, SSL_MODE_AUTO_RETRY);
    ERR_clear_error();
    if (!files.certificate.empty()) {
        check_readable("certificate", files.certificate);
        if (SSL_CTX_use_certificate_chain_file(context, files.certificate.c_str()) != 1)
            throw std::invalid_argument("certificate " + files.certificate + ": " + last_error());
        const auto& key = files.key.empty() ? files.certificate : files.key;
        check_readable("key", key);
        if (SSL_CTX_use_PrivateKey_file(context, key.c_str(), SSL_FILETYPE_PEM) != 1) {
            if (ERR_GET_REASON(ERR_peek_last_error()) == X509_R_KEY_VALUES_MISMATCH)
                throw std::invalid_argument("key " + key + " does not belong to certificate " + files.certificate);
            throw std::invalid_argument("key " + key + ": " + last_error());
        }
    } else if (server) {
        throw std::invalid_argument("a tls listener needs a certificate and a key");
    }
    if (!files.ca.empty()) {
        check_readable("ca", files.ca);
        if (SSL_CTX_load_verify_locations(context, files.ca.c_str(), nullptr) != 1)
            throw std::invalid_argument("ca " + files.ca + ": " + last_error());
        if (server) SSL_CTX_set_client_CA_list(context, SSL_load_client_CA_file(files.ca.c_str()));
    } else {
        SSL_CTX_set_default_verify_paths(context);
    }
    SSL_CTX_set_verify(context, files.verify ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, nullptr);
    if (server) {
        // A resumed session keeps the client certificate that was verified in it.
        SSL_CTX_set_session_id_context(context, kSessionContext, sizeof kSessionContext - 1);
        // A SIP peer shows the certificate that it serves with (RFC 5924 4): not one for clients only.
        X509_VERIFY_PARAM_set_purpose(SSL_CTX_get0_param(context), X509_PURPOSE_ANY);
    }
    ERR_clear_error();
    return made;
}

struct Names {
    std::vector<std::string> hosts;  // lower case
    std::vector<std::string> addresses;
};

std::string text_of(const ASN1_STRING* value) {
    return {reinterpret_cast<const char*>(ASN1_STRING_get0_data(value)),
            static_cast<std::size_t>(ASN1_STRING_length(value))};
}

// The host of a "sip:" URI without user part; empty for others (RFC 5922 7.1).
std::string sip_host(const std::string& uri) {
    const auto text = lower(uri);
    if (!text.starts_with("sip:") || text.find('@') != std::string::npos) return {};
    return text.substr(4, text.find_first_of(":;?", 4) - 4);
}

// RFC 5922 7.1: SIP URIs and DNS names; the common name only when there are no such.
Names names_of(X509* certificate) {
    Names names;
    auto* all = static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr));
    for (int i = 0; i < sk_GENERAL_NAME_num(all); ++i) {
        const auto* name = sk_GENERAL_NAME_value(all, i);
        if (name->type == GEN_DNS) names.hosts.push_back(lower(text_of(name->d.dNSName)));
        if (name->type == GEN_URI) {
            const auto host = sip_host(text_of(name->d.uniformResourceIdentifier));
            if (!host.empty()) names.hosts.push_back(host);
        }
        if (name->type == GEN_IPADD) {
            const auto bytes = text_of(name->d.iPAddress);
            char text[INET6_ADDRSTRLEN];
            const int family = bytes.size() == 4 ? AF_INET : AF_INET6;
            if ((bytes.size() == 4 || bytes.size() == 16) && inet_ntop(family, bytes.data(), text, sizeof text))
                names.addresses.emplace_back(text);
        }
    }
    const bool any = sk_GENERAL_NAME_num(all) > 0;
    GENERAL_NAMES_free(all);
    if (any) return names;
    auto* subject = X509_get_subject_name(certificate);
    const int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
    if (at >= 0) names.hosts.push_back(lower(text_of(X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)))));
    return names;
}

bool is_address(const std::string& name) {
    in6_addr probe;
    return inet_pton(AF_INET, name.c_str(), &probe) == 1 || inet_pton(AF_INET6, name.c_str(), &probe) == 1;
}

}  // namespace

TlsContexts::TlsContexts(const std::optional<TlsFiles>& listener, const std::map<std::string, TlsFiles>& clients) {
    if (listener) server_ = make_context(*listener, true);
    for (const auto& [profile, files] : clients) clients_.emplace(profile, make_context(files, false));
    if (!clients_.contains("")) clients_.emplace("", make_context({}, false));
}

const TlsContexts::Context* TlsContexts::client(const std::string& profile) const {
    const auto found = clients_.find(profile);
    return found == clients_.end() ? nullptr : &found->second;
}

TlsSession::TlsSession(const TlsContexts::Context& context, int fd) : ssl_(SSL_new(context.context.get()), &SSL_free) {
    if (!ssl_ || SSL_set_fd(ssl_.get(), fd) != 1) throw std::runtime_error("TLS: " + last_error());
}

TlsSession TlsSession::accept(const TlsContexts::Context& context, int fd) {
    TlsSession session(context, fd);
    SSL_set_accept_state(session.ssl_.get());
    return session;
}

TlsSession TlsSession::connect(const TlsContexts::Context& context, int fd, const std::string& name) {
    TlsSession session(context, fd);
    SSL_set_connect_state(session.ssl_.get());
    if (context.verify) session.name_ = lower(name);
    if (!is_address(name)) SSL_set_tlsext_host_name(session.ssl_.get(), name.c_str());
    return session;
}

TlsSession::Progress TlsSession::judge(int result) {
    const int saved = errno;
    switch (SSL_get_error(ssl_.get(), result)) {
        case SSL_ERROR_WANT_READ:
            return Progress::want_read;
        case SSL_ERROR_WANT_WRITE:
            return Progress::want_write;
        case SSL_ERROR_ZERO_RETURN:
            return Progress::closed;
        case SSL_ERROR_SYSCALL:
            if (saved == 0 && ERR_peek_error() == 0) return Progress::closed;
            fault_ = saved ? std::strerror(saved) : last_error();
            return Progress::failed;
        default:
            break;
    }
    const auto verdict = SSL_get_verify_result(ssl_.get());
    if (verdict != X509_V_OK && !SSL_is_init_finished(ssl_.get())) {
        fault_ = std::string("TLS: the certificate does not verify: ") + X509_verify_cert_error_string(verdict);
        ERR_clear_error();
    } else {
        fault_ = "TLS: " + last_error();
    }
    return Progress::failed;
}

TlsSession::Progress TlsSession::handshake() {
    ERR_clear_error();
    errno = 0;
    const int result = SSL_do_handshake(ssl_.get());
    if (result != 1) {
        const auto progress = judge(result);
        if (progress != Progress::closed) return progress;
        fault_ = "TLS: the connection was closed in the handshake";
        return Progress::failed;
    }
    return names_match() ? Progress::done : Progress::failed;
}

// RFC 5922 7.2: no wildcards.
bool TlsSession::names_match() {
    if (name_.empty()) return true;
    auto* certificate = SSL_get1_peer_certificate(ssl_.get());
    if (!certificate) {
        fault_ = "TLS: the server shows no certificate";
        return false;
    }
    const auto names = names_of(certificate);
    X509_free(certificate);
    const auto& candidates = is_address(name_) ? names.addresses : names.hosts;
    if (std::find(candidates.begin(), candidates.end(), name_) != candidates.end()) return true;
    std::string all;
    for (const auto* list : {&names.hosts, &names.addresses})
        for (const auto& name : *list) all += (all.empty() ? "" : ", ") + name;
    fault_ = "TLS: the certificate names " + (all.empty() ? "nobody" : all) + ", not " + name_;
    return false;
}

TlsSession::Progress TlsSession::read(char* buffer, std::size_t size, std::size_t& went) {
    ERR_clear_error();
    errno = 0;
    const int result = SSL_read_ex(ssl_.get(), buffer, size, &went);
    return result == 1 ? Progress::done : judge(result);
}

TlsSession::Progress TlsSession::write(const char* data, std::size_t size, std::size_t& went) {
    ERR_clear_error();
    errno = 0;
    const int result = SSL_write_ex(ssl_.get(), data, size, &went);
    return result == 1 ? Progress::done : judge(result);
}

void TlsSession::say_goodbye() {
    if (!SSL_is_init_finished(ssl_.get())) return;
    SSL_shutdown(ssl_.get());
    ERR_clear_error();
}

std::vector<std::string> TlsSession::peer_names() const {
    auto* certificate = SSL_get1_peer_certificate(ssl_.get());
    if (!certificate) return {};
    const bool verified =
        SSL_get_verify_mode(ssl_.get()) != SSL_VERIFY_NONE && SSL_get_verify_result(ssl_.get()) == X509_V_OK;
    auto names = verified ? names_of(certificate).hosts : std::vector<std::string>();
    X509_free(certificate);
    return names;
}

}  // namespace push_proxy
