// `forward`: an app's own request goes to its PBX; the stack relays the rest by itself.
#include "check.hpp"
#include "station.hpp"

using namespace station;
using push_proxy::ForwardOrder;

namespace {

// An app calls out: `phone` is the caller, `pbx` the target.
struct Outbound {
    explicit Outbound(Station& at, const std::string& method = "INVITE", bool send_on = true)
        : station(at), request(wire::request(method, "sip:300@pbx.example.com", phone)) {
        request.add("Route", "<sip:127.0.0.1:" + std::to_string(at.at().port) + ";lr>");
        request.add("P-Asserted-Identity", "<sip:boss@pbx.example.com>");
        phone.send(request, at.at());
        fact = at.fact(FactKind::request);
        if (send_on) order(pbx.address());
    }

    void order(const Address& target) const {
        push_proxy::Rewrite rewrite;
        rewrite.request_uri = "sip:300@pbx.example.com";
        rewrite.destination = target;
        rewrite.local = station.at();
        rewrite.remove = {"P-Asserted-Identity"};
        rewrite.add = {{"X-Seen", "yes"}};
        rewrite.call = kCall;
        rewrite.route_key = kRoute;
        rewrite.device_is_caller = true;
        station.stack().order(ForwardOrder{fact.txn, rewrite});
    }

    Draft cancel() const {
        auto draft = request;
        draft.start.replace(0, 6, "CANCEL");
        return draft.set("CSeq", "1 CANCEL").drop("Contact");
    }

    Station& station;
    Agent phone;
    Agent pbx;
    Draft request;
    Fact fact;
};

}  // namespace

TEST("an app's INVITE: 100 at once, the answers relayed, the final one told, BYE finds the PBX") {
    Station station;
    Outbound out(station);
    out.phone.expect("SIP/2.0 100", 120);
    const auto invite = out.pbx.expect("INVITE sip:300@pbx.example.com ");
    CHECK(invite.all("P-Asserted-Identity").empty());
    CHECK(invite.all("Route").empty());
    CHECK_EQ(invite.first("X-Seen"), std::string("yes"));
    out.pbx.send(wire::response(invite, 100, "Trying"), station.at());
    out.phone.expect_silence(100);
    out.pbx.send(wire::response(invite, 183, "Session Progress", "p"), station.at());
    out.phone.expect("SIP/2.0 183");
    const auto ringing = station.fact(FactKind::forward_ringing);
    CHECK_EQ(ringing.txn, out.fact.txn);
    CHECK_EQ(ringing.status, 183);
    out.pbx.send(wire::response(invite, 180, "Ringing", "p"), station.at());
    out.phone.expect("SIP/2.0 180");
    station.expect_none(FactKind::forward_ringing, 50);  // once
    out.pbx.send(wire::response(invite, 200, "OK", "p").add("Contact", "<sip:300@" + out.pbx.host_port() + ">"),
                 station.at());
    const auto ok = out.phone.expect("SIP/2.0 200");
    const auto told = station.fact(FactKind::forward_response);
    CHECK_EQ(told.txn, out.fact.txn);
    CHECK_EQ(told.status, 200);
    CHECK(!told.flag);
    auto in_dialog = [&](const std::string& method, int cseq, bool by_phone) {
        auto draft = wire::request(method, "sip:x@" + (by_phone ? out.pbx : out.phone).host_port(),
                                   by_phone ? out.phone : out.pbx);
        draft.set("From", ok.first(by_phone ? "From" : "To")).set("To", ok.first(by_phone ? "To" : "From"));
        draft.set("Call-ID", ok.first("Call-ID")).set("CSeq", std::to_string(cseq) + " " + method);
        return draft.add("Route", ok.first("Record-Route"));
    };
    out.phone.send(in_dialog("ACK", 1, true), station.at());
    out.pbx.expect("ACK ");
    out.pbx.send(in_dialog("INFO", 1, false), station.at());
    out.phone.send(wire::response(out.phone.expect("INFO "), 200, "OK"), station.at());
    out.pbx.expect("SIP/2.0 200");
    out.phone.send(in_dialog("BYE", 2, true), station.at());
    out.pbx.send(wire::response(out.pbx.expect("BYE "), 200, "OK"), station.at());
    out.phone.expect("SIP/2.0 200");
    CHECK(station.fact(FactKind::dialog_ended).flag);
    // Every 2xx of a forwarded INVITE goes upstream (RFC 3261 16.7 item 5), whoever sent it.
    out.pbx.send(wire::response(invite, 200, "OK", "q"), station.at());
    CHECK_EQ(wire::param(out.phone.expect("SIP/2.0 200").first("To"), "tag"), std::string("q"));
    station.stop();
}

TEST("an app's INVITE that has had its 100 gets no second one when it is sent on") {
    Station station;
    Outbound out(station, "INVITE", false);
    station.reply(out.fact, 100, "Trying");
    out.phone.expect("SIP/2.0 100");
    out.order(out.pbx.address());
    out.pbx.expect("INVITE ");
    out.phone.expect_silence(300);
    station.stop();
}

TEST("an app's CANCEL is passed to the PBX with its Reason, and the 487 comes back") {
    Station station;
    Outbound out(station);
    out.phone.expect("SIP/2.0 100");
    const auto invite = out.pbx.expect("INVITE ");
    out.phone.send(out.cancel().add("Reason", "SIP;cause=487"), station.at());
    out.phone.expect("SIP/2.0 200");
    out.pbx.expect_silence(100);
    out.pbx.send(wire::response(invite, 180, "Ringing", "p"), station.at());
    const auto cancel = out.pbx.expect("CANCEL ");
    CHECK_EQ(cancel.first("Reason"), std::string("SIP;cause=487"));
    out.pbx.send(wire::response(cancel, 200, "OK"), station.at());
    out.pbx.send(wire::response(invite, 487, "Request Terminated", "p"), station.at());
    out.pbx.expect("ACK ");
    out.phone.expect("SIP/2.0 180");
    out.phone.expect("SIP/2.0 487");
    CHECK_EQ(station.fact(FactKind::forward_response).status, 487);
    station.expect_none(FactKind::cancel, 50);
    station.stop();
}

TEST("a CANCEL that comes before the order to forward ends the INVITE with 487; the PBX sees nothing") {
    Station station;
    Outbound out(station, "INVITE", false);
    out.phone.send(out.cancel(), station.at());
    out.phone.expect("SIP/2.0 200");
    out.order(out.pbx.address());
    out.phone.expect("SIP/2.0 487");
    CHECK_EQ(station.fact(FactKind::forward_response).status, 487);
    out.pbx.expect_silence(100);
    station.stop();
}

TEST("the PBX's challenge and the app's credentials pass unchanged") {
    const std::string challenge =
        "Digest realm=\"pbx\", nonce=\"abc/=+\", opaque=\"\", stale=false, algorithm=SHA-256, qop=\"auth,auth-int\"";
    const std::string credentials =
        "Digest username=\"101\", realm=\"pbx\", nonce=\"abc/=+\", uri=\"sip:300@pbx.example.com\", "
        "response=\"0123456789abcdef0123456789abcdef\", algorithm=SHA-256, cnonce=\"c\", qop=auth, nc=00000001";
    Station station;
    Outbound out(station);
    out.phone.expect("SIP/2.0 100");
    const auto invite = out.pbx.expect("INVITE ");
    out.pbx.send(wire::response(invite, 407, "Proxy Authentication Required", "p").add("Proxy-Authenticate", challenge),
                 station.at());
    out.pbx.expect("ACK ");
    const auto challenged = out.phone.expect("SIP/2.0 407");
    for (const auto* part : {"realm=\"pbx\"", "nonce=\"abc/=+\"", "algorithm=SHA-256", "qop=\"auth,auth-int\""})
        CHECK(challenged.first("Proxy-Authenticate").find(part) != std::string::npos);
    auto again = wire::request("MESSAGE", "sip:300@pbx.example.com", out.phone);
    out.phone.send(again.add("Proxy-Authorization", credentials), station.at());
    out.fact = station.fact(FactKind::request);
    out.order(out.pbx.address());
    const auto sent = out.pbx.expect("MESSAGE ").first("Proxy-Authorization");
    for (const auto* part : {"username=\"101\"", "nonce=\"abc/=+\"", "response=\"0123456789abcdef0123456789abcdef\"",
                             "algorithm=SHA-256", "cnonce=\"c\"", "qop=auth", "nc=00000001"})
        CHECK(sent.find(part) != std::string::npos);
    station.stop();
}

TEST("a PBX that never answers is 408, told as local") {
    FastTimers fast;
    Station station;
    Outbound out(station, "MESSAGE");
    const auto told = station.fact(FactKind::forward_response, 6000);
    CHECK_EQ(told.status, 408);
    CHECK(told.flag);
    out.phone.expect("SIP/2.0 408");
    station.expect_empty();
    station.stop();
}

TEST("Timer C ends an INVITE that rings for ever, also one that only ever said 100") {
    FastTimers fast;
    auto with = settings();
    with.timer_c_ms = 600;
    Station station(with);
    for (const int status : {180, 100}) {
        Outbound out(station);
        out.phone.expect("SIP/2.0 100");
        const auto invite = out.pbx.expect("INVITE ");
        out.pbx.send(wire::response(invite, status, "Wait", "p"), station.at());
        if (status > 100) out.phone.expect("SIP/2.0 180");
        const auto told = station.fact(FactKind::forward_response, 3000);
        CHECK_EQ(told.status, 408);
        out.phone.expect("SIP/2.0 408");
        out.pbx.expect("CANCEL ");
    }
    station.expect_empty();
    station.stop();
}

TEST("a target that cannot be reached is 500 to the app at once, and 503 told as local") {
    Station station;
    Outbound out(station, "MESSAGE", false);
    out.order({"255.255.255.255", 9});  // the kernel refuses to send there
    out.phone.expect("SIP/2.0 500");
    const auto told = station.fact(FactKind::forward_response);
    CHECK_EQ(told.status, 503);
    CHECK(told.flag);
    Outbound invite(station, "INVITE", false);
    invite.order({"255.255.255.255", 9});
    invite.phone.expect("SIP/2.0 100");
    invite.phone.expect("SIP/2.0 500");
    station.stop();
}

TEST("MESSAGE, SUBSCRIBE and methods nobody has heard of pass like any other") {
    Station station;
    for (const auto* method : {"MESSAGE", "SUBSCRIBE", "FROBNICATE", "PUBLISH"}) {
        Outbound out(station, method);
        CHECK_EQ(out.fact.name, std::string(method));
        const auto arrived = out.pbx.expect(std::string(method) + " ");
        out.pbx.send(wire::response(arrived, 202, "Accepted", "p"), station.at());
        out.phone.expect("SIP/2.0 202");
        CHECK_EQ(station.fact(FactKind::forward_response).status, 202);
        out.phone.send(out.request, station.at());
        out.phone.expect("SIP/2.0 202");
        out.pbx.expect_silence(30);
    }
    station.stop();
}
