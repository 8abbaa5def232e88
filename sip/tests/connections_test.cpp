// TCP: flows toward devices, connections toward PBXs, and what happens when they end.
#include <linux/filter.h>
#include <sys/socket.h>

#include "check.hpp"
#include "line.hpp"
#include "station.hpp"

using namespace station;
using push_proxy::ForkOrder;
using push_proxy::ForwardOrder;
using push_proxy::RequestOrder;
using push_proxy::Rewrite;
using wire::Door;
using wire::Line;

namespace {

push_proxy::Settings tcp_settings() {
    auto made = settings();
    made.listen = {{"127.0.0.1", 0, "udp"}, {"127.0.0.1", 0, "tcp"}};
    made.connect_timeout_ms = 600;
    made.first_message_ms = 1000;
    return made;
}

// A phone on TCP that the station has heard of.
struct Phone {
    explicit Phone(Station& at) : station(at), line(Line::connect(at.at(1))) {
        line.send(wire::request("REGISTER", "sip:127.0.0.1", line));
        const auto heard = station.fact(FactKind::request);
        CHECK_EQ(heard.source.port, line.address().port);
        CHECK_EQ(heard.source.transport, std::string("tcp"));
        CHECK_EQ(heard.local.transport, std::string("tcp"));
        CHECK_EQ(heard.local.port, station.at(1).port);
        station.reply(heard, 200, "OK");
        line.expect("SIP/2.0 200");
    }

    Rewrite rewrite() const {
        Rewrite made;
        made.request_uri = "sip:101@" + line.host_port() + ";transport=tcp";
        made.destination = line.address();
        made.local = station.at(1);
        made.call = kCall;
        made.route_key = kRoute;
        return made;
    }

    Station& station;
    Line line;
};

RequestOrder options_to(const Address& to, const Address& local) {
    RequestOrder order;
    order.request = 7;
    order.method = "OPTIONS";
    order.request_uri = "sip:" + to.host + ":" + std::to_string(to.port) + ";transport=tcp";
    order.from = "<sip:pp@127.0.0.1>;tag=x";
    order.to = "<sip:127.0.0.1>";
    order.call_id = wire::unique("options");
    order.cseq = 1;
    order.destination = to;
    order.local = local;
    return order;
}

}  // namespace

TEST("TCP: a call from a UDP PBX rings a phone on its own connection; both sides talk by their transport") {
    Station station(tcp_settings());
    Phone phone(station);
    Call call(station);
    station.stack().order(ForkOrder{call.held.txn, 1, phone.rewrite()});
    const auto invite = phone.line.expect("INVITE ");
    const auto vias = invite.all("Via");
    CHECK_EQ(vias.size(), 2U);
    CHECK(vias.front().starts_with("SIP/2.0/TCP 127.0.0.1:" + std::to_string(station.at(1).port)));
    CHECK(vias.front().find("alias") == std::string::npos);
    // RFC 5658: two, the phone's side on top.
    const auto records = invite.all("Record-Route");
    CHECK_EQ(records.size(), 2U);
    CHECK(records[0].ends_with(":" + std::to_string(station.at(1).port) + ";transport=tcp;lr>"));
    CHECK(records[1].ends_with(":" + std::to_string(station.at(0).port) + ";lr>"));
    auto ok = wire::response(invite, 200, "OK", "phone-tag");
    ok.add("Contact", "<sip:101@" + phone.line.host_port() + ";transport=tcp>");
    phone.line.send(ok);
    station.relay(station.fact(FactKind::branch_response));
    call.ok = call.pbx.expect("SIP/2.0 200");
    // In the dialog, the PBX's route set is the list reversed: its own side first.
    const auto from_pbx = [&](const std::string& method, int cseq) {
        auto draft = call.from_pbx(method, cseq).drop("Route");
        return draft.add("Route", records[1] + ", " + records[0]);
    };
    call.pbx.send(from_pbx("ACK", 1), station.at());
    CHECK(phone.line.expect("ACK ").all("Route").empty());
    call.pbx.send(from_pbx("INFO", 2), station.at());
    const auto info = phone.line.expect("INFO ");
    CHECK(info.all("Route").empty());
    phone.line.send(wire::response(info, 200, "OK"));
    call.pbx.expect("SIP/2.0 200");
    auto bye = wire::request("BYE", "sip:200@" + call.pbx.host_port(), phone.line);
    bye.set("From", call.ok.first("To")).set("To", call.ok.first("From")).set("Call-ID", call.ok.first("Call-ID"));
    bye.set("CSeq", "5 BYE").add("Route", records[0]).add("Route", records[1]);
    phone.line.send(bye);
    const auto at_pbx = call.pbx.expect("BYE ");
    CHECK(at_pbx.all("Route").empty());
    CHECK(at_pbx.first("Via").starts_with("SIP/2.0/UDP "));
    call.pbx.send(wire::response(at_pbx, 200, "OK"), station.at());
    phone.line.expect("SIP/2.0 200");
    CHECK(station.fact(FactKind::dialog_ended).flag);
    CHECK_EQ(station.fact(FactKind::device_heard).source.transport, std::string("tcp"));
    station.stop();
}

TEST("TCP: a PBX that calls by TCP gets its answers on the same connection, one Record-Route suffices") {
    Station station(tcp_settings());
    Phone phone(station);
    const auto pbx = Line::connect(station.at(1));
    pbx.send(wire::request("INVITE", station.uri("101"), pbx));
    const auto held = station.fact(FactKind::request);
    station.reply(held, 100, "Trying");
    pbx.expect("SIP/2.0 100");
    station.stack().order(ForkOrder{held.txn, 1, phone.rewrite()});
    const auto invite = phone.line.expect("INVITE ");
    CHECK_EQ(invite.all("Record-Route").size(), 1U);
    phone.line.send(wire::response(invite, 180, "Ringing", "t"));
    station.relay(station.fact(FactKind::branch_response));
    pbx.expect("SIP/2.0 180");
    station.reply(held, 480, "Gone");
    pbx.expect("SIP/2.0 480");
    station.stop();
}

TEST("TCP: to a device without a connection a fork is 430 at once, and nobody is called on") {
    Station station(tcp_settings());
    const Door door;  // a device that listens: it is not asked
    Call call(station);
    auto rewrite = Phone(station).rewrite();  // gone again
    station.stack().order(ForkOrder{call.held.txn, 1, rewrite});
    auto fact = station.fact(FactKind::branch_response);
    CHECK_EQ(fact.status, 430);
    CHECK(fact.flag);
    CHECK_EQ(fact.text, std::string("Flow Failed"));
    rewrite.destination = door.address();
    station.stack().order(ForkOrder{call.held.txn, 2, rewrite});
    CHECK_EQ(station.fact(FactKind::branch_response).status, 430);
    auto order = options_to(door.address(), station.at(1));
    order.connect = false;
    station.stack().order(order);
    const auto answered = station.fact(FactKind::request_answered);
    CHECK_EQ(answered.status, 430);
    CHECK(answered.flag);
    CHECK(!door.knocked(150));
    station.stop();
}

TEST("TCP: a device's connection that ends fails its branch with 430 at once, then the flow is told lost") {
    Station station(tcp_settings());
    for (const bool hard : {false, true}) {
        for (const bool ringing : {false, true}) {
            Phone phone(station);
            const auto address = phone.line.address();
            Call call(station);
            station.stack().order(ForkOrder{call.held.txn, 1, phone.rewrite()});
            const auto invite = phone.line.expect("INVITE ");
            if (ringing) {
                phone.line.send(wire::response(invite, 180, "Ringing", "t"));
                station.fact(FactKind::branch_response);
            }
            if (hard) {
                phone.line.reset();
            } else {
                phone.line.close();
            }
            const auto failed = station.fact(FactKind::branch_response, 1000);
            CHECK_EQ(failed.status, 430);
            CHECK(failed.flag);
            const auto lost = station.fact(FactKind::flow_lost);
            CHECK_EQ(lost.source.port, address.port);
            CHECK_EQ(lost.source.transport, std::string("tcp"));
            CHECK_EQ(lost.local.port, station.at(1).port);
            CHECK(!lost.flag);
            // The call lives: another device may take it.
            const auto other = call.fork(2);
            call.phone_says(other, 180, "Ringing", "u", 2);
            station.reply(call.held, 480, "Gone");
            auto answer = call.pbx.receive(4000);
            while (answer && answer->status() == 100) answer = call.pbx.receive(4000);
            CHECK(answer && answer->status() == 480);
        }
    }
    station.stop();
}

TEST("TCP: a device that vanished without a word is found by what it does not acknowledge, or at rest") {
    auto with = tcp_settings();
    with.unacked_ms = 1500;
    with.keepalive_s = 1;
    Station station(with);
    // From here on this side's kernel drops every segment unseen, as a phone out of reach would.
    const auto vanish = [](const Phone& phone) {
        sock_filter nothing = BPF_STMT(BPF_RET | BPF_K, 0);
        const sock_fprog program{1, &nothing};
        CHECK_EQ(setsockopt(phone.line.fd(), SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program), 0);
    };
    Phone phone(station);
    vanish(phone);
    Call call(station);
    station.stack().order(ForkOrder{call.held.txn, 1, phone.rewrite()});
    CHECK_EQ(station.fact(FactKind::branch_response).status, 430);
    CHECK_EQ(station.fact(FactKind::flow_lost).text, std::string("Connection timed out"));
    Phone idle(station);
    vanish(idle);
    CHECK_EQ(station.fact(FactKind::flow_lost, 8000).source.port, idle.line.address().port);
    station.stop();
}

TEST("TCP: a request of ours opens a connection, the next ones use it, and its end is told") {
    Station station(tcp_settings());
    const Door pbx;
    station.stack().order(options_to(pbx.address(), station.at(1)));
    auto line = pbx.accept();
    for (int i = 0; i < 3; ++i) {
        const auto options = line.expect("OPTIONS ");
        CHECK(options.first("Via").starts_with("SIP/2.0/TCP 127.0.0.1:" + std::to_string(station.at(1).port)));
        line.send(wire::response(options, 200, "OK", "t"));
        CHECK_EQ(station.fact(FactKind::request_answered).status, 200);
        if (i < 2) station.stack().order(options_to(pbx.address(), station.at(1)));
    }
    CHECK(!pbx.knocked(50));
    station.stack().order(options_to(pbx.address(), station.at(1)));
    line.expect("OPTIONS ");
    line.close();
    const auto answered = station.fact(FactKind::request_answered, 1000);
    CHECK_EQ(answered.status, 503);
    CHECK(answered.flag);
    const auto lost = station.fact(FactKind::flow_lost);
    CHECK(lost.flag);
    CHECK_EQ(lost.source.port, pbx.address().port);
    station.expect_empty();
    station.stop();
}

TEST("TCP: a PBX that refuses the connection or does not answer it is a local 503 that says why") {
    Station station(tcp_settings());
    Address nobody;
    {
        const Door gone;
        nobody = gone.address();
    }
    station.stack().order(options_to(nobody, station.at(1)));
    auto answered = station.fact(FactKind::request_answered, 1000);
    CHECK_EQ(answered.status, 503);
    CHECK_EQ(answered.text, std::string("Connection refused"));
    CHECK_EQ(station.fact(FactKind::flow_lost).text, std::string("Connection refused"));
    // A backlog that is full answers no SYN.
    const Door full("tcp", 0);
    const auto first = Line::connect(full.address());
    station.stack().order(options_to(full.address(), station.at(1)));
    answered = station.fact(FactKind::request_answered, 2500);
    CHECK_EQ(answered.status, 503);
    CHECK(answered.text.find("no connection within") != std::string::npos);
    station.expect_empty();
    station.stop();
}

TEST("TCP: an app's INVITE opens a connection to the PBX; CANCEL and 200 use it; BYE from the PBX comes back") {
    Station station(tcp_settings());
    Phone phone(station);
    const Door pbx;
    phone.line.send(wire::request("INVITE", "sip:300@pbx.example.com", phone.line));
    const auto fact = station.fact(FactKind::request);
    Rewrite rewrite;
    rewrite.request_uri = "sip:300@" + pbx.host_port() + ";transport=tcp";
    rewrite.destination = pbx.address();
    rewrite.local = station.at(1);
    rewrite.route_key = kRoute;
    rewrite.device_is_caller = true;
    rewrite.connect = true;
    station.stack().order(ForwardOrder{fact.txn, rewrite});
    const auto line = pbx.accept();
    const auto invite = line.expect("INVITE ");
    line.send(wire::response(invite, 200, "OK", "p").add("Contact", "<sip:300@" + pbx.host_port() + ";transport=tcp>"));
    const auto ok = phone.line.expect("SIP/2.0 200");
    auto bye = wire::request("BYE", "sip:101@" + phone.line.host_port() + ";transport=tcp", line);
    bye.set("From", ok.first("To")).set("To", ok.first("From")).set("Call-ID", ok.first("Call-ID"));
    bye.add("Route", ok.first("Record-Route"));
    line.send(bye);  // on the connection that we opened
    const auto at_phone = phone.line.expect("BYE ");
    phone.line.send(wire::response(at_phone, 200, "OK"));
    line.expect("SIP/2.0 200");
    station.stop();
}

TEST("TCP: a device whose connection ends while it calls has its call cancelled at the PBX") {
    Station station(tcp_settings());
    const Agent pbx;
    {
        Phone phone(station);
        phone.line.send(wire::request("INVITE", "sip:300@pbx.example.com", phone.line));
        const auto fact = station.fact(FactKind::request);
        Rewrite rewrite;
        rewrite.request_uri = "sip:300@" + pbx.host_port();
        rewrite.destination = pbx.address();
        rewrite.local = station.at(0);
        rewrite.route_key = kRoute;
        rewrite.device_is_caller = true;
        rewrite.connect = true;
        station.stack().order(ForwardOrder{fact.txn, rewrite});
        pbx.send(wire::response(pbx.expect("INVITE "), 180, "Ringing", "p"), station.at());
        phone.line.expect("SIP/2.0 180");
    }
    const auto cancel = pbx.expect("CANCEL ", 1000);
    pbx.send(wire::response(cancel, 200, "OK"), station.at());
    station.fact(FactKind::transaction_lost);
    station.fact(FactKind::flow_lost);
    station.stop();
}

TEST("TCP: an answer whose connection has ended goes where the PBX listens, to a device never") {
    Station station(tcp_settings());
    const Door pbx;
    const auto call_from = [&](Door& door) {
        auto line = Line::connect(station.at(1));
        auto invite = wire::request("INVITE", station.uri("101"), line);
        invite.set("Via", "SIP/2.0/TCP " + door.host_port() + ";branch=z9hG4bK" + wire::unique("w"));
        line.send(invite);
        auto fact = station.fact(FactKind::request);
        line.close();
        while (station.fact(FactKind::flow_lost).source.port != fact.source.port) {
        }
        return fact;
    };
    // A stranger: nobody connects to what it names.
    Door stranger;
    auto held = call_from(stranger);
    station.expect_none(FactKind::transaction_lost, 50);
    station.reply(held, 403, "Forbidden");
    CHECK_EQ(station.fact(FactKind::transaction_lost).txn, held.txn);
    CHECK(!stranger.knocked(100));
    // A PBX: known by an order to connect there, whatever the port.
    station.stack().order(options_to(pbx.address(), station.at(1)));
    const auto line = pbx.accept();
    line.send(wire::response(line.expect("OPTIONS "), 200, "OK", "t"));
    station.fact(FactKind::request_answered);
    Door listening;
    held = call_from(listening);
    station.reply(held, 480, "Gone");
    listening.accept().expect("SIP/2.0 480");
    // A PBX that is away altogether.
    {
        Door away;
        held = call_from(away);
    }
    station.reply(held, 480, "Gone");
    CHECK_EQ(station.fact(FactKind::transaction_lost).txn, held.txn);
    station.stop();
}

TEST("TCP: after a restart a late response goes to the connection of the device or PBX, or nowhere") {
    auto with = tcp_settings();
    Station before(with);
    with.listen = {before.at(0), before.at(1)};
    Call call(before);
    Phone phone(before);
    before.stack().order(ForkOrder{call.held.txn, 1, phone.rewrite()});
    const auto invite = phone.line.expect("INVITE ");
    before.stop();
    phone.line.expect_closed();
    Station after(with);
    Phone again(after);
    while (call.pbx.receive(20)) {
    }
    again.line.send(wire::response(invite, 200, "OK", "t"));
    call.pbx.expect("SIP/2.0 200");  // a UDP PBX, found by Via
    after.stop();
}

TEST("TCP: an app that has gone before its INVITE is sent on: nothing is sent, and nothing of it is left") {
    FastTimers fast;
    Station station(tcp_settings());
    const Agent pbx;
    for (const bool told_trying : {false, true}) {
        Phone phone(station);
        phone.line.send(wire::request("INVITE", "sip:300@pbx.example.com", phone.line));
        const auto held = station.fact(FactKind::request);
        if (told_trying) {
            station.reply(held, 100, "Trying");
            phone.line.expect("SIP/2.0 100");
        }
        auto rewrite = phone.rewrite();
        rewrite.destination = pbx.address();
        rewrite.local = station.at(0);
        rewrite.device_is_caller = true;
        rewrite.connect = true;
        phone.line.reset();
        station.fact(FactKind::flow_lost);
        station.stack().order(ForwardOrder{held.txn, rewrite});
        if (told_trying) {
            pbx.send(wire::response(pbx.expect("INVITE "), 486, "Busy Here", "t"), station.at(0));
            pbx.expect("ACK ");
        } else {
            station.fact(FactKind::transaction_lost);
            pbx.expect_silence(200);
        }
    }
    station.expect_empty();
    station.expect_alive();
    station.stop();
}
