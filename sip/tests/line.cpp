#include "line.hpp"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <utility>

#include "check.hpp"

namespace wire {
namespace {

using Clock = std::chrono::steady_clock;

int left_ms(Clock::time_point deadline) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
    return left > 0 ? static_cast<int>(left) : 0;
}

sockaddr_in fill(const Address& address) {
    sockaddr_in in{};
    in.sin_family = AF_INET;
    in.sin_port = htons(static_cast<uint16_t>(address.port));
    inet_pton(AF_INET, address.host.c_str(), &in.sin_addr);
    return in;
}

Address name_of(int fd, const std::string& transport) {
    sockaddr_in in{};
    socklen_t size = sizeof in;
    getsockname(fd, reinterpret_cast<sockaddr*>(&in), &size);
    char host[INET_ADDRSTRLEN];
    inet_ntop(AF_INET, &in.sin_addr, host, sizeof host);
    return {host, ntohs(in.sin_port), transport};
}

[[noreturn]] void give_up(const std::string& what) { throw check::Failure(what + ": " + std::strerror(errno)); }

}  // namespace

Line::Line(int fd, const std::string& transport) : fd_(fd), address_(name_of(fd, transport)) {
    const timeval patience{5, 0};
    setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(fd_, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
}

Line::~Line() { close(); }

Line::Line(Line&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)),
      address_(other.address_),
      context_(std::move(other.context_)),
      ssl_(std::move(other.ssl_)),
      buffer_(std::move(other.buffer_)) {}

Line Line::connect(const Address& to, const std::string& from_host) {
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const auto own = fill({from_host, 0});
    const auto target = fill(to);
    if (bind(fd, reinterpret_cast<const sockaddr*>(&own), sizeof own) != 0) give_up("bind");
    if (::connect(fd, reinterpret_cast<const sockaddr*>(&target), sizeof target) != 0) give_up("connect");
    return Line(fd, to.transport);
}

void Line::start_tls(const Identity& identity, bool server, const std::string& name) {
    context_.reset(SSL_CTX_new(server ? TLS_server_method() : TLS_client_method()));
    auto* context = context_.get();
    if (!identity.certificate.empty()) {
        SSL_CTX_use_certificate_chain_file(context, identity.certificate.c_str());
        SSL_CTX_use_PrivateKey_file(context, identity.key.c_str(), SSL_FILETYPE_PEM);
    }
    if (!identity.ca.empty()) {
        SSL_CTX_load_verify_locations(context, identity.ca.c_str(), nullptr);
        SSL_CTX_set_verify(context, SSL_VERIFY_PEER, nullptr);
        X509_VERIFY_PARAM_set_purpose(SSL_CTX_get0_param(context), X509_PURPOSE_ANY);
    }
    ssl_.reset(SSL_new(context));
    SSL_set_fd(ssl_.get(), fd_);
    if (!name.empty()) SSL_set_tlsext_host_name(ssl_.get(), name.c_str());
    ERR_clear_error();
    const int result = server ? SSL_accept(ssl_.get()) : SSL_connect(ssl_.get());
    if (result == 1) return;
    const auto* reason = ERR_reason_error_string(ERR_get_error());
    throw check::Failure(std::string("TLS: ") + (reason ? reason : "closed"));
}

void Line::send(const std::string& text) const {
    for (std::size_t at = 0; at < text.size();) {
        const auto left = text.size() - at;
        const auto sent = ssl_ ? SSL_write(ssl_.get(), text.data() + at, static_cast<int>(left))
                               : static_cast<int>(::send(fd_, text.data() + at, left, MSG_NOSIGNAL));
        if (sent <= 0) give_up("send");
        at += static_cast<std::size_t>(sent);
    }
}

// False when nothing came in that time.
bool Line::more(int wait_ms) const {
    if (ended_) return false;
    if (!ssl_ || SSL_pending(ssl_.get()) == 0) {
        pollfd watched{fd_, POLLIN, 0};
        if (poll(&watched, 1, wait_ms) != 1) return false;
    }
    char chunk[16384];
    const auto got =
        ssl_ ? SSL_read(ssl_.get(), chunk, sizeof chunk) : static_cast<int>(recv(fd_, chunk, sizeof chunk, 0));
    if (got <= 0) {
        ended_ = true;
        return false;
    }
    buffer_.append(chunk, static_cast<std::size_t>(got));
    return true;
}

std::optional<Message> Line::receive(int wait_ms) const {
    const auto deadline = Clock::now() + std::chrono::milliseconds(wait_ms);
    for (;;) {
        while (buffer_.starts_with("\r\n")) buffer_.erase(0, 2);
        if (const auto end = buffer_.find("\r\n\r\n"); end != std::string::npos) {
            Message message{buffer_.substr(0, end + 4), {}};
            const auto length = message.first("Content-Length");
            const auto size = end + 4 + (length.empty() ? 0 : std::stoul(length));
            if (buffer_.size() >= size) {
                message.text = buffer_.substr(0, size);
                buffer_.erase(0, size);
                return message;
            }
        }
        const int left = left_ms(deadline);
        if (!more(left) && (ended_ || left == 0)) return std::nullopt;
    }
}

Message Line::expect(std::string_view start, int wait_ms) const {
    for (;;) {
        auto message = receive(wait_ms);
        if (!message)
            throw check::Failure(std::string(ended_ ? "closed" : "nothing came") + "; expected: " + std::string(start) +
                                 (buffer_.empty() ? "" : "; unfinished: " + buffer_));
        if (message->text.starts_with(start)) return std::move(*message);
        if (message->status() != 100)
            throw check::Failure("expected: " + std::string(start) + "\n      got: " + message->text);
    }
}

void Line::expect_silence(int wait_ms) const {
    if (auto message = receive(wait_ms)) throw check::Failure("expected silence, got: " + message->text);
    if (ended_) throw check::Failure("expected silence, but the connection was closed");
}

std::string Line::bytes(std::size_t count, int wait_ms) const {
    const auto deadline = Clock::now() + std::chrono::milliseconds(wait_ms);
    while (buffer_.size() < count) {
        const int left = left_ms(deadline);
        if (!more(left) && (ended_ || left == 0)) break;
    }
    auto taken = buffer_.substr(0, count);
    buffer_.erase(0, count);
    return taken;
}

void Line::expect_closed(int wait_ms) const {
    const auto deadline = Clock::now() + std::chrono::milliseconds(wait_ms);
    while (!ended_) {
        const int left = left_ms(deadline);
        if (left == 0) throw check::Failure("the connection was not closed");
        more(left);
    }
}

void Line::close() {
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
}

void Line::reset() {
    const linger hard{1, 0};
    setsockopt(fd_, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    close();
}

Door::Door(const std::string& transport, int backlog) : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    const auto any = fill({"127.0.0.1", 0});
    if (bind(fd_, reinterpret_cast<const sockaddr*>(&any), sizeof any) != 0) give_up("bind");
    if (listen(fd_, backlog) != 0) give_up("listen");
    address_ = name_of(fd_, transport);
}

Door::~Door() { ::close(fd_); }

bool Door::knocked(int wait_ms) const {
    pollfd watched{fd_, POLLIN, 0};
    return poll(&watched, 1, wait_ms) == 1;
}

Line Door::accept(int wait_ms) const {
    if (!knocked(wait_ms)) throw check::Failure("nobody connected");
    const int fd = accept4(fd_, nullptr, nullptr, SOCK_CLOEXEC);
    if (fd < 0) give_up("accept");
    return Line(fd, address_.transport);
}

Draft request(const std::string& method, const std::string& uri, const Line& from) {
    Draft draft;
    const auto transport = from.address().transport;
    draft.start = method + " " + uri + " SIP/2.0";
    draft.headers = {
        {"Via", std::string("SIP/2.0/") + (transport == "tls" ? "TLS " : "TCP ") + from.host_port() +
                    ";branch=z9hG4bK" + unique("s")},
        {"Max-Forwards", "70"},
        {"From", "<sip:200@pbx.example.com>;tag=" + unique("f")},
        {"To", "<sip:101@pbx.example.com>"},
        {"Call-ID", unique("call") + "@test"},
        {"CSeq", "1 " + method},
        {"Contact", "<sip:200@" + from.host_port() + ";transport=" + transport + ">"},
    };
    return draft;
}

}  // namespace wire
