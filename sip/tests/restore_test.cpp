// A server transaction that a former life held: rebuilt, so that the PBX notices nothing but the pause.
#include "check.hpp"
#include "line.hpp"
#include "station.hpp"
#include "token.hpp"

using namespace station;
using push_proxy::ForkOrder;
using push_proxy::OpenOrder;
using push_proxy::RestoreOrder;
using wire::Door;
using wire::Line;

namespace {

RestoreOrder restore_of(const Fact& held) { return {kCall, held.raw, held.source, held.local, held.to_tag, {}, {}}; }

push_proxy::Settings closed(const Address& at) {
    auto with = settings();
    with.listen = {at};
    with.closed = true;
    return with;
}

// A held INVITE whose station has died and is there again under the same address, still closed.
struct Revived {
    explicit Revived(bool trying = true) : before(std::make_unique<Station>()), call(*before) {
        if (trying) {
            before->reply(call.held, 100, "Trying");
            call.pbx.expect("SIP/2.0 100");
        }
        const auto at = before->at();
        before->stop();
        while (call.pbx.receive(20)) {
        }
        station = std::make_unique<Station>(closed(at));
    }
    void restore(bool open = true) {
        station->stack().order(restore_of(call.held));
        held = station->fact(FactKind::request);
        if (open) station->stack().order(OpenOrder{});
        if (open) station->carried_out();
    }
    push_proxy::Rewrite rewrite(const std::string& seed = "") const {
        auto made = call.rewrite(call.phone);
        made.branch_seed = seed;
        return made;
    }

    std::unique_ptr<Station> before;
    Call call;
    std::unique_ptr<Station> station;
    Fact held;
};

// Its station has died right after it had relayed a phone's 200, and holds the INVITE again.
struct Orphaned {
    Orphaned() : before(std::make_unique<Station>()), call(*before) {
        before->reply(call.held, 100, "Trying");
        call.pbx.expect("SIP/2.0 100");
        invite = call.fork();
        before->relay(call.phone_says(invite, 200, "OK", call.phone_tag));
        call.ok = call.pbx.expect("SIP/2.0 200");
        const auto at = before->at();
        before->stop();
        station = std::make_unique<Station>(closed(at));
        station->stack().order(restore_of(call.held));
        held = station->fact(FactKind::request);
        station->stack().order(OpenOrder{});
        station->carried_out();
    }
    Draft says(int status, const std::string& reason) const {
        return wire::response(invite, status, reason, call.phone_tag)
            .add("Contact", "<sip:101@" + call.phone.host_port() + ">");
    }
    // What the phone says passes, and answers nothing.
    void passes(const Draft& response) {
        call.phone.send(response, station->at());
        call.pbx.expect("SIP/2.0 " + response.start.substr(8, 3));
        station->expect_none(FactKind::former_answered, 50);
    }

    std::unique_ptr<Station> before;
    Call call;
    Message invite;  // as the phone got it
    std::unique_ptr<Station> station;
    Fact held;
};

Draft cancel_of(const Draft& invite) {
    auto cancel = invite;
    cancel.start.replace(0, 6, "CANCEL");
    return cancel.set("CSeq", "1 CANCEL").drop("Contact").drop("Content-Type").with("", "").drop("Content-Type");
}

}  // namespace

TEST("closed: what arrives is dropped without a trace until the stack is opened") {
    auto with = settings();
    with.closed = true;
    with.listen = {{"127.0.0.1", 0, "udp"}, {"127.0.0.1", 0, "tcp"}};
    Station station(with);
    const Agent pbx;
    pbx.send(wire::request("OPTIONS", station.uri("x"), pbx), station.at());
    pbx.send(wire::request("INVITE", station.uri("x"), pbx), station.at());
    pbx.send("INVITE sip:x SIP/2.0\r\nnonsense\r\n\r\n", station.at());
    const auto line = Line::connect(station.at(1));
    line.send(wire::request("OPTIONS", station.uri("x"), line));
    pbx.expect_silence(300);
    line.expect_silence(400);
    for (const auto& [name, count] : station.stack().counters())
        if (!name.starts_with("live.")) CHECK_EQ(name + " " + std::to_string(count), std::string());
    station.stack().order(OpenOrder{});
    line.expect("SIP/2.0 200");  // it has waited in the kernel
    station.expect_none(FactKind::request, 50);
    station.expect_alive();
    station.stop();
}

TEST("restored over UDP: the same To tag, CANCEL finds it, 487 leaves; an INVITE that came too early is repeated") {
    Revived life;
    life.call.pbx.send(life.call.invite, life.station->at());  // closed: dropped
    life.call.pbx.send(cancel_of(life.call.invite), life.station->at());
    life.call.pbx.expect_silence(100);
    life.restore(false);
    CHECK_EQ(life.held.restored, kCall);
    CHECK_EQ(life.held.to_tag, life.call.held.to_tag);
    CHECK_EQ(life.held.raw, life.call.held.raw);
    CHECK(life.held.source == life.call.held.source);
    CHECK(life.held.local == life.call.held.local);
    CHECK_EQ(life.held.from_tag, life.call.held.from_tag);
    life.call.pbx.expect_silence(300);  // no 100 by itself
    life.station->stack().order(OpenOrder{});
    life.station->carried_out();
    life.call.pbx.send(life.call.invite, life.station->at());
    life.call.pbx.expect("SIP/2.0 100");
    while (life.call.pbx.receive(20)) {
    }
    life.call.pbx.send(cancel_of(life.call.invite), life.station->at());
    life.call.pbx.expect("SIP/2.0 200");
    CHECK_EQ(life.station->fact(FactKind::cancel).txn, life.held.txn);
    life.station->reply(life.held, 487, "Request Terminated");
    const auto gone = life.call.pbx.expect("SIP/2.0 487");
    CHECK_EQ(wire::param(gone.first("To"), "tag"), life.call.held.to_tag);
    life.station->expect_none(FactKind::request, 50);
    life.station->stop();
}

TEST("restored over UDP: the call connects, and its dialog goes on") {
    Revived life;
    life.restore();
    auto& station = *life.station;
    station.stack().order(ForkOrder{life.held.txn, 1, life.rewrite()});
    const auto invite = life.call.phone.expect("INVITE ");
    life.call.phone.send(wire::response(invite, 180, "Ringing", "p"), station.at());
    station.relay(station.fact(FactKind::branch_response));
    life.call.pbx.expect("SIP/2.0 180");
    life.call.phone.send(wire::response(invite, 200, "OK", "p").add("Contact", "<sip:101@127.0.0.1>"), station.at());
    station.relay(station.fact(FactKind::branch_response));
    life.call.ok = life.call.pbx.expect("SIP/2.0 200");
    life.call.pbx.send(life.call.from_pbx("ACK", 1), station.at());
    life.call.phone.expect("ACK ");
    life.call.phone.send(life.call.from_phone("BYE", 2), station.at());
    life.call.pbx.expect("BYE ");
    CHECK_EQ(station.fact(FactKind::dialog_ended).text, kCall);
    station.stop();
}

TEST("restored twice, or from what is no request: told as lost, and nothing stays") {
    const FastTimers fast;
    Revived life;
    life.restore();
    life.station->stack().order(restore_of(life.call.held));
    CHECK_EQ(life.station->fact(FactKind::transaction_lost).restored, kCall);
    for (const std::string raw : {std::string("nonsense"), std::string(), std::string("INVITE sip:x SIP/2.0\r\n\r\n"),
                                  std::string(200000, 'x'), std::string("\0\0", 2)}) {
        auto order = restore_of(life.call.held);
        order.raw = raw;
        life.station->stack().order(order);
        const auto lost = life.station->fact(FactKind::transaction_lost);
        CHECK_EQ(lost.restored, kCall);
        CHECK_EQ(lost.txn, 0U);
    }
    auto order = restore_of(life.call.held);
    order.source.host = "pbx.example.com";
    life.station->stack().order(order);
    CHECK_EQ(life.station->fact(FactKind::transaction_lost).restored, kCall);
    life.station->reply(life.held, 480, "Gone");
    life.call.pbx.expect("SIP/2.0 480");
    life.station->expect_empty();
    life.station->stop();
}

TEST("a branch seed makes the same branch again after a restart, and serves once in a life") {
    auto before = std::make_unique<Station>();
    Call call(*before);
    auto rewrite = call.rewrite(call.phone);
    rewrite.branch_seed = "call device 1";
    const auto first = call.fork_to(call.phone, 1, &rewrite);
    CHECK(push_proxy::verify_branch(first.branch(), kKey).has_value());
    CHECK(push_proxy::branch_leads_to(first.branch(), call.pbx.address().text(), kKey));
    before->stack().order(ForkOrder{call.held.txn, 2, rewrite});
    CHECK(before->fact(FactKind::order_failed).text.find("seed") != std::string::npos);
    auto other = rewrite;
    other.branch_seed = "call device 2";
    before->stack().order(ForkOrder{call.held.txn, 3, other});
    auto second = call.phone.expect("INVITE ");
    while (second.branch() == first.branch()) second = call.phone.expect("INVITE ");
    const auto at = before->at();
    before->stop();
    while (call.phone.receive(20)) {
    }
    Station after(closed(at));
    after.stack().order(restore_of(call.held));
    const auto held = after.fact(FactKind::request);
    after.stack().order(OpenOrder{});
    after.stack().order(ForkOrder{held.txn, 1, rewrite});
    const auto again = call.phone.expect("INVITE ");
    CHECK_EQ(again.branch(), first.branch());
    CHECK_EQ(again.first("Record-Route"), first.first("Record-Route"));
    after.stop();
}

TEST("restored over TCP: answers go on a new connection to where the PBX listens; CANCEL finds it from anywhere") {
    auto with = settings();
    with.listen = {{"127.0.0.1", 0, "tcp"}};
    auto before = std::make_unique<Station>(with);
    const Door door;
    auto pbx = std::make_unique<Line>(Line::connect(before->at()));
    auto invite = wire::request("INVITE", "sip:101@127.0.0.1:" + std::to_string(before->at().port), *pbx);
    invite.set("Via", "SIP/2.0/TCP " + door.host_port() + ";branch=z9hG4bK" + wire::unique("r"));
    pbx->send(invite);
    const auto held = before->fact(FactKind::request);
    with.listen = {before->at()};
    before->stop();
    pbx.reset();
    with.closed = true;
    Station after(with);
    after.stack().order(restore_of(held));
    const auto again = after.fact(FactKind::request);
    CHECK_EQ(again.restored, kCall);
    CHECK(again.source == held.source);
    after.stack().order(OpenOrder{});
    const auto ours = door.accept();
    after.reply(again, 180, "Ringing");
    const auto ringing = ours.expect("SIP/2.0 180");
    CHECK_EQ(wire::param(ringing.first("To"), "tag"), held.to_tag);
    const auto theirs = Line::connect(after.at());
    theirs.send(cancel_of(invite));
    theirs.expect("SIP/2.0 200");
    after.fact(FactKind::cancel);
    after.reply(again, 487, "Request Terminated");
    ours.expect("SIP/2.0 487");
    after.stop();
}

TEST("restored over TCP where the PBX does not listen any more: told as lost, once") {
    const FastTimers fast;
    auto with = settings();
    with.listen = {{"127.0.0.1", 0, "tcp"}};
    auto before = std::make_unique<Station>(with);
    auto pbx = std::make_unique<Line>(Line::connect(before->at()));
    auto invite = wire::request("INVITE", "sip:101@127.0.0.1:" + std::to_string(before->at().port), *pbx);
    pbx->send(invite);  // its Via names the connection's own port
    const auto held = before->fact(FactKind::request);
    with.listen = {before->at()};
    before->stop();
    pbx.reset();
    Station after(with);
    after.stack().order(restore_of(held));
    const auto lost = after.fact(FactKind::transaction_lost);
    CHECK_EQ(lost.restored, kCall);
    after.expect_none(FactKind::transaction_lost, 100);
    after.expect_empty();
    after.stop();
}

TEST("restored after its 200: the phone's repetition on a branch of the former life answers it, once, and is told") {
    const FastTimers fast;
    Orphaned life;
    auto& station = *life.station;
    life.call.phone.send(life.says(200, "OK"), station.at());
    life.call.pbx.expect("SIP/2.0 200");
    const auto told = station.fact(FactKind::former_answered);
    CHECK_EQ(told.txn, life.held.txn);
    CHECK_EQ(told.status, 200);
    CHECK_EQ(told.name, kRoute);
    // The transaction says it again (RFC 6026 7.1), and has no second answer.
    life.call.pbx.send(life.call.invite, station.at());
    life.call.pbx.expect("SIP/2.0 200");
    station.reply(life.held, 480, "Temporarily Unavailable");
    CHECK(station.fact(FactKind::order_failed).text.find("final") != std::string::npos);
    life.passes(life.says(200, "OK"));
    life.call.pbx.send(life.call.from_pbx("ACK", 1), station.at());
    life.call.phone.expect("ACK ");
    station.expect_empty();
    station.stop();
}

TEST("restored after its 200: what is no 2xx of this INVITE answers nothing") {
    Orphaned life;
    auto& station = *life.station;
    life.passes(life.says(180, "Ringing"));
    auto other = life.says(200, "OK");
    const auto upstream = life.call.pbx.address().text();
    auto& via = other.headers.front().second;
    via = via.substr(0, via.find("z9hG4bK")) + push_proxy::make_branch(1, upstream, kKey);  // of another INVITE
    life.passes(other);
    life.call.pbx.send(cancel_of(life.call.invite), station.at());
    life.call.pbx.expect("SIP/2.0 200");
    station.fact(FactKind::cancel);
    life.passes(life.says(200, "OK"));
    station.reply(life.held, 487, "Request Terminated");
    life.call.pbx.expect("SIP/2.0 487");
    station.stop();
}

TEST("restored while a phone on TCP rang: it answers by a new connection, before it has registered") {
    auto with = settings();
    with.listen = {{"127.0.0.1", 0, "udp"}, {"127.0.0.1", 0, "tcp"}};
    auto before = std::make_unique<Station>(with);
    Call call(*before);
    before->reply(call.held, 100, "Trying");
    call.pbx.expect("SIP/2.0 100");
    auto phone = std::make_unique<Line>(Line::connect(before->at(1)));
    phone->send(wire::request("REGISTER", "sip:127.0.0.1", *phone));
    before->reply(before->fact(FactKind::request), 200, "OK");
    phone->expect("SIP/2.0 200");
    auto rewrite = call.rewrite(call.phone);
    rewrite.destination = phone->address();
    rewrite.local = before->at(1);
    before->stack().order(ForkOrder{call.held.txn, 1, rewrite});
    const auto invite = phone->expect("INVITE ");
    with.listen = {before->at(), before->at(1)};
    with.closed = true;
    before->stop();
    phone.reset();
    Station after(with);
    after.stack().order(restore_of(call.held));
    const auto held = after.fact(FactKind::request);
    after.stack().order(OpenOrder{});
    const auto back = Line::connect(after.at(1));
    back.send(wire::response(invite, 200, "OK", "p").add("Contact", "<sip:101@" + back.host_port() + ">"));
    call.pbx.expect("SIP/2.0 200");
    const auto told = after.fact(FactKind::former_answered);
    CHECK_EQ(told.txn, held.txn);
    CHECK_EQ(told.name, kRoute);
    after.stop();
}
