// Many calls at once: no fault of lifetime, nothing left behind.
#include <chrono>
#include <set>

#include "check.hpp"
#include "station.hpp"

using namespace station;

TEST("2,000 calls in a burst: held, forked, answered, ACKed, hung up; the tables are empty afterwards") {
    constexpr int kCalls = 2000;
    constexpr int kWindow = 100;  // calls in hand at once, within what the sockets hold and fast timers bear
    FastTimers fast;
    Station station;
    const Agent pbx;
    const Agent phone;
    push_proxy::Rewrite rewrite;
    rewrite.request_uri = "sip:101@" + phone.host_port();
    rewrite.destination = phone.address();
    rewrite.local = station.at();
    rewrite.call = kCall;
    rewrite.route_key = kRoute;
    int started = 0;
    // By Call-ID: with these timers messages are repeated.
    std::set<std::string> answered;
    std::set<std::string> ended;
    std::set<std::string> refused;
    const auto over = [&] { return static_cast<int>(ended.size() + refused.size()); };
    // Only against hanging: sanitizers on a busy machine are slow.
    const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(150);
    while (over() < kCalls && std::chrono::steady_clock::now() < limit) {
        while (started < kCalls && started - over() < kWindow) {
            pbx.send(wire::request("INVITE", station.uri("101"), pbx), station.at());
            ++started;
        }
        for (const auto& fact : station.stack().drain()) {
            if (fact.kind == FactKind::request && fact.cseq == 1) {
                if (fact.txn % 7 == 0) {
                    station.reply(fact, 480, "Temporarily Unavailable");
                } else {
                    station.stack().order(push_proxy::ForkOrder{fact.txn, 1, rewrite});
                }
            }
            if (fact.kind == FactKind::branch_response && fact.status >= 180) station.relay(fact);
        }
        while (auto message = phone.receive(0)) {
            if (message->text.starts_with("INVITE ")) {
                phone.send(wire::response(*message, 180, "Ringing", "t"), station.at());
                phone.send(wire::response(*message, 200, "OK", "t").add("Contact", "<sip:1@" + phone.host_port() + ">"),
                           station.at());
            } else if (message->text.starts_with("BYE ")) {
                phone.send(wire::response(*message, 200, "OK"), station.at());
            }
        }
        while (auto message = pbx.receive(1)) {
            const auto method = message->first("CSeq");
            if (message->status() == 200 && method == "1 INVITE") {
                answered.insert(message->first("Call-ID"));
                for (const auto& [name, cseq] : {std::pair{"ACK", 1}, std::pair{"BYE", 2}}) {
                    auto draft = wire::request(name, "sip:1@" + phone.host_port(), pbx);
                    draft.set("From", message->first("From")).set("To", message->first("To"));
                    draft.set("Call-ID", message->first("Call-ID")).set("CSeq", std::to_string(cseq) + " " + name);
                    pbx.send(draft.add("Route", message->first("Record-Route")), station.at());
                }
            } else if (message->status() == 480) {
                wire::Draft ack;
                ack.start = "ACK " + station.uri("101") + " SIP/2.0";
                for (const auto* name : {"Via", "From", "To", "Call-ID"}) ack.add(name, message->first(name));
                pbx.send(ack.add("CSeq", "1 ACK").add("Max-Forwards", "70"), station.at());
                refused.insert(message->first("Call-ID"));
            } else if (message->status() == 200 && method == "2 BYE") {
                ended.insert(message->first("Call-ID"));
            }
        }
    }
    CHECK_EQ(over(), kCalls);
    CHECK(answered == ended);
    CHECK(refused.size() > kCalls / 10);
    station.expect_empty(10000);
    station.expect_alive();
    station.stop();
}

TEST("calls that nobody finishes end by themselves and leave nothing") {
    FastTimers fast;
    Station station;
    const Agent pbx;
    const Agent mute;
    std::vector<Fact> held;
    for (int i = 0; i < 100; ++i) {
        pbx.send(wire::request("INVITE", station.uri("101"), pbx), station.at());
        held.push_back(station.fact(FactKind::request));
    }
    for (const auto& fact : held) {
        push_proxy::Rewrite rewrite;
        rewrite.request_uri = "sip:101@" + mute.host_port();
        rewrite.destination = mute.address();
        rewrite.local = station.at();
        for (const int branch : {1, 2, 3}) station.stack().order(push_proxy::ForkOrder{fact.txn, branch, rewrite});
    }
    for (int i = 0; i < 300; ++i) CHECK_EQ(station.fact(FactKind::branch_response, 8000).status, 408);
    for (const auto& fact : held) station.reply(fact, 480, "Temporarily Unavailable");
    station.expect_empty(10000);
    station.stop();
}
