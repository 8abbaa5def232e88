// The duties of a proxy toward anybody: addresses, hops, loops, options (RFC 3261 16.3, RFC 3581, RFC 5393).
#include "check.hpp"
#include "station.hpp"

using namespace station;

TEST("with rport the answer goes to the source port and names it; without, to the port in the Via") {
    Station station;
    const Agent pbx;
    const Agent listener;
    auto options = wire::request("OPTIONS", station.uri("101"), pbx);
    options.set("Via", "SIP/2.0/UDP 10.255.255.1:9;rport;branch=z9hG4bKr1");
    pbx.send(options, station.at());
    const auto via = pbx.expect("SIP/2.0 200").first("Via");
    CHECK_EQ(wire::param(via, "received"), std::string("127.0.0.1"));
    CHECK_EQ(wire::param(via, "rport"), std::to_string(pbx.address().port));
    options.set("Via", "SIP/2.0/UDP " + listener.host_port() + ";branch=z9hG4bKr2");
    pbx.send(options, station.at());
    const auto plain = listener.expect("SIP/2.0 200");
    CHECK_EQ(plain.source.port, station.at().port);
    pbx.expect_silence(50);
    auto invite = wire::request("INVITE", station.uri("101"), pbx);
    invite.set("Via", "SIP/2.0/UDP " + listener.host_port() + ";branch=z9hG4bKr3");
    pbx.send(invite, station.at());
    station.reply(station.fact(FactKind::request), 486, "Busy Here");
    listener.expect("SIP/2.0 486");
    station.stop();
}

TEST("the answer leaves from the socket that the request came to, with rport or without") {
    auto with = settings();
    with.listen = {{"127.0.0.1", 0}, {"127.0.0.1", 0}, {"127.0.0.1", 0}};
    Station station(with);
    const Agent pbx;
    for (const std::size_t index : {0U, 1U, 2U}) {
        for (const bool rport : {true, false}) {
            auto invite = wire::request("INVITE", "sip:101@127.0.0.1", pbx);
            if (!rport) invite.set("Via", "SIP/2.0/UDP " + pbx.host_port() + ";branch=z9hG4bK" + wire::unique("s"));
            pbx.send(invite, station.at(index));
            const auto fact = station.fact(FactKind::request);
            CHECK_EQ(fact.local.port, station.at(index).port);
            station.reply(fact, 486, "Busy Here");
            CHECK_EQ(pbx.expect("SIP/2.0 486").source.port, station.at(index).port);
        }
    }
    station.stop();
}

TEST("OPTIONS to us is answered for any user, by any name of ours") {
    auto with = settings();
    with.own_hosts = {"Push.Example.com"};
    Station station(with);
    const Agent pbx;
    const auto port = std::to_string(station.at().port);
    for (const auto& uri :
         {station.uri("101") + ";pp=token", "sip:127.0.0.1:" + port, "sip:x@push.example.COM:" + port}) {
        pbx.send(wire::request("OPTIONS", uri, pbx), station.at());
        const auto ok = pbx.expect("SIP/2.0 200");
        CHECK(ok.first("Allow").find("INVITE") != std::string::npos);
    }
    pbx.send(wire::request("OPTIONS", "sip:x@elsewhere.example.com", pbx), station.at());
    CHECK_EQ(station.fact(FactKind::request).name, std::string("OPTIONS"));
    station.stop();
}

TEST("Max-Forwards 0 gets 483, but not for what ends at us") {
    Station station;
    const Agent pbx;
    pbx.send(wire::request("INVITE", station.uri("101"), pbx).set("Max-Forwards", "0"), station.at());
    pbx.expect("SIP/2.0 483");
    pbx.send(wire::request("OPTIONS", station.uri("101"), pbx).set("Max-Forwards", "0"), station.at());
    pbx.expect("SIP/2.0 200");
    pbx.send(wire::request("REGISTER", "sip:pbx.example.com", pbx).set("Max-Forwards", "0"), station.at());
    CHECK_EQ(station.fact(FactKind::request).name, std::string("REGISTER"));
    pbx.send(wire::request("INVITE", station.uri("101"), pbx).drop("Max-Forwards"), station.at());
    station.fact(FactKind::request);
    station.stop();
}

TEST("an INVITE that comes back unchanged is a loop (482); with another Request-URI it is a spiral and welcome") {
    Station station;
    Call call(station);
    const auto arrived = call.fork();
    auto back = call.invite;
    back.headers.clear();
    back.add("Via", "SIP/2.0/UDP " + call.pbx.host_port() + ";rport;branch=z9hG4bKback");
    for (const auto& via : arrived.all("Via")) back.add("Via", via);
    for (const auto& [name, value] : call.invite.headers)
        if (name != "Via") back.add(name, value);
    while (call.pbx.receive(200)) {
    }
    call.pbx.send(back, station.at());
    call.pbx.expect("SIP/2.0 482");
    back.start = "INVITE " + station.uri("102") + " SIP/2.0";
    back.headers[0].second += "2";
    call.pbx.send(back, station.at());
    CHECK_EQ(station.fact(FactKind::request).request_uri, station.uri("102"));
    station.stop();
}

TEST("a Route that names somebody else out of a dialog gets 403, also behind one that names us") {
    Station station;
    const Agent stranger;
    const auto own = "<sip:127.0.0.1:" + std::to_string(station.at().port) + ";lr>";
    stranger.send(wire::request("INVITE", station.uri("1"), stranger).add("Route", "<sip:victim.example.com;lr>"),
                  station.at());
    stranger.expect("SIP/2.0 403");
    stranger.send(
        wire::request("MESSAGE", station.uri("1"), stranger).add("Route", own).add("Route", "<sip:127.0.0.2:5060;lr>"),
        station.at());
    stranger.expect("SIP/2.0 403");
    stranger.send(wire::request("MESSAGE", station.uri("1"), stranger).add("Route", own), station.at());
    station.fact(FactKind::request);
    station.stop();
}

TEST("an extension that we do not know in Proxy-Require gets 420 and is named (RFC 3261 16.3)") {
    Station station;
    const Agent pbx;
    pbx.send(
        wire::request("INVITE", station.uri("1"), pbx).add("Proxy-Require", "privacy, foo").add("Proxy-Require", "bar"),
        station.at());
    CHECK_EQ(pbx.expect("SIP/2.0 420").first("Unsupported"), std::string("foo, bar"));
    pbx.send(wire::request("INVITE", station.uri("1"), pbx).add("Proxy-Require", "privacy"), station.at());
    station.fact(FactKind::request);
    station.stop();
}

TEST("when the fact queue is full new requests get 503 with Retry-After, calls in hand go on") {
    auto with = settings();
    with.queue_limit = 40;
    Station station(with);
    Call call(station);
    call.answered();
    const Agent pbx;
    for (int i = 0; i < 40; ++i) {
        pbx.send(wire::request("MESSAGE", station.uri("1"), pbx), station.at());
    }
    pbx.send(wire::request("INVITE", station.uri("1"), pbx), station.at());
    const auto refused = pbx.expect("SIP/2.0 503");
    CHECK_EQ(refused.first("Retry-After"), std::string("5"));
    call.pbx.send(call.from_pbx("BYE", 2), station.at());
    call.phone.send(wire::response(call.phone.expect("BYE "), 200, "OK"), station.at());
    call.pbx.expect("SIP/2.0 200");
    station.fact(FactKind::dialog_ended);
    pbx.send(wire::request("MESSAGE", station.uri("1"), pbx), station.at());
    pbx.expect_silence(50);  // drained: taken again
    CHECK_EQ(station.counter("rejected.overloaded"), 1U);
    CHECK_EQ(station.counter("shed.INVITE"), 1U);
    station.stop();
}

TEST("a whole call over IPv6") {
    auto with = settings();
    with.listen = {{"::1", 0}};
    with.public_host = "::1";
    Station station(with);
    const Agent pbx("::1");
    const Agent phone("::1");
    const auto invite = wire::request("INVITE", "sip:101@[::1]:" + std::to_string(station.at().port), pbx);
    pbx.send(invite, station.at());
    const auto fact = station.fact(FactKind::request);
    CHECK_EQ(fact.source.host, std::string("::1"));
    push_proxy::Rewrite rewrite;
    rewrite.request_uri = "sip:101@" + phone.host_port();
    rewrite.destination = phone.address();
    rewrite.local = station.at();
    rewrite.call = kCall;
    rewrite.route_key = kRoute;
    station.stack().order(push_proxy::ForkOrder{fact.txn, 1, rewrite});
    const auto arrived = phone.expect("INVITE sip:101@[::1]:");
    CHECK(arrived.first("Via").starts_with("SIP/2.0/UDP [::1]:" + std::to_string(station.at().port) + ";"));
    CHECK(arrived.first("Record-Route").find("@[::1]:") != std::string::npos);
    phone.send(wire::response(arrived, 200, "OK", "t").add("Contact", "<sip:101@" + phone.host_port() + ">"),
               station.at());
    station.relay(station.fact(FactKind::branch_response));
    auto ok = pbx.receive(1000);
    while (ok && ok->status() == 100) ok = pbx.receive(1000);
    CHECK(ok && ok->status() == 200);
    auto bye = wire::request("BYE", "sip:200@" + pbx.host_port(), phone);
    bye.set("From", ok->first("To")).set("To", ok->first("From")).set("Call-ID", ok->first("Call-ID"));
    phone.send(bye.add("Route", ok->first("Record-Route")), station.at());
    pbx.expect("BYE ");
    CHECK_EQ(station.fact(FactKind::dialog_ended).text, kCall);
    station.stop();
}
