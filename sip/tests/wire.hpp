// SIP over real UDP sockets, without pjsip: what the tests say and hear.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "values.hpp"

namespace wire {

using push_proxy::Address;

// A message as it came.
struct Message {
    std::string text;
    Address source;

    std::string start() const;
    int status() const;  // 0 for a request
    std::vector<std::string> all(std::string_view name) const;
    std::string first(std::string_view name) const;
    std::string body() const;
    std::string branch() const;  // of the topmost Via
};

// A message to be sent.
struct Draft {
    std::string start;
    std::vector<std::pair<std::string, std::string>> headers;
    std::string body;

    Draft& set(std::string_view name, std::string value);  // replaces the first of that name
    Draft& add(std::string_view name, std::string value);
    Draft& drop(std::string_view name);
    Draft& with(std::string content_type, std::string content);
    std::string text() const;  // Content-Length is added when there is none
};

// A phone or PBX: one socket.
class Agent {
   public:
    explicit Agent(const std::string& host = "127.0.0.1", int port = 0);
    ~Agent();
    Agent(const Agent&) = delete;
    Agent& operator=(const Agent&) = delete;

    const Address& address() const { return address_; }
    std::string host_port() const;
    void send(const std::string& text, const Address& to) const;
    void send(const Draft& draft, const Address& to) const { send(draft.text(), to); }
    std::optional<Message> receive(int wait_ms) const;
    // The next message, which must begin so; fails the test otherwise.
    Message expect(std::string_view start, int wait_ms = 4000) const;
    // Nothing comes for that long.
    void expect_silence(int wait_ms = 250) const;

   private:
    int fd_;
    Address address_;
};

std::string unique(std::string_view prefix);
std::string param(std::string_view value, std::string_view name);
// A request outside a dialog, complete and with a branch, tag and Call-ID of its own.
Draft request(const std::string& method, const std::string& uri, const Agent& from);
Draft response(const Message& request, int status, const std::string& reason, const std::string& to_tag = "");

}  // namespace wire
