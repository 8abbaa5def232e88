// Every method inside dialogs, early and forked ones too; strict routers; CANCEL and 487 at odd times.
#include "check.hpp"
#include "station.hpp"

using namespace station;
using push_proxy::ForkOrder;
using push_proxy::ForwardOrder;

namespace {

Message next(const Agent& at) {
    for (;;) {
        auto message = at.receive(4000);
        if (!message) throw check::Failure("nothing came");
        if (message->status() != 100) return *message;
    }
}

// A request in the dialog that `made` (a response, as its caller got it) has begun.
Draft in_dialog(const Message& made, const std::string& method, int cseq, const Agent& from, const Agent& to) {
    auto draft = wire::request(method, "sip:x@" + to.host_port(), from);
    draft.set("From", made.first("From")).set("To", made.first("To")).set("Call-ID", made.first("Call-ID"));
    draft.set("CSeq", std::to_string(cseq) + " " + method);
    const auto records = made.all("Record-Route");
    for (auto record = records.rbegin(); record != records.rend(); ++record) draft.add("Route", *record);
    return draft;
}

Draft cancel_of(const Draft& request) {
    auto cancel = request;
    cancel.start.replace(0, cancel.start.find(' '), "CANCEL");
    const auto cseq = std::stoi(cancel.text().substr(cancel.text().find("CSeq: ") + 6));
    return cancel.set("CSeq", std::to_string(cseq) + " CANCEL");
}

}  // namespace

TEST("every method passes inside a dialog, both ways, with all that it carries") {
    Station station;
    Call call(station);
    call.answered();
    int cseq = 10;
    for (const std::string method : {"UPDATE", "INFO", "PRACK", "REFER", "NOTIFY", "SUBSCRIBE", "MESSAGE", "OPTIONS",
                                     "PUBLISH", "FROBNICATE", "INVITE"}) {
        for (const bool outward : {true, false}) {
            const auto& from = outward ? call.phone : call.pbx;
            const auto& to = outward ? call.pbx : call.phone;
            auto draft = outward ? call.from_phone(method, ++cseq) : call.from_pbx(method, ++cseq);
            const std::pair<std::string, std::string> kept[] = {
                {"RAck", "776656 1 INVITE"},
                {"Refer-To", "<sip:300@pbx.example.com?Replaces=a%3Bto-tag%3Db%3Bfrom-tag%3Dc>"},
                {"Event", "refer;id=7"},
                {"Subscription-State", "active;expires=60"},
                {"Session-Expires", "1800;refresher=uac"},
                {"Require", "100rel"}};
            for (const auto& [name, value] : kept) draft.add(name, value);
            draft.with("application/x-any", "a body\r\nof two lines");
            from.send(draft, station.at());
            const auto arrived = next(to);
            CHECK_EQ(arrived.start(), draft.start);
            for (const auto& [name, value] : kept) CHECK_EQ(arrived.first(name), value);
            CHECK_EQ(arrived.body(), draft.body);
            CHECK(arrived.all("Record-Route").empty());
            to.send(wire::response(arrived, 202, "Accepted").add("Retry-After", "9"), station.at());
            const auto answer = next(from);
            CHECK_EQ(answer.start(), std::string("SIP/2.0 202 Accepted"));
            CHECK_EQ(answer.first("Retry-After"), std::string("9"));
        }
    }
    station.expect_none(FactKind::request, 50);
    station.stop();
}

TEST("a target refresh passes in Contact, and requests go on by the token") {
    Station station;
    Call call(station);
    call.answered();
    const std::string refreshed = "<sip:101@10.9.8.7:4444;ob>";
    call.phone.send(call.from_phone("UPDATE", 5).set("Contact", refreshed), station.at());
    const auto update = next(call.pbx);
    CHECK_EQ(update.first("Contact"), refreshed);
    call.pbx.send(wire::response(update, 200, "OK"), station.at());
    next(call.phone);
    auto info = call.from_pbx("INFO", 6);
    info.start = "INFO sip:101@10.9.8.7:4444;ob SIP/2.0";
    call.pbx.send(info, station.at());
    CHECK_EQ(next(call.phone).start(), info.start);
    station.stop();
}

TEST("early dialogs of two phones: PRACK and UPDATE of each reach the right one; RSeq and RAck are untouched") {
    Station station;
    Call call(station, [](Draft& invite) { invite.add("Require", "100rel"); });
    const Agent tablet;
    const Message invites[] = {call.fork(1), [&] {
                                   auto rewrite = call.rewrite(tablet);
                                   rewrite.route_key = "ffeeddccbbaa0099";
                                   return call.fork_to(tablet, 2, &rewrite);
                               }()};
    const Agent* const phones[] = {&call.phone, &tablet};
    for (const std::string tag : {"one", "two"}) {
        const int which = tag == "one" ? 0 : 1;
        auto early = wire::response(invites[which], 183, "Session Progress", tag);
        early.add("Contact", "<sip:101@" + phones[which]->host_port() + ">").add("Require", "100rel");
        phones[which]->send(early.add("RSeq", "4711").with("application/sdp", "v=0\r\n"), station.at());
        station.relay(station.fact(FactKind::branch_response));
    }
    Message heard[] = {next(call.pbx), next(call.pbx)};
    int cseq = 1;
    for (const auto& early : heard) {
        CHECK_EQ(early.first("RSeq"), std::string("4711"));
        const int which = wire::param(early.first("To"), "tag") == "one" ? 0 : 1;
        for (const std::string method : {"PRACK", "UPDATE"}) {
            auto draft = in_dialog(early, method, ++cseq, call.pbx, *phones[which]).add("RAck", "4711 1 INVITE");
            call.pbx.send(draft, station.at());
            const auto arrived = next(*phones[which]);
            CHECK_EQ(arrived.start(), draft.start);
            CHECK_EQ(arrived.first("RAck"), std::string("4711 1 INVITE"));
            phones[which]->send(wire::response(arrived, 200, "OK"), station.at());
            CHECK_EQ(next(call.pbx).status(), 200);
            phones[1 - which]->expect_silence(50);
        }
    }
    // And from a phone within its early dialog.
    const auto& early = wire::param(heard[0].first("To"), "tag") == "two" ? heard[0] : heard[1];
    auto update = wire::request("UPDATE", "sip:200@" + call.pbx.host_port(), tablet);
    update.set("From", early.first("To")).set("To", early.first("From")).set("Call-ID", early.first("Call-ID"));
    tablet.send(update.add("Route", early.first("Record-Route")), station.at());
    CHECK(next(call.pbx).start().starts_with("UPDATE "));
    station.stop();
}

TEST("a subscription: its NOTIFY passes before the 200 to SUBSCRIBE, a refresh and a NOTIFY after it") {
    Station station;
    const Agent phone;
    const Agent pbx;
    const auto subscribe = wire::request("SUBSCRIBE", "sip:200@pbx.example.com", phone).add("Event", "dialog");
    phone.send(subscribe, station.at());
    const auto held = station.fact(FactKind::request);
    push_proxy::Rewrite rewrite;
    rewrite.request_uri = "sip:200@pbx.example.com";
    rewrite.destination = pbx.address();
    rewrite.local = station.at();
    rewrite.route_key = kRoute;
    rewrite.device_is_caller = true;
    rewrite.connect = true;
    station.stack().order(ForwardOrder{held.txn, rewrite});
    const auto arrived = pbx.expect("SUBSCRIBE ");
    const auto notify = [&](int cseq) {
        auto draft = wire::request("NOTIFY", "sip:200@" + phone.host_port(), pbx);
        draft.set("From", arrived.first("To") + ";tag=notifier").set("To", arrived.first("From"));
        draft.set("Call-ID", arrived.first("Call-ID")).set("CSeq", std::to_string(cseq) + " NOTIFY");
        pbx.send(draft.add("Route", arrived.first("Record-Route")), station.at());
        const auto at_phone = next(phone);
        CHECK(at_phone.start().starts_with("NOTIFY "));
        phone.send(wire::response(at_phone, 200, "OK"), station.at());
        CHECK_EQ(next(pbx).status(), 200);
    };
    notify(1);
    pbx.send(wire::response(arrived, 200, "OK", "notifier").add("Expires", "60"), station.at());
    const auto ok = next(phone);
    CHECK_EQ(ok.status(), 200);
    notify(2);
    phone.send(in_dialog(ok, "SUBSCRIBE", 2, phone, pbx).add("Event", "dialog"), station.at());
    pbx.send(wire::response(pbx.expect("SUBSCRIBE "), 200, "OK"), station.at());
    CHECK_EQ(next(phone).status(), 200);
    station.stop();
}

TEST("a strict router before us (RFC 3261 16.4): its Request-URI is our Record-Route, the target is the last Route") {
    Station station;
    Call call(station);
    call.answered();
    const auto ours = call.ok.first("Record-Route");
    const auto uri = ours.substr(1, ours.size() - 2);
    const std::string target = "sip:101@" + call.phone.host_port() + ";x=1";
    for (const bool more : {false, true}) {
        auto info = call.from_pbx("INFO", more ? 3 : 2).drop("Route");
        info.start = "INFO " + uri + " SIP/2.0";
        if (more) info.add("Route", "<sip:third@127.0.0.1:9;lr>");
        call.pbx.send(info.add("Route", "<" + target + ">"), station.at());
        const auto arrived = next(call.phone);
        CHECK_EQ(arrived.start(), "INFO " + target + " SIP/2.0");
        CHECK_EQ(arrived.all("Route").size(), more ? 1U : 0U);
        call.phone.send(wire::response(arrived, 200, "OK"), station.at());
        CHECK_EQ(next(call.pbx).status(), 200);
    }
    auto bare = call.from_pbx("INFO", 4).drop("Route");
    bare.start = "INFO " + uri + " SIP/2.0";  // no Route to put back
    call.pbx.send(bare, station.at());
    CHECK_EQ(next(call.pbx).status(), 481);
    station.stop();
}

TEST("Timer C: the 487 that follows its CANCEL is acknowledged, and a 2xx that crosses it still passes") {
    for (const int late : {487, 200}) {
        auto with = settings();
        with.timer_c_ms = 400;
        Station station(with);
        const Agent phone;
        const Agent pbx;
        phone.send(wire::request("INVITE", "sip:300@pbx.example.com", phone), station.at());
        const auto held = station.fact(FactKind::request);
        push_proxy::Rewrite rewrite;
        rewrite.request_uri = "sip:300@pbx.example.com";
        rewrite.destination = pbx.address();
        rewrite.local = station.at();
        rewrite.connect = true;
        station.stack().order(ForwardOrder{held.txn, rewrite});
        const auto invite = pbx.expect("INVITE ");
        pbx.send(wire::response(invite, 180, "Ringing", "t"), station.at());
        const auto cancel = pbx.expect("CANCEL ");
        CHECK_EQ(cancel.branch(), invite.branch());
        pbx.send(wire::response(cancel, 200, "OK"), station.at());
        CHECK_EQ(next(phone).status(), 180);
        CHECK_EQ(next(phone).status(), 408);
        pbx.send(wire::response(invite, late, "Late", "t"), station.at());
        if (late == 487) {
            const auto ack = pbx.expect("ACK ");
            CHECK_EQ(ack.branch(), invite.branch());
            CHECK_EQ(wire::param(ack.first("To"), "tag"), std::string("t"));
        } else {
            auto message = next(phone);
            while (message.status() == 408) message = next(phone);  // unacknowledged here, so repeated
            CHECK_EQ(message.status(), 200);
        }
        station.stop();
    }
}

TEST("CANCEL of what cannot be cancelled: 481 for another method, 200 and nothing more after the end") {
    Station station;
    Call call(station);
    call.answered();
    const auto info = call.from_pbx("INFO", 2);
    call.pbx.send(info, station.at());
    const auto arrived = next(call.phone);
    call.pbx.send(cancel_of(info), station.at());
    CHECK_EQ(next(call.pbx).status(), 481);
    call.phone.expect_silence(100);
    call.phone.send(wire::response(arrived, 200, "OK"), station.at());
    CHECK_EQ(next(call.pbx).status(), 200);
    const auto reinvite = call.from_pbx("INVITE", 3);
    call.pbx.send(reinvite, station.at());
    call.phone.send(wire::response(next(call.phone), 200, "OK"), station.at());
    CHECK_EQ(next(call.pbx).status(), 200);
    call.pbx.send(cancel_of(reinvite), station.at());
    CHECK_EQ(next(call.pbx).first("CSeq"), std::string("3 CANCEL"));
    call.phone.expect_silence(100);
    station.expect_none(FactKind::cancel, 50);
    station.stop();
}
