// Requests inside dialogs, routed by the token alone; they go to the PBX or the device, nowhere else.
#include "check.hpp"
#include "station.hpp"

using namespace station;
using push_proxy::BindOrder;
using push_proxy::UnbindOrder;

namespace {

// Sends a request and its 200 through the station; returns what arrived.
Message pass(Station& station, const Agent& from, const Agent& to, const Draft& draft) {
    from.send(draft, station.at());
    const auto method = draft.start.substr(0, draft.start.find(' '));
    auto arrived = to.receive(4000);
    while (arrived && arrived->status() == 100) arrived = to.receive(4000);
    if (!arrived || !arrived->text.starts_with(method + " "))
        throw check::Failure("expected " + method + ", got: " + (arrived ? arrived->text : "nothing"));
    to.send(wire::response(*arrived, 200, "OK"), station.at());
    auto answer = from.receive(4000);
    while (answer && answer->status() == 100) answer = from.receive(4000);
    if (!answer || answer->status() != 200)
        throw check::Failure("expected 200 for " + method + ", got: " + (answer ? answer->text : "nothing"));
    return *arrived;
}

void talk(Call& call) {
    auto& station = call.station;
    const auto info = pass(station, call.pbx, call.phone, call.from_pbx("INFO", 2));
    CHECK(info.all("Route").empty());
    CHECK_EQ(info.all("Via").size(), 2U);
    CHECK_EQ(info.first("Max-Forwards"), std::string("69"));
    pass(station, call.phone, call.pbx, call.from_phone("INFO", 2));
    const auto heard = station.fact(FactKind::device_heard);
    CHECK_EQ(heard.name, kRoute);
    CHECK_EQ(heard.source.port, call.phone.address().port);
    for (const bool outward : {true, false}) {
        const auto& from = outward ? call.phone : call.pbx;
        const auto& to = outward ? call.pbx : call.phone;
        const auto reinvite = outward ? call.from_phone("INVITE", 3) : call.from_pbx("INVITE", 3);
        pass(station, from, to, reinvite);
        from.send(outward ? call.from_phone("ACK", 3) : call.from_pbx("ACK", 3), station.at());
        to.expect("ACK ");
    }
    station.expect_none(FactKind::request, 50);
}

Draft with_token(Draft draft, const std::string& token, const Address& at) {
    return draft.set("Route", "<sip:" + token + "@127.0.0.1:" + std::to_string(at.port) + ";lr>");
}

std::string token_of(const Draft& draft) {
    for (const auto& [name, value] : draft.headers)
        if (name == "Route") return value.substr(5, value.find('@') - 5);
    return "";
}

}  // namespace

TEST("an established call: INFO and re-INVITE both ways, BYE from the phone is told with its reason") {
    Station station;
    Call call(station);
    call.answered();
    talk(call);
    pass(station, call.phone, call.pbx, call.from_phone("BYE", 9).add("Reason", "Q.850;cause=16"));
    const auto ended = station.fact(FactKind::dialog_ended);
    CHECK_EQ(ended.text, kCall);
    CHECK_EQ(ended.name, std::string("Q.850;cause=16"));
    CHECK(ended.flag);
    station.expect_none(FactKind::forward_response, 50);  // Python gave no such order
    station.expect_none(FactKind::dialog_ended, 50);
    station.stop();
}

TEST("what an app asserts of itself inside a dialog is removed, what the PBX asserts is not") {
    Station station;
    Call call(station);
    call.answered();
    const std::string name = "P-Asserted-Identity";
    const auto from_app = call.from_phone("INFO", 9).add(name, "<sip:boss@pbx.test>").add("Diversion", "<sip:x@y>");
    const auto at_pbx = pass(station, call.phone, call.pbx, from_app);
    CHECK_EQ(at_pbx.all(name).size(), 0U);
    CHECK_EQ(at_pbx.all("Diversion").size(), 0U);
    const auto from_pbx = call.from_pbx("INFO", 2).add(name, "<sip:boss@pbx.test>");
    CHECK_EQ(pass(station, call.pbx, call.phone, from_pbx).all(name).size(), 1U);
    station.stop();
}

TEST("BYE from the PBX reaches the phone, repeated once it is answered again and told once") {
    Station station;
    Call call(station);
    call.answered();
    const auto bye = call.from_pbx("BYE", 2);
    pass(station, call.pbx, call.phone, bye);
    CHECK(!station.fact(FactKind::dialog_ended).flag);
    call.pbx.send(bye, station.at());
    call.pbx.expect("SIP/2.0 200");
    call.phone.expect_silence(100);
    station.expect_none(FactKind::dialog_ended, 50);
    station.stop();
}

TEST("a Record-Route with the PBX's idea of our address (Asterisk's rewrite_contact) is known by its signature") {
    Station station;
    Call call(station);
    call.answered();
    auto route = call.ok.first("Record-Route");
    const auto at = route.find('@') + 1;
    route.replace(at, route.find_first_of(";>", at) - at, "192.0.2.7:4711");
    const auto arrived = pass(station, call.pbx, call.phone, call.from_pbx("BYE", 2).set("Route", route));
    CHECK_EQ(arrived.all("Route").size(), 0U);
    station.stop();
}

TEST("an established call survives a restart with the same key: both sides talk on, BYE is told") {
    auto with = settings();
    Station before(with);
    Call call(before);
    call.answered();
    with.listen = {before.at()};
    before.stop();
    Station after(with);
    auto bring = [&](const Agent& from, const Agent& to, const Draft& draft) { pass(after, from, to, draft); };
    bring(call.pbx, call.phone, call.from_pbx("INFO", 5));
    bring(call.phone, call.pbx, call.from_phone("INVITE", 5));
    call.phone.send(call.from_phone("ACK", 5), after.at());
    call.pbx.expect("ACK ");
    bring(call.pbx, call.phone, call.from_pbx("BYE", 6));
    CHECK_EQ(after.fact(FactKind::dialog_ended).text, kCall);
    after.stop();
}

TEST("a token signed with another key opens nothing") {
    auto with = settings();
    Station before(with);
    Call call(before);
    call.answered();
    with.listen = {before.at()};
    with.token_key = std::string(32, 'x');
    before.stop();
    Station after(with);
    call.pbx.send(call.from_pbx("BYE", 2), after.at());
    call.pbx.expect("SIP/2.0 481");
    call.phone.expect_silence(100);
    after.stop();
}

TEST("a forged token, none, or one of another dialog gets 481; an ACK gets silence") {
    Station station;
    Call call(station);
    call.answered();
    auto forged = call.from_pbx("BYE", 2);
    auto token = token_of(forged);
    CHECK(token.size() > 60);
    for (const std::size_t at : {std::size_t{0}, token.size() / 2, token.size() - 2}) {
        auto changed = token;
        changed[at] = changed[at] == 'A' ? 'B' : 'A';
        call.pbx.send(with_token(call.from_pbx("BYE", 2), changed, station.at()), station.at());
        call.pbx.expect("SIP/2.0 481");
    }
    call.pbx.send(call.from_pbx("BYE", 2).drop("Route"), station.at());
    call.pbx.expect("SIP/2.0 481");
    auto foreign = call.from_pbx("BYE", 2);
    foreign.set("From", "<sip:200@pbx.example.com>;tag=other").set("To", "<sip:101@pbx.example.com>;tag=dialog");
    call.pbx.send(foreign, station.at());
    call.pbx.expect("SIP/2.0 481");
    call.pbx.send(with_token(call.from_pbx("ACK", 2), "AAAA", station.at()), station.at());
    call.pbx.expect_silence(100);
    call.phone.expect_silence(50);
    station.expect_none(FactKind::dialog_ended, 50);
    station.stop();
}

TEST("a device's newest binding is used, and after it is gone the flow that the token names") {
    Station station;
    Call call(station);
    call.answered();
    const Agent moved;
    station.stack().order(BindOrder{kRoute, moved.address(), station.at()});
    station.carried_out();
    pass(station, call.pbx, moved, call.from_pbx("INFO", 2));
    call.phone.expect_silence(50);
    pass(station, moved, call.pbx, call.from_phone("INFO", 2));
    CHECK_EQ(station.fact(FactKind::device_heard).source.port, moved.address().port);
    station.stack().order(UnbindOrder{kRoute});
    station.carried_out();
    pass(station, call.pbx, call.phone, call.from_pbx("INFO", 3));
    station.stop();
}

TEST("requests leave from the socket that the device registered at") {
    auto with = settings();
    with.listen = {{"127.0.0.1", 0}, {"127.0.0.1", 0}};
    Station station(with);
    Call call(station);
    call.answered();
    station.stack().order(BindOrder{kRoute, call.phone.address(), station.at(1)});
    station.carried_out();
    const auto info = pass(station, call.pbx, call.phone, call.from_pbx("INFO", 2));
    CHECK_EQ(info.source.port, station.at(1).port);
    station.stop();
}

TEST("a request from the device never goes to an address that is not the PBX's") {
    Station station;
    Call call(station);
    call.answered();
    const Agent victim("127.0.0.2");
    auto to_victim = [&](Draft draft) {
        draft.start = "INFO sip:victim@" + victim.host_port() + " SIP/2.0";
        return draft;
    };
    pass(station, call.phone, call.pbx, to_victim(call.from_phone("INFO", 2)));
    auto routed = to_victim(call.from_phone("INFO", 3));
    routed.add("Route", "<sip:" + victim.host_port() + ";lr>");
    pass(station, call.phone, call.pbx, routed);
    auto named = call.from_phone("INFO", 4);
    named.start = "INFO sip:victim@victim.example.com SIP/2.0";  // never looked up
    pass(station, call.phone, call.pbx, named);
    victim.expect_silence(100);
    station.stop();
}

TEST("the PBX may name another port of its own address for the dialog") {
    Station station;
    Call call(station);
    call.answered();
    const Agent pbx_media_side;
    auto info = call.from_phone("INFO", 2);
    info.start = "INFO sip:200@" + pbx_media_side.host_port() + " SIP/2.0";
    pass(station, call.phone, pbx_media_side, info);
    station.stop();
}

TEST("the address in the PBX's own Contact is followed although its INVITE came from elsewhere") {
    Station station;
    const Agent contact("127.0.0.3");
    Call call(station, [&](Draft& invite) { invite.set("Contact", "<sip:200@" + contact.host_port() + ">"); });
    call.answered();
    auto bye = call.from_phone("BYE", 2);
    bye.start = "BYE sip:200@" + contact.host_port() + " SIP/2.0";
    pass(station, call.phone, contact, bye);
    station.stop();
}

TEST("an ACK with the INVITE's own branch still reaches the phone") {
    Station station;
    Call call(station);
    station.reply(call.held, 100, "Trying");
    call.pbx.expect("SIP/2.0 100");
    const auto invite = call.fork();
    station.relay(call.phone_says(invite, 200, "OK", call.phone_tag));
    call.ok = call.pbx.expect("SIP/2.0 200");
    call.pbx.send(call.from_pbx("ACK", 1).set("Via", call.invite.headers[0].second), station.at());
    call.phone.expect("ACK ");
    station.stop();
}

TEST("CANCEL of a re-INVITE is passed on and its 487 comes back; Python hears nothing") {
    Station station;
    Call call(station);
    call.answered();
    auto reinvite = call.from_pbx("INVITE", 2);
    call.pbx.send(reinvite, station.at());
    call.pbx.expect("SIP/2.0 100");
    const auto arrived = call.phone.expect("INVITE ");
    call.phone.send(wire::response(arrived, 180, "Ringing"), station.at());
    call.pbx.expect("SIP/2.0 180");
    auto cancel = reinvite;
    cancel.start.replace(0, 6, "CANCEL");
    cancel.set("CSeq", "2 CANCEL");
    call.pbx.send(cancel, station.at());
    call.pbx.expect("SIP/2.0 200");
    call.phone.send(wire::response(call.phone.expect("CANCEL "), 200, "OK"), station.at());
    call.phone.send(wire::response(arrived, 487, "Request Terminated"), station.at());
    call.phone.expect("ACK ");
    call.pbx.expect("SIP/2.0 487");
    station.expect_none(FactKind::cancel, 50);
    station.expect_none(FactKind::forward_response, 50);
    station.stop();
}

TEST("without a route key there is no Record-Route") {
    Station station;
    Call call(station);
    auto rewrite = call.rewrite(call.phone);
    rewrite.route_key.clear();
    CHECK(call.fork_to(call.phone, 1, &rewrite).all("Record-Route").empty());
    station.stop();
}

TEST("a next hop that is a strict router gets itself in the Request-URI (RFC 3261 16.6)") {
    Station station;
    Call call(station);
    call.answered();
    auto info = call.from_phone("INFO", 2);
    info.add("Route", "<sip:strict@" + call.pbx.host_port() + ">").add("Route", "<sip:second.example.com;lr>");
    const auto arrived = pass(station, call.phone, call.pbx, info);
    CHECK(arrived.start().starts_with("INFO sip:strict@"));
    const auto routes = arrived.all("Route");
    CHECK_EQ(routes.size(), 2U);
    CHECK_EQ(routes[0], std::string("<sip:second.example.com;lr>"));
    CHECK_EQ(routes[1], "<sip:200@" + call.pbx.host_port() + ">");
    station.stop();
}

TEST("a stray response goes on only if its branch is ours and it goes back where its request came from") {
    auto with = settings();
    Station before(with);
    Call call(before);
    const auto invite = call.fork();
    while (call.pbx.receive(250)) {
    }
    with.listen = {before.at()};
    before.stop();
    Station after(with);  // knows nothing of the INVITE
    auto ok = wire::response(invite, 200, "OK", "t").add("Contact", "<sip:101@" + call.phone.host_port() + ">");
    call.phone.send(ok, after.at());
    const auto arrived = call.pbx.expect("SIP/2.0 200");
    CHECK_EQ(arrived.all("Via").size(), 1U);

    auto forged = ok;
    forged.set("Via", "SIP/2.0/UDP 127.0.0.1;branch=z9hG4bK" + std::string(44, 'a'));
    call.phone.send(forged, after.at());
    call.pbx.expect_silence(100);

    const Agent victim("127.0.0.2");
    auto redirected = ok;
    int seen = 0;
    for (auto& [name, value] : redirected.headers)
        if (name == "Via" && ++seen == 2) value = "SIP/2.0/UDP " + victim.host_port() + ";branch=z9hG4bKx";
    call.phone.send(redirected, after.at());
    victim.expect_silence(100);

    auto bare = ok;
    bare.headers.erase(bare.headers.begin() + 1);  // only our own Via is left
    call.phone.send(bare, after.at());
    call.pbx.expect_silence(100);
    after.expect_none(FactKind::branch_response, 50);
    after.expect_alive();
    after.stop();
}

TEST("two of our devices in one dialog, through a proxy between: a spiral, no loop") {
    Station station;
    Call call(station, [](Draft& invite) { invite.set("From", "<sip:100@pbx.example.com>;tag=caller"); });
    const Agent& ann = call.pbx;  // the first device; its INVITE is forwarded to the PBX
    const Agent& bob = call.phone;
    const Agent pbx("127.0.0.2");
    auto outward = call.rewrite(pbx);
    outward.request_uri = "sip:101@pbx.example.com";
    outward.device_is_caller = true;
    outward.route_key = "ffeeddccbbaa0099";
    station.stack().order(push_proxy::ForwardOrder{call.held.txn, outward});
    const auto at_pbx = pbx.expect("INVITE ");
    // The PBX is a proxy: the same INVITE, its Via on top, comes back for Bob.
    const auto pass_on = [&](const Message& message, const std::string& uri) {
        Draft draft;
        draft.start = message.start().substr(0, message.start().find(' ')) + " " + uri + " SIP/2.0";
        draft.add("Via", "SIP/2.0/UDP " + pbx.host_port() + ";rport;branch=z9hG4bK" + wire::unique("pbx"));
        for (const auto* name : {"Via", "Record-Route", "Route", "From", "To", "Call-ID", "CSeq", "Contact"})
            for (const auto& value : message.all(name)) draft.add(name, value);
        return draft.add("Max-Forwards", "60");
    };
    pbx.send(pass_on(at_pbx, station.uri("101") + ";pp=bob"), station.at());
    call.held = station.fact(FactKind::request);
    auto at_bob = call.fork();
    CHECK_EQ(at_bob.all("Record-Route").size(), 2U);
    station.relay(call.phone_says(at_bob, 200, "OK", "bob"));
    auto back = pbx.receive(1000);
    while (back && back->status() == 100) back = pbx.receive(1000);
    CHECK(back && back->status() == 200);
    Draft up;
    up.start = back->start();
    const auto vias = back->all("Via");
    for (std::size_t i = 1; i < vias.size(); ++i) up.add("Via", vias[i]);
    for (const auto* name : {"Record-Route", "From", "To", "Call-ID", "CSeq", "Contact"})
        for (const auto& value : back->all(name)) up.add(name, value);
    pbx.send(up, station.at());
    auto ok = ann.receive(1000);
    while (ok && ok->status() == 100) ok = ann.receive(1000);
    CHECK(ok && ok->status() == 200);
    const auto routes = ok->all("Record-Route");  // Bob's side first
    for (const bool from_ann : {true, false}) {
        const auto& from = from_ann ? ann : bob;
        const auto& to = from_ann ? bob : ann;
        const auto uri = "sip:x@" + to.host_port();
        auto bye = wire::request("BYE", uri, from);
        bye.set("From", ok->first(from_ann ? "From" : "To")).set("To", ok->first(from_ann ? "To" : "From"));
        bye.set("Call-ID", ok->first("Call-ID"));
        bye.add("Route", routes[from_ann ? 1 : 0]).add("Route", routes[from_ann ? 0 : 1]);
        from.send(bye, station.at());
        pbx.send(pass_on(pbx.expect("BYE "), uri), station.at());
        to.expect("BYE " + uri);
    }
    station.stop();
}
