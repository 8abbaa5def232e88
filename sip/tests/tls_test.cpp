// TLS: whom we believe and what we show (RFC 5922), reloaded without a restart.
#include <openssl/x509v3.h>

#include "authority.hpp"
#include "check.hpp"
#include "station.hpp"

using namespace station;
using push_proxy::ForkOrder;
using push_proxy::RequestOrder;
using push_proxy::TlsFiles;
using wire::Authority;
using wire::Door;
using wire::Identity;
using wire::Line;

namespace {

TlsFiles files(const Identity& identity) { return {identity.certificate, identity.key, identity.ca, true}; }

push_proxy::Settings tls_settings(const Authority& authority, const Identity& shown) {
    auto made = settings();
    made.listen = {{"127.0.0.1", 0, "udp"}, {"127.0.0.1", 0, "tls"}};
    made.tls = files(shown);
    made.tls_clients[""] = {"", "", authority.ca(), true};
    made.connect_timeout_ms = 1000;
    made.first_message_ms = 1000;
    return made;
}

Line phone_at(Station& station, const Identity& identity) {
    auto line = Line::connect(station.at(1));
    line.start_tls(identity, false);
    return line;
}

Fact heard(Station& station, const Line& line, const std::string& method = "REGISTER") {
    line.send(wire::request(method, "sips:127.0.0.1", line));
    return station.fact(FactKind::request);
}

RequestOrder options_to(const Address& to, const Station& station, const std::string& name = "",
                        const std::string& profile = "") {
    RequestOrder order;
    order.request = 7;
    order.method = "OPTIONS";
    order.request_uri = "sip:" + to.host + ":" + std::to_string(to.port) + ";transport=tls";
    order.from = "<sip:pp@127.0.0.1>;tag=x";
    order.to = "<sip:127.0.0.1>";
    order.call_id = wire::unique("options");
    order.cseq = 1;
    order.destination = to;
    order.local = station.at(1);
    order.server_name = name;
    order.tls_profile = profile;
    return order;
}

// What became of a request to a TLS server that shows `identity`.
Fact asked(Station& station, const Door& door, const Identity& identity, const RequestOrder& order,
           std::string* sni = nullptr) {
    station.stack().order(order);
    auto line = door.accept();
    try {
        line.start_tls(identity, true);
        const char* name = SSL_get_servername(line.ssl(), TLSEXT_NAMETYPE_host_name);
        if (sni) *sni = name ? name : "";
        if (const auto options = line.receive(1500)) line.send(wire::response(*options, 200, "OK", "t"));
    } catch (const check::Failure&) {
        // The stack refuses this server; its fact says why.
    }
    return station.fact(FactKind::request_answered);
}

}  // namespace

TEST("TLS: a phone without a certificate registers, is called on its connection, and hears sips as TLS") {
    const Authority authority;
    Station station(tls_settings(authority, authority.issue({"DNS:proxy.example.com"})));
    const auto phone = phone_at(station, {"", "", authority.ca()});
    const auto registered = heard(station, phone);
    CHECK_EQ(registered.source.transport, std::string("tls"));
    CHECK_EQ(registered.local.transport, std::string("tls"));
    CHECK(registered.peer_names.empty());
    station.reply(registered, 200, "OK");
    phone.expect("SIP/2.0 200");
    Call call(station);
    auto rewrite = call.rewrite(call.phone);
    rewrite.request_uri = "sips:101@" + phone.host_port();
    rewrite.destination = phone.address();
    station.stack().order(ForkOrder{call.held.txn, 1, rewrite});
    const auto invite = phone.expect("INVITE sips:101@");
    CHECK(invite.first("Via").starts_with("SIP/2.0/TLS 127.0.0.1:" + std::to_string(station.at(1).port)));
    CHECK(
        invite.all("Record-Route").front().ends_with(":" + std::to_string(station.at(1).port) + ";transport=tls;lr>"));
    phone.send(wire::response(invite, 486, "Busy", "t"));
    phone.expect("ACK ");
    CHECK_EQ(station.fact(FactKind::branch_response).status, 486);
    station.stop();
}

TEST("TLS: a trunk peer is told by the names in its certificate, and only by those of a verified one") {
    const Authority authority;
    const Authority other;
    Station station(tls_settings(authority, authority.issue({"DNS:proxy.example.com"})));
    const auto names_of = [&](const Identity& identity) {
        const auto line = phone_at(station, identity);
        return heard(station, line, "INVITE").peer_names;
    };
    using Names = std::vector<std::string>;
    CHECK(names_of(authority.issue({"DNS:PBX.example.com", "URI:sip:trunk.example.com", "IP:10.0.0.1"})) ==
          (Names{"pbx.example.com", "trunk.example.com"}));
    CHECK(names_of(authority.issue({}, "old.example.com")) == Names{"old.example.com"});
    CHECK(names_of(authority.issue({"URI:sip:boss@example.com", "DNS:x.example.com"}, "cn.example.com")) ==
          Names{"x.example.com"});
    // Shown, but not from whom we believe, or too late: the connection ends.
    for (const auto& bad :
         {other.issue({"DNS:pbx.example.com"}), authority.issue({"DNS:pbx.example.com"}, "x", -3, -1)}) {
        auto line = Line::connect(station.at(1));
        try {
            line.start_tls({bad.certificate, bad.key, authority.ca()}, false);
            line.send(wire::request("OPTIONS", "sips:127.0.0.1", line));
        } catch (const check::Failure&) {
            // In TLS 1.3 the refusal may come before or after this side is done.
        }
        line.expect_closed();
    }
    station.expect_none(FactKind::request, 50);
    CHECK_EQ(station.counter("rejected.tls"), 2U);
    CHECK(station.fact(FactKind::log).text.find("does not verify") != std::string::npos);
    station.stop();
}

TEST("TLS: a PBX is believed when its certificate verifies and names it, by DNS name, SIP URI, address or CN") {
    const Authority authority;
    Station station(tls_settings(authority, authority.issue({"DNS:proxy.example.com"})));
    const auto believed = [&](const Identity& identity, const std::string& name) {
        const Door door("tls");
        std::string sni;
        CHECK_EQ(asked(station, door, identity, options_to(door.address(), station, name), &sni).status, 200);
        CHECK_EQ(sni, name);
    };
    believed(authority.issue({"DNS:pbx.example.com"}), "pbx.example.com");
    believed(authority.issue({"URI:sip:PBX.example.com"}), "pbx.example.com");
    believed(authority.issue({"IP:127.0.0.1"}), "");
    believed(authority.issue({}, "pbx.example.com"), "pbx.example.com");
    station.stop();
}

TEST("TLS: a certificate of another name, authority or time is a 503 that says so, and nothing is sent") {
    const Authority authority;
    const Authority other;
    Station station(tls_settings(authority, authority.issue({"DNS:proxy.example.com"})));
    const auto refused = [&](const Identity& identity, const std::string& why) {
        const Door door("tls");
        const auto fact = asked(station, door, identity, options_to(door.address(), station, "pbx.example.com"));
        CHECK_EQ(fact.status, 503);
        CHECK(fact.flag);
        if (fact.text.find(why) == std::string::npos) throw check::Failure("not '" + why + "': " + fact.text);
        CHECK(fact.text.starts_with("TLS: "));
        CHECK_EQ(station.fact(FactKind::flow_lost).text, fact.text);
    };
    refused(authority.issue({"DNS:other.example.com"}), "names other.example.com, not pbx.example.com");
    refused(authority.issue({"DNS:*.example.com"}), "names *.example.com, not pbx.example.com");
    refused(authority.issue({"DNS:other.example.com"}, "pbx.example.com"), "not pbx.example.com");
    refused(authority.issue({"IP:127.0.0.1"}), "names 127.0.0.1, not pbx.example.com");
    refused(other.issue({"DNS:pbx.example.com"}), "does not verify");
    refused(authority.issue({"DNS:pbx.example.com"}, "x", -3, -1), "expired");
    refused(authority.issue({"DNS:pbx.example.com"}, "x", 1, 3), "not yet valid");
    station.expect_empty();
    station.stop();
}

TEST("TLS: profiles have authorities, certificates and verification of their own; connections are not shared") {
    const Authority authority;
    const Authority other;
    auto with = tls_settings(authority, authority.issue({"DNS:proxy.example.com"}));
    const auto ours = other.issue({"DNS:proxy.example.com"});
    with.tls_clients["strict"] = {ours.certificate, ours.key, other.ca(), true};
    with.tls_clients["lax"] = {"", "", "", false};
    Station station(with);
    const auto theirs = other.issue({"DNS:pbx.example.com"});
    const Door door("tls");
    station.stack().order(options_to(door.address(), station, "pbx.example.com", "strict"));
    auto line = door.accept();
    line.start_tls(theirs, true);  // asks for a certificate, and verifies it
    line.send(wire::response(line.expect("OPTIONS "), 200, "OK", "t"));
    CHECK_EQ(station.fact(FactKind::request_answered).status, 200);
    const Identity anything = authority.issue({"DNS:whatever"});
    CHECK_EQ(asked(station, door, {anything.certificate, anything.key, ""},
                   options_to(door.address(), station, "pbx.example.com", "lax"))
                 .status,
             200);
    CHECK_EQ(asked(station, door, theirs, options_to(door.address(), station, "pbx.example.com")).status, 503);
    auto unknown = options_to(door.address(), station, "pbx.example.com", "nobody");
    station.stack().order(unknown);
    CHECK_EQ(station.fact(FactKind::request_answered).text, std::string("TLS: there is no profile 'nobody'"));
    station.stop();
}

TEST("TLS: a PBX that accepts and says nothing, or no TLS at all, is a 503 in time") {
    const Authority authority;
    Station station(tls_settings(authority, authority.issue({"DNS:proxy.example.com"})));
    const Door door("tls");
    station.stack().order(options_to(door.address(), station, "pbx.example.com"));
    const auto silent = door.accept();
    auto fact = station.fact(FactKind::request_answered, 2500);
    CHECK_EQ(fact.status, 503);
    CHECK(fact.text.starts_with("TLS: no handshake within"));
    station.stack().order(options_to(door.address(), station, "pbx.example.com"));
    const auto plain = door.accept();
    plain.send("SIP/2.0 400 What?\r\n\r\n");
    fact = station.fact(FactKind::request_answered, 2500);
    CHECK_EQ(fact.status, 503);
    CHECK(fact.text.starts_with("TLS: "));
    station.stop();
}

TEST("TLS: certificates are read again for new connections; those that stand are not touched") {
    const Authority authority;
    const auto shown = authority.issue({"DNS:old.example.com"});
    auto with = tls_settings(authority, shown);
    Station station(with);
    const auto subject = [](const Line& line) {
        auto* certificate = SSL_get1_peer_certificate(line.ssl());
        const bool old = X509_check_host(certificate, "old.example.com", 0, 0, nullptr) == 1;
        X509_free(certificate);
        return std::string(old ? "old" : "new");
    };
    const auto standing = phone_at(station, {"", "", authority.ca()});
    CHECK_EQ(subject(standing), std::string("old"));
    authority.replace(shown, {"DNS:new.example.com"});
    station.stack().renew_tls(with.tls, with.tls_clients);
    station.carried_out();
    CHECK_EQ(subject(phone_at(station, {"", "", authority.ca()})), std::string("new"));
    station.reply(heard(station, standing), 200, "OK");
    standing.expect("SIP/2.0 200");
    // Files that cannot be used change nothing.
    const auto refuse = [&](const std::function<void(push_proxy::Settings&)>& change, const std::string& why) {
        auto bad = with;
        change(bad);
        try {
            station.stack().renew_tls(bad.tls, bad.tls_clients);
        } catch (const std::invalid_argument& error) {
            if (std::string(error.what()).find(why) == std::string::npos) throw;
            return;
        }
        throw check::Failure("accepted, though " + why);
    };
    refuse([](auto& s) { s.tls->certificate = "/nonexistent.pem"; }, "/nonexistent.pem: No such file");
    refuse([](auto& s) { s.tls->key = "/nonexistent.key"; }, "/nonexistent.key: No such file");
    refuse([&](auto& s) { s.tls->key = authority.issue({}).key; }, "does not belong to");
    refuse([&](auto& s) { s.tls->certificate = authority.file("rubbish.pem", "rubbish"); }, "rubbish.pem");
    refuse([](auto& s) { s.tls_clients["pbx"] = {"", "", "/nonexistent.ca", true}; }, "/nonexistent.ca");
    CHECK_EQ(subject(phone_at(station, {"", "", authority.ca()})), std::string("new"));
    station.stop();
    auto bad = with;
    bad.tls->certificate = "/nonexistent.pem";
    try {
        Station never(bad);
        CHECK(false);
    } catch (const std::invalid_argument& error) {
        CHECK(std::string(error.what()).find("/nonexistent.pem") != std::string::npos);
    }
}

TEST("TLS: nothing older than TLS 1.2 is spoken; a client that stops in the handshake is closed in time") {
    const Authority authority;
    Station station(tls_settings(authority, authority.issue({"DNS:proxy.example.com"})));
    auto silent = Line::connect(station.at(1));
    auto line = Line::connect(station.at(1));
    auto* context = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_security_level(context, 0);
    SSL_CTX_set_min_proto_version(context, TLS1_VERSION);
    SSL_CTX_set_max_proto_version(context, TLS1_1_VERSION);
    auto* ssl = SSL_new(context);
    SSL_set_fd(ssl, line.fd());
    CHECK(SSL_connect(ssl) != 1);
    SSL_free(ssl);
    SSL_CTX_free(context);
    line.expect_closed();
    silent.expect_closed(2500);
    station.stop();
}

TEST("TLS: 60 kB pass whole, in and out, in as many records as it takes") {
    const Authority authority;
    Station station(tls_settings(authority, authority.issue({"DNS:proxy.example.com"})));
    const auto phone = phone_at(station, {"", "", authority.ca()});
    station.reply(heard(station, phone), 200, "OK");
    phone.expect("SIP/2.0 200");
    const std::string sdp(60'000, 'a');
    const auto pbx = phone_at(station, {"", "", authority.ca()});
    pbx.send(wire::request("INVITE", "sips:101@127.0.0.1", pbx).with("application/sdp", sdp));
    const auto held = station.fact(FactKind::request);
    CHECK(held.raw.ends_with(sdp));
    push_proxy::Rewrite rewrite;
    rewrite.request_uri = "sips:101@" + phone.host_port();
    rewrite.destination = phone.address();
    rewrite.local = station.at(1);
    rewrite.route_key = kRoute;
    station.stack().order(ForkOrder{held.txn, 1, rewrite});
    const auto invite = phone.expect("INVITE ");
    CHECK_EQ(invite.body().size(), sdp.size());
    CHECK(invite.body() == sdp);
    phone.send(wire::response(invite, 200, "OK", "t").with("application/sdp", sdp));
    station.relay(station.fact(FactKind::branch_response));
    CHECK(pbx.expect("SIP/2.0 200").body() == sdp);
    station.stop();
}
