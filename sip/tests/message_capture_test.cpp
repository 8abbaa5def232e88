// Copies of messages for the recorder of calls: what was really on the wire, in order, and bounded.
#include "authority.hpp"
#include "check.hpp"
#include "masking.hpp"
#include "station.hpp"

using namespace station;
using push_proxy::CapturedMessage;
using push_proxy::RequestOrder;
using wire::Authority;
using wire::Line;

namespace {

std::string masked(std::string text) {
    push_proxy::mask_secrets(text);
    return text;
}

constexpr std::size_t kMany = 1000;
constexpr std::size_t kLarge = 1 << 20;

std::string story(const push_proxy::CaptureBatch& batch) {
    std::string out;
    for (const auto& message : batch.messages)
        out += (message->sent ? "> " : "< ") + message->raw.substr(0, message->raw.find_first_of(" \r", 8)) + "\n";
    return out;
}

}  // namespace

TEST("capture: a call's messages are copied in order, as they were on the wire, without secrets") {
    Station station;
    station.stack().capture(kMany, kLarge, 1000);
    Call call(station);
    station.reply(call.held, 100, "Trying");
    const auto trying = call.pbx.expect("SIP/2.0 100");
    const auto arrived = call.fork();
    station.relay(call.phone_says(arrived, 200, "OK", call.phone_tag));
    call.ok = call.pbx.expect("SIP/2.0 200");
    const auto ack = call.from_pbx("ACK", 1);
    call.pbx.send(ack, station.at());
    const auto ack_there = call.phone.expect("ACK ");

    const auto batch = station.stack().take_captured();
    CHECK_EQ(batch.lost, 0u);
    CHECK_EQ(story(batch), std::string("< INVITE sip:101@127.0.0.1:") + std::to_string(station.at().port) +
                               ";pp=***\n> SIP/2.0 100\n> INVITE sip:101@" + call.phone.host_port() +
                               "\n< SIP/2.0 200\n> SIP/2.0 200\n< ACK sip:101@" + call.phone.host_port() +
                               "\n> ACK sip:101@" + call.phone.host_port() + "\n");
    const auto& seen = batch.messages;
    CHECK_EQ(seen[0]->raw, masked(call.invite.text()));
    CHECK_EQ(seen[1]->raw, masked(trying.text));
    CHECK_EQ(seen[2]->raw, masked(arrived.text));
    CHECK_EQ(seen[4]->raw, masked(call.ok.text));
    CHECK_EQ(seen[5]->raw, masked(ack.text()));
    CHECK_EQ(seen[6]->raw, masked(ack_there.text));
    for (std::size_t i = 0; i < seen.size(); ++i) {
        const auto& peer = i == 2 || i == 3 || i == 6 ? call.phone.address() : call.pbx.address();
        CHECK(seen[i]->peer == peer);
        CHECK(seen[i]->local == station.at());
        CHECK_EQ(seen[i]->call_id, call.ok.first("Call-ID"));
        CHECK(!seen[i]->device_register);
        CHECK(seen[i]->at >= (i == 0 ? 1000 : seen[i - 1]->at) && seen[i]->at < 1100);
    }
    CHECK(station.stack().take_captured().messages.empty());
}

TEST("capture: switched off it keeps nothing, and forgets what waited") {
    Station station;
    {
        Call call(station);
        call.answered();
    }
    CHECK(station.stack().take_captured().messages.empty());
    station.stack().capture(kMany, kLarge, 1000);
    Call call(station);
    station.stack().stop_capture();
    CHECK(station.stack().take_captured().messages.empty());
    call.answered();
    CHECK(station.stack().take_captured().messages.empty());
}

TEST("capture: what has no room is counted, and the calls go on; there is room again when it was taken") {
    Station station;
    station.stack().capture(2, kLarge, 1000);
    {
        Call call(station);
        call.answered();
    }
    auto batch = station.stack().take_captured();
    CHECK_EQ(batch.messages.size(), 2u);
    CHECK_EQ(batch.lost, 5u);
    Call call(station);
    batch = station.stack().take_captured();
    CHECK_EQ(batch.messages.size(), 1u);
    CHECK_EQ(batch.lost, 0u);

    station.stack().capture(kMany, 700, 1000);
    Call(station).answered();
    batch = station.stack().take_captured();
    CHECK_EQ(batch.messages.size(), 1u);
    CHECK_EQ(batch.lost, 6u);
    station.expect_alive();
}

TEST("capture: retransmissions are there as often as they came, and folded headers as they were") {
    Station station;
    station.stack().capture(kMany, kLarge, 1000);
    Call call(station, [](Draft& draft) { draft.add("X-Folded", "one\r\n two\r\n\tthree"); });
    station.reply(call.held, 180, "Ringing");
    call.pbx.expect("SIP/2.0 180");
    call.pbx.send(call.invite, station.at());
    call.pbx.expect("SIP/2.0 180");
    const auto batch = station.stack().take_captured();
    CHECK_EQ(batch.messages.size(), 4u);
    CHECK_EQ(batch.messages[0]->raw, masked(call.invite.text()));
    CHECK_EQ(batch.messages[2]->raw, masked(call.invite.text()));
    CHECK_EQ(batch.messages[3]->raw, batch.messages[1]->raw);
}

TEST("capture: devices' REGISTERs with their answers are copied; ours, OPTIONS and what is malformed are not") {
    Station station;
    station.stack().capture(kMany, kLarge, 1000);
    const Agent phone;
    const Agent registrar;
    phone.send(wire::request("REGISTER", "sip:127.0.0.1", phone), station.at());
    station.reply(station.fact(FactKind::request), 401, "Unauthorized");
    phone.expect("SIP/2.0 401");
    phone.send(wire::request("OPTIONS", station.uri("x"), phone), station.at());
    phone.expect("SIP/2.0 200");
    auto broken = wire::request("INVITE", station.uri("x"), phone);
    phone.send(broken.set("CSeq", "nonsense"), station.at());
    phone.expect("SIP/2.0 400");
    RequestOrder order;
    order.request = 1;
    order.method = "REGISTER";
    order.request_uri = "sip:127.0.0.1";
    order.from = "<sip:1@127.0.0.1>;tag=x";
    order.to = "<sip:1@127.0.0.1>";
    order.call_id = "ours";
    order.cseq = 1;
    order.destination = registrar.address();
    order.local = station.at();
    station.stack().order(order);
    registrar.send(wire::response(registrar.expect("REGISTER "), 200, "OK"), station.at());
    station.fact(FactKind::request_answered);
    const auto batch = station.stack().take_captured();
    CHECK_EQ(story(batch), std::string("< REGISTER\n> SIP/2.0 401\n"));
    for (const auto& message : batch.messages) CHECK(message->device_register);
}

TEST("capture: over TLS the messages are plain, with the connection's other end and the listener") {
    const Authority authority;
    const auto shown = authority.issue({"IP:127.0.0.1"});
    auto made = settings();
    made.listen = {{"127.0.0.1", 0, "udp"}, {"127.0.0.1", 0, "tls"}, {"127.0.0.1", 0, "tcp"}};
    made.tls = push_proxy::TlsFiles{shown.certificate, shown.key, shown.ca, true};
    Station station(made);
    station.stack().capture(kMany, kLarge, 1000);
    for (const std::size_t which : {1, 2}) {
        auto line = Line::connect(station.at(which));
        if (which == 1) line.start_tls({}, false);
        const auto asked = wire::request("REGISTER", "sip:127.0.0.1", line);
        line.send(asked);
        station.reply(station.fact(FactKind::request), 200, "OK");
        const auto answer = line.expect("SIP/2.0 200");
        const auto batch = station.stack().take_captured();
        CHECK_EQ(batch.messages.size(), 2u);
        CHECK_EQ(batch.messages[0]->raw, masked(asked.text()));
        CHECK_EQ(batch.messages[1]->raw, masked(answer.text));
        for (const auto& message : batch.messages) {
            CHECK_EQ(message->peer.text(), line.address().text());
            CHECK_EQ(message->peer.transport, std::string(which == 1 ? "tls" : "tcp"));
            CHECK(message->local == station.at(which));
        }
    }
}
