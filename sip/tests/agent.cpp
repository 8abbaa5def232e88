#include <arpa/inet.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "check.hpp"
#include "wire.hpp"

namespace wire {
namespace {

socklen_t fill(sockaddr_storage& out, const Address& address) {
    out = {};
    if (address.host.find(':') != std::string::npos) {
        auto& in = reinterpret_cast<sockaddr_in6&>(out);
        in.sin6_family = AF_INET6;
        in.sin6_port = htons(static_cast<uint16_t>(address.port));
        inet_pton(AF_INET6, address.host.c_str(), &in.sin6_addr);
        return sizeof in;
    }
    auto& in = reinterpret_cast<sockaddr_in&>(out);
    in.sin_family = AF_INET;
    in.sin_port = htons(static_cast<uint16_t>(address.port));
    inet_pton(AF_INET, address.host.c_str(), &in.sin_addr);
    return sizeof in;
}

Address read(const sockaddr_storage& in) {
    char host[INET6_ADDRSTRLEN];
    if (in.ss_family == AF_INET6) {
        const auto& v6 = reinterpret_cast<const sockaddr_in6&>(in);
        inet_ntop(AF_INET6, &v6.sin6_addr, host, sizeof host);
        return {host, ntohs(v6.sin6_port)};
    }
    const auto& v4 = reinterpret_cast<const sockaddr_in&>(in);
    inet_ntop(AF_INET, &v4.sin_addr, host, sizeof host);
    return {host, ntohs(v4.sin_port)};
}

}  // namespace

Agent::Agent(const std::string& host, int port)
    : fd_(socket(host.find(':') == std::string::npos ? AF_INET : AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0)) {
    const int wide = 4 << 20;
    setsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &wide, sizeof wide);
    sockaddr_storage at;
    socklen_t size = fill(at, {host, port});
    if (bind(fd_, reinterpret_cast<sockaddr*>(&at), size) != 0)
        throw check::Failure("cannot bind " + host + ": " + std::strerror(errno));
    size = sizeof at;
    getsockname(fd_, reinterpret_cast<sockaddr*>(&at), &size);
    address_ = read(at);
}

Agent::~Agent() { close(fd_); }

std::string Agent::host_port() const {
    const bool v6 = address_.host.find(':') != std::string::npos;
    return (v6 ? "[" + address_.host + "]" : address_.host) + ":" + std::to_string(address_.port);
}

void Agent::send(const std::string& text, const Address& to) const {
    sockaddr_storage at;
    const auto size = fill(at, to);
    if (sendto(fd_, text.data(), text.size(), 0, reinterpret_cast<sockaddr*>(&at), size) < 0)
        throw check::Failure(std::string("cannot send: ") + std::strerror(errno));
}

std::optional<Message> Agent::receive(int wait_ms) const {
    pollfd watched{fd_, POLLIN, 0};
    if (poll(&watched, 1, wait_ms) != 1) return std::nullopt;
    static char buffer[65536];
    sockaddr_storage from;
    socklen_t size = sizeof from;
    const auto length = recvfrom(fd_, buffer, sizeof buffer, 0, reinterpret_cast<sockaddr*>(&from), &size);
    if (length < 0) return std::nullopt;
    return Message{std::string(buffer, static_cast<std::size_t>(length)), read(from)};
}

Message Agent::expect(std::string_view start, int wait_ms) const {
    auto message = receive(wait_ms);
    if (!message) throw check::Failure("nothing came; expected: " + std::string(start));
    if (!message->text.starts_with(start))
        throw check::Failure("expected: " + std::string(start) + "\n      got: " + message->text);
    return std::move(*message);
}

void Agent::expect_silence(int wait_ms) const {
    if (auto message = receive(wait_ms)) throw check::Failure("expected silence, got: " + message->text);
}

}  // namespace wire
