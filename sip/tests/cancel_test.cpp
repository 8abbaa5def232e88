// CANCEL from both sides (RFC 3261 9, 16.10).
#include <thread>

#include "check.hpp"
#include "station.hpp"

using namespace station;
using push_proxy::CancelOrder;

namespace {

Draft cancel_of(const Draft& invite) {
    auto cancel = invite;
    cancel.start.replace(0, 6, "CANCEL");
    cancel.set("CSeq", "1 CANCEL").drop("Content-Type").drop("Contact").body.clear();
    return cancel;
}

}  // namespace

TEST("CANCEL of a held INVITE: 200 at once, one fact with its Reason, then the 487 that Python sends") {
    Station station;
    Call call(station);
    station.reply(call.held, 100, "Trying");
    call.pbx.expect("SIP/2.0 100");
    const auto cancel = cancel_of(call.invite).add("Reason", "SIP;cause=200;text=\"Call completed elsewhere\"");
    call.pbx.send(cancel, station.at());
    const auto ok = call.pbx.expect("SIP/2.0 200");
    CHECK_EQ(ok.first("CSeq"), std::string("1 CANCEL"));
    CHECK_EQ(wire::param(ok.first("To"), "tag"), call.held.to_tag);
    const auto fact = station.fact(FactKind::cancel);
    CHECK_EQ(fact.txn, call.held.txn);
    CHECK_EQ(fact.text, std::string("SIP;cause=200;text=\"Call completed elsewhere\""));
    call.pbx.send(cancel, station.at());
    call.pbx.expect("SIP/2.0 200");
    station.reply(call.held, 487, "Request Terminated");
    const auto ended = call.pbx.expect("SIP/2.0 487");
    CHECK_EQ(ended.first("CSeq"), std::string("1 INVITE"));
    station.expect_none(FactKind::cancel, 100);
    station.stop();
}

TEST("a fork ordered after the CANCEL rings no phone") {
    Station station;
    Call call(station);
    call.pbx.send(cancel_of(call.invite), station.at());
    station.fact(FactKind::cancel);
    station.stack().order(push_proxy::ForkOrder{call.held.txn, 1, call.rewrite(call.phone)});
    CHECK_EQ(station.fact(FactKind::order_failed).name, std::string("fork"));
    call.phone.expect_silence();
    station.stop();
}

TEST("CANCEL toward a phone waits for its first provisional response and names the INVITE's branch") {
    Station station;
    Call call(station);
    const auto invite = call.fork();
    station.stack().order(CancelOrder{call.held.txn, 1, "SIP;cause=200"});
    call.phone.expect_silence();
    call.phone_says(invite, 180, "Ringing", "t");
    const auto cancel = call.phone.expect("CANCEL ");
    CHECK_EQ(cancel.branch(), invite.branch());
    CHECK_EQ(cancel.first("Reason"), std::string("SIP;cause=200"));
    CHECK_EQ(cancel.first("CSeq"), std::string("1 CANCEL"));
    CHECK_EQ(cancel.first("To"), invite.first("To"));
    CHECK_EQ(cancel.start().substr(7), invite.start().substr(7));
    CHECK_EQ(cancel.all("Via").size(), 1U);
    call.phone.send(wire::response(cancel, 200, "OK"), station.at());
    CHECK_EQ(call.phone_says(invite, 487, "Request Terminated", "t").status, 487);
    CHECK_EQ(call.phone.expect("ACK ").branch(), invite.branch());
    station.stop();
}

TEST("a phone whose 180 was lost gets the INVITE again after the call's end, and CANCEL at its next 180") {
    Station station;
    Call call(station);
    const auto invite = call.fork();
    station.stack().order(CancelOrder{call.held.txn, 1, ""});
    const auto again = call.phone.expect("INVITE ");
    CHECK_EQ(again.branch(), invite.branch());
    call.phone_says(again, 180, "Ringing", "t");
    const auto cancel = call.phone.expect("CANCEL ");
    CHECK_EQ(cancel.branch(), invite.branch());
    call.phone.send(wire::response(cancel, 200, "OK"), station.at());
    call.phone_says(invite, 487, "Request Terminated", "t");
    call.phone.expect("ACK ");
    call.phone.expect_silence(700);
    station.stop();
}

TEST("a cancelled INVITE is repeated for 8*T1 and no longer: a phone that wakes only then stays still") {
    FastTimers fast;
    Station station;
    Call call(station);
    const auto invite = call.fork();
    station.stack().order(CancelOrder{call.held.txn, 1, ""});
    for (int repeated = 0; repeated < 2; ++repeated) call.phone.expect("INVITE ");
    call.phone.receive(300);         // the third is due just before the end: a busy machine may miss it
    call.phone.expect_silence(500);  // the next one would come 240 ms after that
    station.stop();
}

TEST("an INVITE that was sent long before its CANCEL is not repeated any more") {
    FastTimers fast;
    Station station;
    Call call(station);
    const auto invite = call.fork();
    for (int repeated = 0; repeated < 3; ++repeated) call.phone.expect("INVITE ");
    std::this_thread::sleep_for(std::chrono::milliseconds(60));
    station.stack().order(CancelOrder{call.held.txn, 1, ""});
    call.phone.expect_silence(500);
    station.stop();
}

TEST("the 200 of a CANCEL, repeated late, is not taken for the phone's answer") {
    FastTimers fast;
    Station station;
    Call call(station);
    const auto invite = call.fork();
    call.phone_says(invite, 180, "Ringing", "t");
    station.stack().order(CancelOrder{call.held.txn, 1, ""});
    const auto cancel = call.phone.expect("CANCEL ");
    const auto ok = wire::response(cancel, 200, "OK");
    call.phone.send(ok, station.at());
    call.phone_says(invite, 487, "Request Terminated", "t");
    station.expect_none(FactKind::branch_response, 500);  // the CANCEL's transaction is over
    call.phone.send(ok, station.at());
    station.expect_none(FactKind::branch_response);
    station.stop();
}

TEST("a 100 from the phone is provisional enough for the CANCEL; a second order sends no second one") {
    Station station;
    Call call(station);
    const auto invite = call.fork();
    call.phone.send(wire::response(invite, 100, "Trying"), station.at());
    station.fact(FactKind::branch_response);
    station.stack().order(CancelOrder{call.held.txn, 1, ""});
    station.stack().order(CancelOrder{call.held.txn, 1, ""});
    const auto cancel = call.phone.expect("CANCEL ");
    call.phone.send(wire::response(cancel, 200, "OK"), station.at());
    call.phone.expect_silence();
    station.stop();
}

TEST("a 200 that crosses the CANCEL is reported, ACKed and ended") {
    Station station;
    Call call(station);
    const auto invite = call.fork();
    call.phone_says(invite, 180, "Ringing", "t");
    station.stack().order(CancelOrder{call.held.txn, 1, ""});
    call.phone.expect("CANCEL ");
    const auto crossed = call.phone_says(invite, 200, "OK", "t");
    station.stack().order(push_proxy::AckAndByeOrder{crossed.txn, crossed.branch, crossed.response});
    call.phone.expect("ACK ");
    call.phone.expect("BYE ");
    station.stop();
}

TEST("a phone that ignores the CANCEL is given up after 64*T1, and nothing of the call is left") {
    FastTimers fast;
    Station station;
    Call call(station);
    const auto invite = call.fork();
    call.phone_says(invite, 180, "Ringing", "t");
    station.reply(call.held, 480, "Gone");
    station.stack().order(CancelOrder{call.held.txn, 1, ""});
    const auto fact = station.fact(FactKind::branch_response, 6000);
    CHECK_EQ(fact.status, 408);
    CHECK(fact.flag);
    station.expect_empty();
    station.stop();
}

TEST("CANCEL for an INVITE that nobody knows gets 481") {
    Station station;
    const Agent pbx;
    pbx.send(cancel_of(wire::request("INVITE", station.uri("101"), pbx)), station.at());
    pbx.expect("SIP/2.0 481");
    station.stop();
}
