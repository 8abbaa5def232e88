// SIP over real TCP and TLS sockets, without the code under test.
#pragma once

#include <openssl/ssl.h>

#include <memory>

#include "wire.hpp"

namespace wire {

// What a side of a TLS connection shows and believes; empty: nothing, everybody.
struct Identity {
    std::string certificate;
    std::string key;
    std::string ca;
};

// One end of a TCP or TLS connection.
class Line {
   public:
    static Line connect(const Address& to, const std::string& from_host = "127.0.0.1");
    // Adds TLS to a fresh connection; throws check::Failure with OpenSSL's reason.
    void start_tls(const Identity& identity, bool server, const std::string& name = "");
    Line(int fd, const std::string& transport);
    ~Line();
    Line(Line&& other) noexcept;
    Line& operator=(Line&&) = delete;

    const Address& address() const { return address_; }  // ours, as the other end sees it
    std::string host_port() const { return address_.host + ":" + std::to_string(address_.port); }
    void send(const std::string& text) const;
    void send(const Draft& draft) const { send(draft.text()); }
    std::optional<Message> receive(int wait_ms) const;
    // The next message, which must begin so; 100 Trying is passed over unless it is expected.
    Message expect(std::string_view start, int wait_ms = 4000) const;
    void expect_silence(int wait_ms = 250) const;
    // Bytes as they come, at most that many.
    std::string bytes(std::size_t count, int wait_ms = 4000) const;
    // The other end closes within that time.
    void expect_closed(int wait_ms = 4000) const;
    void close();
    // Ends with a reset instead of a FIN.
    void reset();
    int fd() const { return fd_; }
    SSL* ssl() const { return ssl_.get(); }

   private:
    bool more(int wait_ms) const;

    int fd_;
    Address address_;
    std::unique_ptr<SSL_CTX, void (*)(SSL_CTX*)> context_{nullptr, &SSL_CTX_free};
    std::unique_ptr<SSL, void (*)(SSL*)> ssl_{nullptr, &SSL_free};
    mutable std::string buffer_;
    mutable bool ended_ = false;
};

// A listening socket.
class Door {
   public:
    explicit Door(const std::string& transport = "tcp", int backlog = 16);
    ~Door();
    Door(const Door&) = delete;
    Door& operator=(const Door&) = delete;

    const Address& address() const { return address_; }
    std::string host_port() const { return address_.host + ":" + std::to_string(address_.port); }
    Line accept(int wait_ms = 4000) const;
    bool knocked(int wait_ms) const;

   private:
    int fd_;
    Address address_;
};

Draft request(const std::string& method, const std::string& uri, const Line& from);

}  // namespace wire
