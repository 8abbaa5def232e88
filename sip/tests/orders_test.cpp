// Orders that cannot be carried out come back as facts, and harm nothing.
#include "check.hpp"
#include "station.hpp"

using namespace station;
using namespace push_proxy;

namespace {

void expect_refused(Station& station, const std::string& order) {
    const auto fact = station.fact(FactKind::order_failed);
    CHECK_EQ(fact.name, order);
    CHECK(!fact.text.empty());
}

}  // namespace

TEST("every order with a stale token is an ordinary failure") {
    Station station;
    Rewrite rewrite;
    rewrite.request_uri = "sip:1@127.0.0.1";
    rewrite.destination = {"127.0.0.1", 9};
    rewrite.local = station.at();
    auto& stack = station.stack();
    stack.order(ReplyOrder{77, 200, "OK", {}, ""});
    expect_refused(station, "reply");
    stack.order(ForkOrder{77, 1, rewrite});
    expect_refused(station, "fork");
    stack.order(ForwardOrder{77, rewrite});
    expect_refused(station, "forward");
    stack.order(RelayOrder{77, 1, 5});
    expect_refused(station, "relay");
    stack.order(CancelOrder{77, 1, ""});
    expect_refused(station, "cancel");
    stack.order(AckAndByeOrder{77, 1, 5});
    expect_refused(station, "ack_and_bye");
    station.expect_alive();
    station.stop();
}

TEST("a second final reply, a branch used twice and a fork after the end are refused") {
    Station station;
    Call call(station);
    call.fork(1);
    station.stack().order(ForkOrder{call.held.txn, 1, call.rewrite(call.phone)});
    expect_refused(station, "fork");
    station.reply(call.held, 480, "Gone");
    station.reply(call.held, 486, "Busy");
    expect_refused(station, "reply");
    station.stack().order(ForkOrder{call.held.txn, 2, call.rewrite(call.phone)});
    expect_refused(station, "fork");
    station.stop();
}

TEST("orders that cannot be put on the wire are refused, and the call can still be refused properly") {
    Station station;
    Call call(station);
    auto fork = [&](auto&& change) {
        auto rewrite = call.rewrite(call.phone);
        change(rewrite);
        station.stack().order(ForkOrder{call.held.txn, 1, rewrite});
        expect_refused(station, "fork");
    };
    fork([](Rewrite& r) { r.request_uri = "not a uri"; });
    fork([](Rewrite& r) { r.request_uri = "sip:a@b SIP/2.0\r\nX-Evil: 1"; });
    fork([](Rewrite& r) { r.destination.host = "phone.example.com"; });
    fork([](Rewrite& r) { r.destination.port = 70000; });
    fork([](Rewrite& r) { r.add = {{"X-Push-ID", "1\r\nX-Evil: 2"}}; });
    fork([](Rewrite& r) { r.add = {{"", "value"}}; });
    fork([](Rewrite& r) { r.add = {{"X-Long", std::string(100000, 'x')}}; });
    fork([](Rewrite& r) { r.route_key = "not hex"; });
    fork([](Rewrite& r) { r.call = "no uuid"; });
    call.phone.expect_silence(50);
    station.reply(call.held, 42, "?");
    expect_refused(station, "reply");
    station.reply(call.held, 480, "Gone\r\nX-Evil: 3");
    expect_refused(station, "reply");
    station.reply(call.held, 480, "Gone", {{"X-Evil", "4\r\nX: y"}});
    expect_refused(station, "reply");
    station.stack().order(BindOrder{"zz", {"127.0.0.1", 9}, station.at()});
    expect_refused(station, "bind");
    station.stack().order(BindOrder{kRoute, {"phone.example.com", 9}, station.at()});
    expect_refused(station, "bind");
    while (call.pbx.receive(250)) {
    }
    station.reply(call.held, 480, "Gone");
    call.pbx.expect("SIP/2.0 480");
    station.stop();
}

TEST("a Request-URI of another scheme ends as a failed branch, not as a crash") {
    Station station;
    Call call(station);
    auto rewrite = call.rewrite(call.phone);
    rewrite.request_uri = "tel:+15551234";
    station.stack().order(ForkOrder{call.held.txn, 1, rewrite});
    const auto fact = station.fact(FactKind::branch_response);
    CHECK_EQ(fact.status, 503);
    CHECK(fact.flag);
    rewrite.request_uri = "sips:101@" + call.phone.host_port() + ";transport=tcp";
    const auto invite = call.fork_to(call.phone, 2, &rewrite);  // the flow decides how it travels
    CHECK(invite.start().starts_with("INVITE sips:101@"));
    call.phone.expect("INVITE sips:101@", 1500);  // Timer A: UDP is not reliable, whatever the URI says
    station.stop();
}

TEST("ack_and_bye needs a 2xx with a SIP Contact") {
    Station station;
    Call call(station);
    const auto invite = call.fork();
    const auto ringing = call.phone_says(invite, 180, "Ringing", "t");
    station.stack().order(AckAndByeOrder{ringing.txn, ringing.branch, ringing.response});
    expect_refused(station, "ack_and_bye");
    call.phone.send(wire::response(invite, 200, "OK", "t").add("Contact", "<tel:+1>"), station.at());
    const auto ok = station.fact(FactKind::branch_response);
    station.stack().order(AckAndByeOrder{ok.txn, ok.branch, ok.response});
    expect_refused(station, "ack_and_bye");
    call.phone.expect_silence(100);
    station.stop();
}
