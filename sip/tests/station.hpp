// A running Stack, with its facts and orders in the hands of a test.
#pragma once

#include <deque>

#include "stack.hpp"
#include "wire.hpp"

namespace station {

using push_proxy::Address;
using push_proxy::Fact;
using push_proxy::FactKind;
using wire::Agent;
using wire::Draft;
using wire::Message;

inline const std::string kKey(32, 'k');
inline const std::string kCall = "12345678-1234-1234-1234-123456789abc";
inline const std::string kRoute = "00112233445566ff";

push_proxy::Settings settings();

// Timers sixteen times as fast as RFC 3261's while it lives: give before the Station.
class FastTimers {
   public:
    FastTimers();
    ~FastTimers();
};

class Station {
   public:
    explicit Station(const push_proxy::Settings& with = settings());
    // Stops the stack; a fault that the stack has reported fails the test.
    void stop();

    const Address& at() const { return bound_.front(); }
    const Address& at(std::size_t index) const { return bound_.at(index); }
    std::string uri(const std::string& user) const;
    push_proxy::Stack& stack() { return stack_; }

    // The next fact of that kind; fails the test when none comes.
    Fact fact(FactKind kind, int wait_ms = 4000);
    // No fact of that kind comes.
    void expect_none(FactKind kind, int wait_ms = 250);
    std::uint64_t counter(const std::string& name);
    // Everything that the engine remembered of transactions is gone.
    void expect_empty(int wait_ms = 8000);
    // The stack still answers.
    void expect_alive();

    // The orders given so far have been carried out: sockets are served in no particular order.
    void carried_out();
    void reply(const Fact& request, int status, const std::string& reason, push_proxy::Headers headers = {});
    void relay(const Fact& response);

   private:
    void collect(int wait_ms);
    std::optional<Fact> take(FactKind kind);

    push_proxy::Stack stack_;
    std::vector<Address> bound_;
    std::deque<Fact> facts_;
};

// A call from a PBX to a phone: held by the station, then forked when the test says so.
struct Call {
    explicit Call(Station& at, const std::function<void(Draft&)>& shape = {});

    // Forks to `phone` (or another) and returns the INVITE that came there.
    Message fork(int branch = 1);
    Message fork_to(const Agent& target, int branch, const push_proxy::Rewrite* base = nullptr);
    push_proxy::Rewrite rewrite(const Agent& target) const;
    // The phone answers its INVITE; the stack reports it.
    Fact phone_says(const Message& invite, int status, const std::string& reason, const std::string& tag,
                    int branch = 1);
    // The call is answered and its 200 has reached the PBX.
    Message answered();
    // A request inside the dialog that `ok` made.
    Draft from_pbx(const std::string& method, int cseq) const;
    Draft from_phone(const std::string& method, int cseq) const;

    Station& station;
    Agent pbx;
    Agent phone;
    Draft invite;
    Fact held;
    Message ok;  // as the PBX got it
    std::string phone_tag = "phone-tag";
};

}  // namespace station
