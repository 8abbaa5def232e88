// Requests of our own: registrations toward the PBX.
#include "check.hpp"
#include "line.hpp"
#include "station.hpp"

using namespace station;
using push_proxy::RequestOrder;

namespace {

RequestOrder reg(Station& station, const Address& to, std::uint64_t id) {
    RequestOrder order{};
    order.request = id;
    order.method = "REGISTER";
    order.request_uri = "sip:pbx.example.com";
    order.from = "\"Ann\" <sip:101@pbx.example.com>;tag=me";
    order.to = "<sip:101@pbx.example.com>";
    order.call_id = "registration-1";
    order.cseq = 7;
    order.headers = {
        {"Contact", "<sip:101@127.0.0.1;pp=t>;expires=600"}, {"Expires", "600"}, {"Content-Type", "text/x"}};
    order.destination = to;
    order.local = station.at();
    return order;
}

// The INVITE of a call that has ended.
RequestOrder over(Station& station, const Address& to, std::uint64_t id) {
    auto order = reg(station, to, id);
    order.method = "INVITE";
    order.request_uri = "sip:101@phone.example.com";
    order.from = "<sip:200@pbx.example.com>;tag=caller";
    order.call_id = "call-of-the-pbx";
    order.headers = {{"Contact", "<sip:200@127.0.0.1:5080>"}};
    order.over = "SIP;cause=200;text=\"Call completed elsewhere\"";
    return order;
}

}  // namespace

TEST("a REGISTER of ours leaves as ordered, and its answer is told whole") {
    Station station;
    const Agent pbx;
    auto order = reg(station, pbx.address(), 42);
    order.body = "body";
    station.stack().order(order);
    const auto arrived = pbx.expect("REGISTER sip:pbx.example.com SIP/2.0");
    CHECK(arrived.first("From").find("<sip:101@pbx.example.com>;tag=me") != std::string::npos);
    CHECK_EQ(arrived.first("To"), std::string("<sip:101@pbx.example.com>"));
    CHECK_EQ(arrived.first("CSeq"), std::string("7 REGISTER"));
    CHECK_EQ(arrived.first("Call-ID"), std::string("registration-1"));
    CHECK_EQ(arrived.first("Contact"), std::string("<sip:101@127.0.0.1;pp=t>;expires=600"));
    CHECK_EQ(arrived.first("Content-Type"), std::string("text/x"));
    CHECK_EQ(arrived.body(), std::string("body"));
    CHECK(arrived.first("Via").starts_with("SIP/2.0/UDP 127.0.0.1:" + std::to_string(station.at().port)));
    CHECK(arrived.first("Via").find(";rport") != std::string::npos);
    pbx.send(wire::response(arrived, 100, "Trying"), station.at());
    const auto answer =
        wire::response(arrived, 401, "Unauthorized", "p").add("WWW-Authenticate", "Digest realm=\"x\"").text();
    pbx.send(answer, station.at());
    const auto fact = station.fact(FactKind::request_answered);
    CHECK_EQ(fact.txn, 42U);
    CHECK_EQ(fact.status, 401);
    CHECK_EQ(fact.raw, answer);
    CHECK(!fact.flag);
    pbx.send(answer, station.at());
    station.expect_none(FactKind::request_answered, 100);
    station.stop();
}

TEST("a PBX that does not answer is a local 408, one that cannot be reached a local 503 at once") {
    FastTimers fast;
    Station station;
    const Agent mute;
    station.stack().order(reg(station, mute.address(), 1));
    station.stack().order(reg(station, {"255.255.255.255", 9}, 2));
    const auto unreachable = station.fact(FactKind::request_answered, 500);
    CHECK_EQ(unreachable.txn, 2U);
    CHECK_EQ(unreachable.status, 503);
    CHECK(unreachable.flag);
    const auto timeout = station.fact(FactKind::request_answered, 6000);
    CHECK_EQ(timeout.txn, 1U);
    CHECK_EQ(timeout.status, 408);
    CHECK(timeout.flag);
    station.expect_none(FactKind::request_answered, 50);
    station.expect_empty();
    station.stop();
}

TEST("a request that cannot be built is a local 503 with the reason, and stops nothing") {
    Station station;
    const Agent pbx;
    const auto refused = [&](auto&& change) {
        auto order = reg(station, pbx.address(), 3);
        change(order);
        station.stack().order(order);
        const auto fact = station.fact(FactKind::request_answered);
        CHECK_EQ(fact.status, 503);
        CHECK(fact.flag);
        CHECK(!fact.text.empty());
    };
    refused([](RequestOrder& order) { order.request_uri = "nonsense"; });
    refused([](RequestOrder& order) { order.from = "<"; });
    refused([](RequestOrder& order) { order.destination.host = "pbx.example.com"; });
    refused([](RequestOrder& order) { order.headers = {{"X", "a\r\nb: c"}}; });
    refused([](RequestOrder& order) { order.method = "ACK"; });
    refused([](RequestOrder& order) { order.method = "CANCEL"; });
    refused([](RequestOrder& order) { order.body = std::string(70000, 'x'); });
    pbx.expect_silence(50);
    station.expect_alive();
    station.stop();
}

TEST("an INVITE for a call that is over is cancelled with its Reason at the phone's first response, not before") {
    Station station;
    const Agent phone;
    station.stack().order(over(station, phone.address(), 5));
    const auto invite = phone.expect("INVITE sip:101@phone.example.com SIP/2.0");
    CHECK_EQ(invite.first("Call-ID"), std::string("call-of-the-pbx"));
    phone.expect_silence(150);
    phone.send(wire::response(invite, 180, "Ringing", "p"), station.at());
    const auto cancel = phone.expect("CANCEL sip:101@phone.example.com SIP/2.0");
    CHECK_EQ(cancel.first("Reason"), std::string("SIP;cause=200;text=\"Call completed elsewhere\""));
    CHECK_EQ(cancel.first("Via"), invite.first("Via"));
    phone.send(wire::response(cancel, 200, "OK", "p"), station.at());
    phone.send(wire::response(invite, 180, "Ringing", "p"), station.at());
    phone.send(wire::response(invite, 487, "Request Terminated", "p"), station.at());
    phone.expect("ACK ");
    const auto fact = station.fact(FactKind::request_answered);
    CHECK_EQ(fact.txn, 5U);
    CHECK_EQ(fact.status, 487);
    phone.expect_silence(100);
    station.stop();
}

TEST("a phone that answers a call that is over before our CANCEL gets ACK and BYE") {
    Station station;
    const Agent phone;
    station.stack().order(over(station, phone.address(), 6));
    const auto invite = phone.expect("INVITE ");
    phone.send(wire::response(invite, 200, "OK", "p").add("Contact", "<sip:101@" + phone.host_port() + ">"),
               station.at());
    phone.expect("ACK ");
    const auto bye = phone.expect("BYE ");
    CHECK_EQ(bye.first("Call-ID"), std::string("call-of-the-pbx"));
    phone.send(wire::response(bye, 200, "OK"), station.at());
    CHECK_EQ(station.fact(FactKind::request_answered).status, 200);
    phone.expect_silence(100);
    station.stop();
}

TEST("a phone that goes away with a call that is over leaves nothing behind") {
    auto made = settings();
    made.listen = {{"127.0.0.1", 0, "udp"}, {"127.0.0.1", 0, "tcp"}};
    for (const bool heard : {false, true}) {
        Station station(made);
        auto line = wire::Line::connect(station.at(1));
        line.send(wire::request("REGISTER", "sip:127.0.0.1", line));
        station.reply(station.fact(FactKind::request), 200, "OK");
        line.expect("SIP/2.0 200");
        auto order = over(station, line.address(), 7);
        order.local = station.at(1);
        order.connect = false;
        station.stack().order(order);
        const auto invite = line.expect("INVITE ");
        if (heard) {
            line.send(wire::response(invite, 180, "Ringing", "p"));
            line.expect("CANCEL ");
        }
        line.close();
        const auto fact = station.fact(FactKind::request_answered);
        CHECK_EQ(fact.status, 430);
        CHECK(fact.flag);
        station.stop();
    }
}

TEST("a stack that stops with requests on the way leaves nothing behind") {
    Station station;
    const Agent pbx;
    Call call(station);
    call.fork();
    for (std::uint64_t id = 1; id < 20; ++id) station.stack().order(reg(station, pbx.address(), id));
    for (int i = 1; i < 20; ++i) pbx.expect("REGISTER ");
    station.stop();
}
