// How a station of the stress program reaches the stack: a socket of its own, never blocking.
#pragma once

#include <memory>

#include "line.hpp"

namespace stress {

using push_proxy::Address;
using wire::Draft;
using wire::Message;

class Line {
   public:
    virtual ~Line() = default;
    virtual int fd() const = 0;
    virtual short wanted() const = 0;  // for poll()
    virtual const Address& address() const = 0;
    virtual void send(const std::string& text) = 0;
    // What has come; empties the socket.
    virtual std::vector<Message> receive() = 0;
    // How a connection goes away: with a FIN, a reset, or (for a socket without one) not at all.
    virtual void drop(bool reset) = 0;
};

std::unique_ptr<Line> udp_line(const std::string& host, const Address& stack);
// TCP or TLS, by the stack's address. Null when it cannot be opened.
std::unique_ptr<Line> stream_line(const std::string& host, const Address& stack);
std::unique_ptr<Line> accepted_line(wire::Line line);

}  // namespace stress
