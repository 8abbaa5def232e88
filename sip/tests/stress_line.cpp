#include "stress_line.hpp"

#include <arpa/inet.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <stdexcept>

#include "check.hpp"

namespace stress {
namespace {

sockaddr_in socket_address(const Address& address) {
    sockaddr_in out{};
    out.sin_family = AF_INET;
    out.sin_port = htons(static_cast<std::uint16_t>(address.port));
    inet_pton(AF_INET, address.host.c_str(), &out.sin_addr);
    return out;
}

class UdpLine : public Line {
   public:
    UdpLine(const std::string& host, const Address& stack)
        : fd_(socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)), stack_(socket_address(stack)) {
        const int wide = 4 << 20;
        setsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &wide, sizeof wide);
        auto at = socket_address({host, 0});
        socklen_t size = sizeof at;
        if (bind(fd_, reinterpret_cast<sockaddr*>(&at), size) != 0) throw std::runtime_error("cannot bind " + host);
        getsockname(fd_, reinterpret_cast<sockaddr*>(&at), &size);
        address_ = {host, ntohs(at.sin_port)};
    }
    ~UdpLine() override { close(fd_); }

    int fd() const override { return fd_; }
    short wanted() const override { return POLLIN; }
    const Address& address() const override { return address_; }

    void send(const std::string& text) override {
        // A full socket loses the message, as UDP may: stations repeat their requests.
        [[maybe_unused]] const auto sent =
            sendto(fd_, text.data(), text.size(), 0, reinterpret_cast<const sockaddr*>(&stack_), sizeof stack_);
    }

    void drop(bool) override {}

    std::vector<Message> receive() override {
        std::vector<Message> messages;
        static char buffer[65536];
        for (;;) {
            const auto size = recv(fd_, buffer, sizeof buffer, 0);
            if (size < 0) return messages;
            messages.push_back({std::string(buffer, static_cast<std::size_t>(size)), {}});
        }
    }

   private:
    int fd_;
    sockaddr_in stack_;
    Address address_;
};

class StreamLine : public Line {
   public:
    explicit StreamLine(wire::Line line) : line_(std::move(line)), address_(line_.address()) {}

    int fd() const override { return line_.fd(); }
    short wanted() const override { return POLLIN; }
    const Address& address() const override { return address_; }
    void send(const std::string& text) override {
        try {
            line_.send(text);
        } catch (const check::Failure&) {
            // The stack has closed it; the station finds out by itself.
        }
    }
    std::vector<Message> receive() override {
        std::vector<Message> messages;
        while (auto message = line_.receive(0)) messages.push_back(std::move(*message));
        return messages;
    }
    void drop(bool reset) override {
        if (reset) {
            line_.reset();
        } else {
            line_.close();
        }
    }

   private:
    wire::Line line_;
    Address address_;
};

}  // namespace

std::unique_ptr<Line> stream_line(const std::string& host, const Address& stack) {
    try {
        auto line = wire::Line::connect(stack, host);
        if (stack.transport == "tls") line.start_tls({}, false);
        return std::make_unique<StreamLine>(std::move(line));
    } catch (const check::Failure&) {
        return nullptr;
    }
}

std::unique_ptr<Line> accepted_line(wire::Line line) { return std::make_unique<StreamLine>(std::move(line)); }

std::unique_ptr<Line> udp_line(const std::string& host, const Address& stack) {
    return std::make_unique<UdpLine>(host, stack);
}

}  // namespace stress
