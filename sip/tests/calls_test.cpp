// A held call: answered, repeated, refused.
#include "check.hpp"
#include "station.hpp"

using namespace station;
using push_proxy::AckAndByeOrder;

TEST("a held INVITE gets 100 by itself after 150 ms, once") {
    Station station;
    Call call(station);
    CHECK_EQ(call.held.name, std::string("INVITE"));
    CHECK_EQ(call.held.source.port, call.pbx.address().port);
    CHECK_EQ(call.held.raw, call.invite.text());
    call.pbx.expect_silence(80);
    const auto trying = call.pbx.expect("SIP/2.0 100", 400);
    CHECK_EQ(trying.first("To"), call.invite.headers[3].second);  // RFC 3261 8.2.6.2: no tag in a 100
    call.pbx.expect_silence(300);
    station.reply(call.held, 480, "Temporarily Unavailable", {{"X-Push-Reason", "not_woken"}});
    const auto refused = call.pbx.expect("SIP/2.0 480");
    CHECK_EQ(refused.first("X-Push-Reason"), std::string("not_woken"));
    CHECK_EQ(wire::param(refused.first("To"), "tag"), call.held.to_tag);
    station.stop();
}

TEST("an INVITE that has been answered gets no 100 of our own") {
    Station station;
    Call call(station);
    station.reply(call.held, 180, "Ringing");
    call.pbx.expect("SIP/2.0 180");
    call.pbx.expect_silence(400);
    station.stop();
}

TEST("a repeated INVITE is answered again and rings nobody") {
    Station station;
    Call call(station);
    station.reply(call.held, 100, "Trying");
    call.pbx.expect("SIP/2.0 100");
    call.pbx.send(call.invite, station.at());
    call.pbx.expect("SIP/2.0 100");
    station.expect_none(FactKind::request);
    station.stop();
}

TEST("the PBX gets one 2xx, however long its ACK takes; a repeated INVITE gets it again") {
    FastTimers fast;
    Station station;
    Call call(station);
    const auto invite = call.fork();
    call.pbx.receive(250);  // our 100, if it was due
    station.relay(call.phone_says(invite, 200, "OK", "t"));
    const auto ok = call.pbx.expect("SIP/2.0 200");
    call.pbx.expect_silence(600);  // 20 times T1
    call.pbx.send(call.invite, station.at());
    CHECK_EQ(call.pbx.expect("SIP/2.0 200").text, ok.text);
    station.expect_none(FactKind::request);
    station.stop();
}

TEST("a 2xx that the phone repeats for want of an ACK reaches the PBX again") {
    Station station;
    Call call(station);
    const auto invite = call.fork();
    const auto draft =
        wire::response(invite, 200, "OK", "t").add("Contact", "<sip:101@" + call.phone.host_port() + ">");
    call.phone.send(draft, station.at());
    call.phone.send(draft, station.at());  // while Python still thinks
    const auto fact = station.fact(FactKind::branch_response);
    station.expect_none(FactKind::branch_response, 100);
    call.pbx.receive(250);
    station.relay(fact);
    const auto ok = call.pbx.expect("SIP/2.0 200");
    call.phone.send(draft, station.at());
    CHECK_EQ(call.pbx.expect("SIP/2.0 200").text, ok.text);
    station.expect_none(FactKind::branch_response, 100);
    station.stop();
}

TEST("two forks of one INVITE have branches of their own, and the better answer is the test's choice") {
    Station station;
    Call call(station);
    station.reply(call.held, 100, "Trying");
    call.pbx.expect("SIP/2.0 100");
    const Agent tablet;
    const auto first = call.fork(1);
    const auto second = call.fork_to(tablet, 2);
    CHECK(first.branch() != second.branch());
    CHECK_EQ(first.all("Via").size(), 2U);
    CHECK_EQ(first.first("Max-Forwards"), std::string("69"));
    tablet.send(wire::response(second, 486, "Busy Here", "tab"), station.at());
    const auto busy = station.fact(FactKind::branch_response);
    CHECK_EQ(busy.branch, 2);
    tablet.expect("ACK ");  // RFC 3261 17.1.1.3: ours, hop by hop
    station.relay(call.phone_says(first, 180, "Ringing", "t"));
    CHECK_EQ(wire::param(call.pbx.expect("SIP/2.0 180").first("To"), "tag"), std::string("t"));
    station.relay(call.phone_says(first, 200, "OK", "t"));
    call.pbx.expect("SIP/2.0 200");
    station.relay(busy);
    CHECK_EQ(station.fact(FactKind::order_failed).name, std::string("relay"));
    call.pbx.expect_silence();
    station.stop();
}

TEST("a refusal that is relayed repeats until the PBX's ACK, and then no more") {
    FastTimers fast;
    Station station;
    Call call(station);
    station.reply(call.held, 100, "Trying");
    call.pbx.expect("SIP/2.0 100");
    const auto invite = call.fork();
    station.relay(call.phone_says(invite, 603, "Decline", "t"));
    const auto refusal = call.pbx.expect("SIP/2.0 603");
    call.phone.expect("ACK ");
    CHECK_EQ(call.pbx.expect("SIP/2.0 603").text, refusal.text);
    auto ack = call.invite;
    ack.start.replace(0, 6, "ACK");
    ack.set("CSeq", "1 ACK").set("To", refusal.first("To")).drop("Content-Type").body.clear();
    call.pbx.send(ack, station.at());
    while (call.pbx.receive(100)) {
    }
    call.pbx.expect_silence(400);
    call.phone.expect_silence(50);  // the ACK was for us
    station.expect_empty();
    station.stop();
}

TEST("a 2xx that comes too late is ACKed and ended with BYE; when it is repeated, ACKed again") {
    Station station;
    Call call(station);
    const Agent tablet;
    const auto first = call.fork(1);
    const auto second = call.fork_to(tablet, 2);
    station.relay(call.phone_says(first, 200, "OK", "t"));
    auto late = wire::response(second, 200, "OK", "tab");
    late.add("Contact", "<sip:tablet@192.0.2.7:9>");
    // The tablet sits behind a proxy of its own, which is to see the ACK and the BYE.
    auto headers = late.headers;
    late.headers.clear();
    for (const auto& header : headers) {
        if (header.first == "Record-Route") late.add("Record-Route", "<sip:proxy.example.net;lr>");
        late.headers.push_back(header);
    }
    tablet.send(late, station.at());
    const auto fact = station.fact(FactKind::branch_response);
    station.stack().order(AckAndByeOrder{fact.txn, fact.branch, fact.response});
    const auto ack = tablet.expect("ACK sip:tablet@192.0.2.7:9 ");
    CHECK_EQ(ack.first("CSeq"), std::string("1 ACK"));
    CHECK_EQ(ack.first("Route"), std::string("<sip:proxy.example.net;lr>"));
    CHECK_EQ(ack.first("To"), late.headers.back().first == "Contact" ? second.first("To") + ";tag=tab" : "");
    CHECK(ack.branch() != second.branch());
    const auto bye = tablet.expect("BYE sip:tablet@192.0.2.7:9 ");
    CHECK_EQ(bye.first("CSeq"), std::string("2 BYE"));
    CHECK_EQ(bye.first("Call-ID"), second.first("Call-ID"));
    CHECK_EQ(bye.first("From"), second.first("From"));
    tablet.send(wire::response(bye, 200, "OK"), station.at());
    tablet.send(late, station.at());
    CHECK_EQ(tablet.expect("ACK ").branch(), ack.branch());
    station.expect_none(FactKind::branch_response, 100);
    station.stop();
}

TEST("a 2xx after its branch was given up is reported, so that it can be ended") {
    FastTimers fast;
    Station station;
    Call call(station);
    const auto invite = call.fork();
    call.phone_says(invite, 180, "Ringing", "t");
    station.stack().order(push_proxy::CancelOrder{call.held.txn, 1, ""});
    call.phone.expect("CANCEL ");
    const auto given_up = station.fact(FactKind::branch_response, 6000);  // 64*T1 without an answer
    CHECK_EQ(given_up.status, 408);
    CHECK(given_up.flag);
    while (call.phone.receive(50)) {
    }
    const auto late = call.phone_says(invite, 200, "OK", "t");
    station.stack().order(AckAndByeOrder{late.txn, late.branch, late.response});
    call.phone.expect("ACK ");
    call.phone.expect("BYE ");
    station.stop();
}

TEST("a second phone's 2xx on a branch that is answered already is not relayed but reported") {
    Station station;
    Call call(station);
    const auto invite = call.fork();
    station.relay(call.phone_says(invite, 200, "OK", "one"));
    while (call.pbx.receive(300)) {
    }
    const auto other = call.phone_says(invite, 200, "OK", "two");
    call.pbx.expect_silence();
    station.stack().order(AckAndByeOrder{other.txn, other.branch, other.response});
    CHECK_EQ(wire::param(call.phone.expect("ACK ").first("To"), "tag"), std::string("two"));
    CHECK_EQ(wire::param(call.phone.expect("BYE ").first("To"), "tag"), std::string("two"));
    station.stop();
}

TEST("a phone that never answers is a local 408 after 64*T1") {
    FastTimers fast;
    Station station;
    Call call(station);
    const auto invite = call.fork();
    CHECK_EQ(call.phone.expect("INVITE ").text, invite.text);  // Timer A
    const auto fact = station.fact(FactKind::branch_response, 6000);
    CHECK_EQ(fact.status, 408);
    CHECK(fact.flag);
    station.reply(call.held, 480, "Temporarily Unavailable");
    station.expect_empty();
    station.stop();
}

TEST("of many provisional responses the newest sixteen can be relayed") {
    Station station;
    Call call(station);
    const auto invite = call.fork();
    const auto oldest = call.phone_says(invite, 180, "Ringing", "t");
    Fact newest = oldest;
    for (int i = 0; i < 20; ++i) newest = call.phone_says(invite, 183, "Progress " + std::to_string(i), "t");
    while (call.pbx.receive(200)) {
    }
    station.relay(oldest);
    CHECK_EQ(station.fact(FactKind::order_failed).text, std::string("no such response"));
    station.relay(newest);
    call.pbx.expect("SIP/2.0 183 Progress 19");
    station.stop();
}
