// TLS as a SIP proxy needs it, on OpenSSL: identities, whom we believe, and what certificates name (RFC 5922).
#pragma once

#include <openssl/ssl.h>

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "values.hpp"

namespace push_proxy {

// The certificates of one moment. Connections that stand keep those they began with.
class TlsContexts {
   public:
    // Reads all files. Throws std::invalid_argument, which names the file, when one cannot be used.
    TlsContexts(const std::optional<TlsFiles>& listener, const std::map<std::string, TlsFiles>& clients);

    struct Context {
        std::unique_ptr<SSL_CTX, void (*)(SSL_CTX*)> context{nullptr, &SSL_CTX_free};
        bool verify = true;
    };
    // Null when there is none.
    const Context* server() const { return server_ ? &*server_ : nullptr; }
    const Context* client(const std::string& profile) const;

   private:
    std::optional<Context> server_;
    std::map<std::string, Context> clients_;
};

// One TLS connection on a socket, which stays the caller's.
class TlsSession {
   public:
    static TlsSession accept(const TlsContexts::Context& context, int fd);
    // `name` is what the certificate must carry: a host name, or an IP literal.
    static TlsSession connect(const TlsContexts::Context& context, int fd, const std::string& name);

    enum class Progress { done, want_read, want_write, failed, closed };
    Progress handshake();
    // `done` sets how many bytes went.
    Progress read(char* buffer, std::size_t size, std::size_t& went);
    Progress write(const char* data, std::size_t size, std::size_t& went);
    bool buffered() const { return SSL_pending(ssl_.get()) > 0; }
    void say_goodbye();
    // Why the last call failed, in an operator's words.
    const std::string& fault() const { return fault_; }
    // Names in the other side's verified certificate, lower case; empty without one.
    std::vector<std::string> peer_names() const;

   private:
    TlsSession(const TlsContexts::Context& context, int fd);
    Progress judge(int result);
    bool names_match();

    std::unique_ptr<SSL, void (*)(SSL*)> ssl_;
    std::string name_;  // to be found in the server's certificate; empty: not checked
    std::string fault_;
};

}  // namespace push_proxy
