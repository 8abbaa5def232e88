// Dialogs whose sides have different transports (RFC 5658), and the connections they use (RFC 5923).
#include "authority.hpp"
#include "check.hpp"
#include "station.hpp"
#include "token.hpp"

using namespace station;
using push_proxy::ForkOrder;
using push_proxy::RequestOrder;
using wire::Authority;
using wire::Door;
using wire::Line;

namespace {

struct Scene {
    explicit Scene(const std::vector<Address>& listen = {{"127.0.0.1", 0, "tcp"}, {"127.0.0.1", 0, "tls"}})
        : with(settings()) {
        with.listen = listen;
        with.connect_timeout_ms = 700;
        const auto shown = authority.issue({"DNS:proxy.example.com"});
        with.tls = {shown.certificate, shown.key, authority.ca(), true};
        with.tls_clients[""] = {"", "", authority.ca(), true};
        with.tls_clients["pbx"] = {"", "", trunk.ca(), true};
    }
    Authority authority;
    Authority trunk;
    push_proxy::Settings with;
};

// A dialog between a PBX on TCP (which listens at a door) and a phone on TLS.
struct Dialog {
    Dialog(Scene& in, Station& at)
        : scene(in), station(at), pbx(Line::connect(at.at(0))), phone(Line::connect(at.at(1))) {
        phone.start_tls({"", "", scene.authority.ca()}, false);
        phone.send(wire::request("REGISTER", "sip:127.0.0.1", phone));
        station.reply(station.fact(FactKind::request), 200, "OK");
        phone.expect("SIP/2.0 200");
    }

    void establish(const std::string& contact = "") {
        auto draft = wire::request("INVITE", "sip:101@127.0.0.1:" + std::to_string(station.at(0).port), pbx);
        draft.set("Contact", contact.empty() ? "<sip:200@" + door.host_port() + ";transport=tcp>" : contact);
        // A proxy's connection is not where it listens: its Via says that.
        draft.set("Via", "SIP/2.0/TCP " + door.host_port() + ";branch=z9hG4bK" + wire::unique("d"));
        pbx.send(draft);
        const auto held = station.fact(FactKind::request);
        push_proxy::Rewrite rewrite;
        rewrite.request_uri = "sip:101@" + phone.host_port() + ";transport=tls";
        rewrite.destination = phone.address();
        rewrite.local = station.at(1);
        rewrite.call = kCall;
        rewrite.route_key = kRoute;
        station.stack().order(ForkOrder{held.txn, 1, rewrite});
        invite = phone.expect("INVITE ");
        routes = invite.all("Record-Route");
        phone.send(wire::response(invite, 200, "OK", "tag").add("Contact", "<sip:101@" + phone.host_port() + ">"));
        station.relay(station.fact(FactKind::branch_response));
        ok = pbx.expect("SIP/2.0 200");
        CHECK(ok.all("Record-Route") == routes);
    }

    Draft from_phone(const std::string& method, int cseq) const {
        auto draft = wire::request(method, "sip:200@" + door.host_port() + ";transport=tcp", phone);
        draft.set("From", ok.first("To")).set("To", ok.first("From")).set("Call-ID", ok.first("Call-ID"));
        draft.set("CSeq", std::to_string(cseq) + " " + method);
        for (const auto& route : routes) draft.add("Route", route);
        return draft;
    }

    Draft from_pbx(const std::string& method, int cseq) const {
        auto draft = wire::request(method, "sip:101@" + phone.host_port(), pbx);
        draft.set("From", ok.first("From")).set("To", ok.first("To")).set("Call-ID", ok.first("Call-ID"));
        draft.set("CSeq", std::to_string(cseq) + " " + method);
        for (auto route = routes.rbegin(); route != routes.rend(); ++route) draft.add("Route", *route);
        return draft;
    }

    Scene& scene;
    Station& station;
    Door door;
    Line pbx;
    Line phone;
    Message invite;
    Message ok;
    std::vector<std::string> routes;
};

}  // namespace

TEST("two transports: each side comes back by its own, and the PBX is called where it listens") {
    const FastTimers fast;
    Scene scene;
    Station station(scene.with);
    Dialog dialog(scene, station);
    dialog.establish();
    CHECK_EQ(dialog.routes.size(), 2U);
    CHECK(dialog.routes[0].ends_with(":" + std::to_string(station.at(1).port) + ";transport=tls;lr>"));
    CHECK(dialog.routes[1].ends_with(":" + std::to_string(station.at(0).port) + ";transport=tcp;lr>"));
    dialog.pbx.send(dialog.from_pbx("ACK", 1));
    CHECK(dialog.phone.expect("ACK ").all("Route").empty());
    dialog.pbx.send(dialog.from_pbx("INFO", 2));
    const auto info = dialog.phone.expect("INFO ");
    CHECK(info.all("Route").empty());
    dialog.phone.send(wire::response(info, 200, "OK"));
    dialog.pbx.expect("SIP/2.0 200");
    // RFC 5923: the PBX's connection is for its own requests, so another one is opened, once.
    dialog.phone.send(dialog.from_phone("INFO", 3));
    const auto ours = dialog.door.accept();
    auto arrived = ours.expect("INFO ");
    CHECK(arrived.all("Route").empty());
    CHECK(arrived.first("Via").starts_with("SIP/2.0/TCP 127.0.0.1:" + std::to_string(station.at(0).port)));
    ours.send(wire::response(arrived, 200, "OK"));
    dialog.phone.expect("SIP/2.0 200");
    dialog.phone.send(dialog.from_phone("BYE", 4));
    arrived = ours.expect("BYE ");
    ours.send(wire::response(arrived, 200, "OK"));
    dialog.phone.expect("SIP/2.0 200");
    CHECK(!dialog.door.knocked(50));
    dialog.pbx.expect_silence(50);
    CHECK(station.fact(FactKind::dialog_ended).flag);
    station.expect_empty();
    station.stop();
}

TEST("two transports: a PBX whose Contact is a name or elsewhere is called where its requests came from") {
    Scene scene;
    Station station(scene.with);
    const Door elsewhere;
    for (const auto& contact : {std::string("<sip:200@pbx.example.com;transport=tcp>"), std::string("<sip:200@pbx>")}) {
        Dialog dialog(scene, station);
        dialog.establish(contact);
        auto bye = dialog.from_phone("BYE", 2);
        bye.start = "BYE sip:200@127.0.0.9:" + std::to_string(elsewhere.address().port) + ";transport=tcp SIP/2.0";
        dialog.phone.send(bye);
        const auto ours = dialog.door.accept();
        ours.send(wire::response(ours.expect("BYE "), 200, "OK"));
        dialog.phone.expect("SIP/2.0 200");
    }
    CHECK(!elsewhere.knocked(50));
    station.stop();
}

TEST("two transports: after a restart the phone's BYE reaches the PBX on a new connection") {
    Scene scene;
    auto before = std::make_unique<Station>(scene.with);
    auto dialog = std::make_unique<Dialog>(scene, *before);
    dialog->establish();
    scene.with.listen = {before->at(0), before->at(1)};
    before->stop();
    Station after(scene.with);
    auto again = Line::connect(after.at(1));
    again.start_tls({"", "", scene.authority.ca()}, false);
    again.send(dialog->from_phone("BYE", 2));
    const auto ours = dialog->door.accept();
    ours.send(wire::response(ours.expect("BYE "), 200, "OK"));
    again.expect("SIP/2.0 200");
    CHECK_EQ(after.fact(FactKind::dialog_ended).text, kCall);
    after.stop();
}

TEST("two transports: a PBX that cannot be reached is a 500, told why by its lost flow") {
    Scene scene;
    Station station(scene.with);
    Dialog dialog(scene, station);
    dialog.establish();
    Address nobody;
    {
        const Door gone;
        nobody = gone.address();
    }
    auto bye = dialog.from_phone("BYE", 2);
    bye.start = "BYE sip:200@127.0.0.1:" + std::to_string(nobody.port) + ";transport=tcp SIP/2.0";
    dialog.phone.send(bye);
    dialog.phone.expect("SIP/2.0 500");
    station.stop();
}

TEST("two transports: in a dialog a PBX on TLS is verified as the last order to it was") {
    Scene scene;
    Station station(scene.with);
    const Door door("tls");
    const auto theirs = scene.trunk.issue({"DNS:pbx.example.com"});
    const auto options = [&] {
        RequestOrder order;
        order.request = 1;
        order.method = "OPTIONS";
        order.request_uri = "sip:" + door.host_port();
        order.from = "<sip:a@127.0.0.1>;tag=1";
        order.to = "<sip:b@127.0.0.1>";
        order.call_id = wire::unique("o");
        order.cseq = 1;
        order.destination = door.address();
        order.local = station.at(1);
        order.server_name = "pbx.example.com";
        order.tls_profile = "pbx";
        station.stack().order(order);
    };
    options();
    auto first = door.accept();
    first.start_tls(theirs, true);
    first.send(wire::response(first.expect("OPTIONS "), 200, "OK", "t"));
    CHECK_EQ(station.fact(FactKind::request_answered).status, 200);
    first.close();
    station.fact(FactKind::flow_lost);
    Dialog dialog(scene, station);
    dialog.establish("<sip:200@" + door.host_port() + ";transport=tls>");
    auto bye = dialog.from_phone("BYE", 2);
    bye.start = "BYE sips:200@" + door.host_port() + " SIP/2.0";  // RFC 3261 26.2.2: TLS
    dialog.phone.send(bye);
    auto line = door.accept();
    line.start_tls(theirs, true);
    line.send(wire::response(line.expect("BYE sips:"), 200, "OK"));
    dialog.phone.expect("SIP/2.0 200");
    station.stop();
}

TEST("two transports: without a TCP listener our connection to a TCP PBX carries the call both ways") {
    Scene scene({{"127.0.0.1", 0, "udp"}});
    Station station(scene.with);
    const Door door;
    Call app(station);  // its INVITE is taken for an app's
    push_proxy::Rewrite rewrite;
    rewrite.request_uri = "sip:300@" + door.host_port() + ";transport=tcp";
    rewrite.destination = door.address();
    rewrite.local = station.at();
    rewrite.route_key = kRoute;
    rewrite.device_is_caller = true;
    rewrite.connect = true;
    station.stack().order(push_proxy::ForwardOrder{app.held.txn, rewrite});
    const auto line = door.accept();
    const auto invite = line.expect("INVITE ");
    CHECK(invite.first("Via").starts_with("SIP/2.0/TCP 127.0.0.1:" + std::to_string(station.at().port)));
    CHECK_EQ(invite.all("Record-Route").size(), 1U);
    line.send(wire::response(invite, 200, "OK", "p").add("Contact", "<sip:300@" + door.host_port() + ">"));
    auto ok = app.pbx.receive(4000);
    while (ok && ok->status() == 100) ok = app.pbx.receive(4000);
    CHECK(ok && ok->status() == 200);
    auto bye = wire::request("BYE", "sip:200@" + app.pbx.host_port(), line);
    bye.set("From", ok->first("To")).set("To", ok->first("From")).set("Call-ID", ok->first("Call-ID"));
    bye.add("Route", ok->first("Record-Route"));
    line.send(bye);  // Asterisk reuses a connection that it finds
    app.pbx.expect("BYE ");
    station.stop();
}

TEST("route tokens name both transports; those from before there was another still lead to UDP") {
    using push_proxy::RouteToken;
    RouteToken token;
    token.route_key = std::string(8, 'r');
    token.call = std::string(16, 'c');
    for (const auto* device : {"udp", "tcp", "tls"}) {
        for (const auto* peer : {"udp", "tcp", "tls"}) {
            token.device = {"10.0.0.1", 40000, device};
            token.peer = {"2001:db8::1", 5061, peer};
            const auto read = push_proxy::decode_route_token(push_proxy::encode_route_token(token, kKey), kKey);
            CHECK(read.has_value());
            CHECK(read->device == token.device);
            CHECK(read->peer == token.peer);
        }
    }
    // Made by the first version, whose families were 4 and 6.
    std::string old("\x01", 1);
    old += std::string(8, 'r') + std::string(1, '\0');
    old += std::string("\x04\x7f\x00\x00\x01\x13\xc4", 7) + std::string("\x04\x0a\x00\x00\x02\x13\xc4", 7);
    old += std::string(8, 'h') + std::string(16, 'c');
    old += push_proxy::hmac_sha256(kKey, old).substr(0, 8);
    const auto read = push_proxy::decode_route_token(push_proxy::base64url(old), kKey);
    CHECK(read.has_value());
    CHECK(read->device == (Address{"127.0.0.1", 5060, "udp"}));
    CHECK(read->peer == (Address{"10.0.0.2", 5060, "udp"}));
    old[10] = 0x34;  // a family that nobody made
    old.resize(old.size() - 8);
    CHECK(!push_proxy::decode_route_token(push_proxy::base64url(old + push_proxy::hmac_sha256(kKey, old).substr(0, 8)),
                                          kKey));
}
