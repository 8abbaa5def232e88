// Byte streams as they are: split, joined, malformed, hostile, half-dead.
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "check.hpp"
#include "framing.hpp"
#include "line.hpp"
#include "station.hpp"

using namespace station;
using push_proxy::Framer;
using wire::Line;

namespace {

push_proxy::Settings stream_settings() {
    auto made = settings();
    made.listen = {{"127.0.0.1", 0, "udp"}, {"127.0.0.1", 0, "tcp"}};
    made.first_message_ms = 700;
    made.connect_timeout_ms = 700;
    return made;
}

std::string options(const Line& line) { return wire::request("OPTIONS", "sip:127.0.0.1", line).text(); }

void expect_alive(Station& station) {
    const auto line = Line::connect(station.at(1));
    auto draft = wire::request("OPTIONS", "sip:127.0.0.1:" + std::to_string(station.at(1).port), line);
    line.send(draft);
    line.expect("SIP/2.0 200");
}

}  // namespace

TEST("streams: messages are found however the bytes are cut") {
    const std::string first = "OPTIONS sip:a SIP/2.0\r\nl: 5\r\n\r\n12345";
    const std::string second = "BYE sip:b SIP/2.0\r\nContent-Length : 0\r\n\r\n";
    const auto all = "\r\n\r\n" + first + second + "\r\n" + first;
    for (std::size_t piece = 1; piece <= all.size(); ++piece) {
        Framer framer;
        std::vector<std::string> found;
        int pings = 0;
        for (std::size_t at = 0; at < all.size(); at += piece) {
            framer.add(std::string_view(all).substr(at, piece));
            for (;;) {
                const auto next = framer.next();
                CHECK(next != Framer::Found::broken);
                if (next == Framer::Found::nothing) break;
                if (next == Framer::Found::ping) {
                    ++pings;
                } else {
                    found.emplace_back(framer.message());
                }
            }
        }
        CHECK_EQ(pings, 1);
        CHECK(found == (std::vector<std::string>{first, second, first}));
        CHECK(!framer.partial());
    }
}

TEST("streams: what has no end that can be told is broken; a huge length, number or header is not waited for") {
    const auto fault = [](const std::string& bytes) -> std::string {
        Framer framer;
        for (std::size_t at = 0; at < bytes.size(); at += 1000) {
            framer.add(std::string_view(bytes).substr(at, 1000));
            const auto found = framer.next();
            if (found == Framer::Found::broken) return framer.fault();
            CHECK(found == Framer::Found::nothing);
        }
        return "";
    };
    const std::string start = "MESSAGE sip:a SIP/2.0\r\n";
    CHECK_EQ(fault(start + "\r\n"), std::string("400 Content-Length Missing Or Wrong"));
    for (const auto* length : {"-1", "x", "", "99999999999999999999"})
        CHECK_EQ(fault(start + "Content-Length: " + length + "\r\n\r\n"),
                 std::string("400 Content-Length Missing Or Wrong"));
    CHECK_EQ(fault(start + "Content-Length: 65536\r\n\r\n"), std::string("513 Message Too Large"));
    CHECK_EQ(fault(start + "Content-Length: 18446744073709551615\r\n\r\n"), std::string("513 Message Too Large"));
    CHECK_EQ(fault(start + "X: " + std::string(70'000, 'x')), std::string("400 Headers Too Large"));
    CHECK_EQ(fault(std::string(70'000, 'x')), std::string("400 Headers Too Large"));
    CHECK_EQ(fault(start + "Content-Length: 60000\r\n\r\n" + std::string(100, 'x')), std::string(""));
}

TEST("streams: split and joined messages are all answered, in order; CRLF CRLF gets CRLF") {
    Station station(stream_settings());
    const auto at = "sip:127.0.0.1:" + std::to_string(station.at(1).port);
    const auto line = Line::connect(station.at(1));
    std::string all;
    for (int i = 1; i <= 5; ++i)
        all += wire::request("OPTIONS", at, line).set("CSeq", std::to_string(i) + " OPTIONS").text();
    line.send(all);
    for (int i = 1; i <= 5; ++i) CHECK_EQ(line.expect("SIP/2.0 200").first("CSeq"), std::to_string(i) + " OPTIONS");
    const auto text = wire::request("OPTIONS", at, line).with("text/plain", "12345").text();
    for (const char byte : text) line.send(std::string(1, byte));
    line.expect("SIP/2.0 200");
    line.send("\r\n\r\n");
    CHECK_EQ(line.bytes(2), std::string("\r\n"));
    line.send("\r\n");
    line.send("\r\n" + text);
    CHECK_EQ(line.bytes(2), std::string("\r\n"));
    line.expect("SIP/2.0 200");
    CHECK_EQ(station.counter("rejected.malformed"), 0U);
    station.stop();
}

TEST("streams: a malformed message gets 400 and the connection lives; lost framing ends it") {
    Station station(stream_settings());
    const auto at = "sip:127.0.0.1:" + std::to_string(station.at(1).port);
    auto line = Line::connect(station.at(1));
    line.send(wire::request("INVITE", at, line).add("Expires", "soon").text() +
              wire::request("OPTIONS", at, line).text());
    line.expect("SIP/2.0 400 Malformed Message");
    line.expect("SIP/2.0 200");
    line.send(wire::request("INVITE", at, line).set("Call-ID", ""));
    line.expect("SIP/2.0 400");
    const auto invite = wire::request("INVITE", at, line);
    auto without = invite.text();
    without.erase(without.find("Content-Length"), std::string("Content-Length: 0\r\n").size());
    line.send(without + wire::request("OPTIONS", at, line).text());
    CHECK_EQ(line.expect("SIP/2.0 400 Content-Length").branch(), wire::param(invite.headers[0].second, "branch"));
    line.expect_closed();
    auto large = Line::connect(station.at(1));
    large.send(wire::request("INVITE", at, large).set("Content-Length", "2147483648"));
    large.expect("SIP/2.0 513 Message Too Large");
    large.expect_closed();
    auto web = Line::connect(station.at(1));
    web.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    web.expect_closed();
    station.expect_none(FactKind::request, 50);
    expect_alive(station);
    station.stop();
}

TEST("streams: who says nothing whole in time is closed, slowly dripping or not; who has spoken may rest") {
    Station station(stream_settings());
    auto rests = Line::connect(station.at(1));
    rests.send(wire::request("OPTIONS", "sip:127.0.0.1:" + std::to_string(station.at(1).port), rests));
    rests.expect("SIP/2.0 200");
    auto silent = Line::connect(station.at(1));
    auto pings = Line::connect(station.at(1));
    auto drips = Line::connect(station.at(1));
    const auto text = options(drips);
    for (int i = 0; i < 8; ++i) {
        drips.send(text.substr(static_cast<std::size_t>(i), 1));
        pings.send("\r\n\r\n");
        CHECK_EQ(pings.bytes(2), std::string("\r\n"));
        rests.expect_silence(20);
    }
    drips.expect_closed(2000);
    silent.expect_closed(2000);
    pings.expect_closed(2000);
    rests.expect_silence(50);
    rests.send(text.substr(0, 40));  // and then the same holds for what it begins
    rests.expect_closed(2000);
    station.stop();
}

TEST("streams: connections are limited per source and in total; those that end make room") {
    auto with = stream_settings();
    with.max_connections = 4;
    with.max_connections_per_source = 3;
    with.first_message_ms = 30'000;
    Station station(with);
    const auto alive = [&](const Line& line) {
        line.send(wire::request("OPTIONS", "sip:127.0.0.1:" + std::to_string(station.at(1).port), line));
        line.expect("SIP/2.0 200");
    };
    std::vector<Line> lines;
    for (int i = 0; i < 3; ++i) {
        lines.push_back(Line::connect(station.at(1)));
        alive(lines.back());
    }
    auto fourth = Line::connect(station.at(1));
    fourth.expect_closed();
    CHECK(station.fact(FactKind::log).text.find("too many connections from there") != std::string::npos);
    lines.push_back(Line::connect(station.at(1), "127.0.0.2"));
    alive(lines.back());
    auto fifth = Line::connect(station.at(1), "127.0.0.3");
    fifth.expect_closed();
    CHECK_EQ(station.counter("rejected.connection"), 2U);
    lines.front().close();
    station.fact(FactKind::flow_lost);
    alive(Line::connect(station.at(1)));
    station.stop();
}

TEST("streams: a side that does not read is let go, and the others are served meanwhile") {
    auto with = stream_settings();
    Station station(with);
    const auto at = "sip:127.0.0.1:" + std::to_string(station.at(1).port);
    auto deaf = Line::connect(station.at(1));
    const int small = 4096;
    setsockopt(deaf.fd(), SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    const auto text = wire::request("OPTIONS", at, deaf).add("Via", "SIP/2.0/TCP " + std::string(30'000, 'x')).text();
    bool gone = false;
    for (int i = 0; i < 2000 && !gone; ++i) {
        try {
            deaf.send(text);
        } catch (const check::Failure&) {
            gone = true;  // reset by the station
        }
    }
    CHECK(gone);
    expect_alive(station);
    station.stop();
}

TEST("streams: connections toward a PBX are pinged at rest, and its pong is no ping") {
    auto with = stream_settings();
    with.ping_ms = 300;
    Station station(with);
    const wire::Door pbx;
    push_proxy::RequestOrder order;
    order.request = 1;
    order.method = "OPTIONS";
    order.request_uri = "sip:" + pbx.host_port();
    order.from = "<sip:a@127.0.0.1>;tag=1";
    order.to = "<sip:b@127.0.0.1>";
    order.call_id = "ping";
    order.cseq = 1;
    order.destination = pbx.address();
    order.local = station.at(1);
    station.stack().order(order);
    const auto line = pbx.accept();
    line.send(wire::response(line.expect("OPTIONS "), 200, "OK", "t"));
    for (int i = 0; i < 3; ++i) {
        CHECK_EQ(line.bytes(4, 2000), std::string("\r\n\r\n"));
        line.send("\r\n");
    }
    CHECK_EQ(line.bytes(2, 100), std::string(""));
    station.stop();
}

TEST("streams: rubbish of every kind on many connections harms nobody") {
    auto with = stream_settings();
    Station station(with);
    unsigned seed = 4711;
    const auto next = [&] { return seed = seed * 1664525U + 1013904223U; };
    for (int round = 0; round < 60; ++round) {
        const auto line = Line::connect(station.at(1));
        auto text = wire::request("INVITE", "sip:127.0.0.1", line).with("application/sdp", "v=0\r\n").text();
        for (unsigned i = 0; i < 1 + next() % 8; ++i) text[next() % text.size()] = static_cast<char>(next() >> 8);
        if (round % 3 == 0) text.resize(next() % text.size());
        try {
            line.send(text);
            line.send(text);
        } catch (const check::Failure&) {
            // closed already
        }
    }
    expect_alive(station);
    station.stop();
}

TEST("streams: thousands of pings in one piece are answered in few packets") {
    Station station(stream_settings());
    const auto line = Line::connect(station.at(1));
    constexpr std::size_t kPings = 8000;
    std::string pings;
    for (std::size_t i = 0; i < kPings; ++i) pings += "\r\n\r\n";
    line.send(pings);
    CHECK_EQ(line.bytes(2 * kPings).size(), 2 * kPings);
    tcp_info info{};
    socklen_t size = sizeof info;
    CHECK_EQ(getsockopt(line.fd(), IPPROTO_TCP, TCP_INFO, &info, &size), 0);
    CHECK(info.tcpi_data_segs_in < 500);
    station.stop();
}
