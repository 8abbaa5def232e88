// In-dialog requests toward a device that has moved or is away (docs/adr/0010).
#include <algorithm>

#include "check.hpp"
#include "line.hpp"
#include "station.hpp"

using namespace station;
using push_proxy::BindOrder;
using push_proxy::UnbindOrder;
using wire::Line;

namespace {

push_proxy::Settings waiting_settings(unsigned wait_ms = 5000) {
    auto made = settings();
    made.listen = {{"127.0.0.1", 0, "udp"}, {"127.0.0.1", 0, "tcp"}};
    made.in_dialog_wait_ms = wait_ms;
    return made;
}

// A phone on TCP in a call with a PBX on UDP. It can lose its connection and come back.
struct Mobile {
    // With `elsewhere` it answers by a connection that it has not registered, its own having ended.
    explicit Mobile(Station& at, bool acknowledged = true, bool elsewhere = false) : station(at), call(at) {
        connect();
        auto rewrite = call.rewrite(call.phone);
        rewrite.destination = line->address();
        rewrite.local = station.at(1);
        station.stack().order(push_proxy::ForkOrder{call.held.txn, 1, rewrite});
        invite = line->expect("INVITE ");
        answer = wire::response(invite, 200, "OK", "phone-tag").add("Contact", "<sip:101@127.0.0.1;transport=tcp>");
        if (elsewhere) {
            lose();
            CHECK_EQ(station.fact(FactKind::branch_response).status, 430);
            line = std::make_unique<Line>(Line::connect(station.at(1)));
        }
        line->send(answer);
        answered = station.fact(FactKind::branch_response);
        if (!acknowledged && elsewhere) return;
        station.relay(answered);
        while (call.ok.status() != 200) call.ok = call.pbx.expect("SIP/2.0 ");
        if (!acknowledged) return;
        call.pbx.send(from_pbx("ACK", 1), station.at());
        line->expect("ACK ");
    }

    // Comes on a new connection, and is bound to it unless told otherwise.
    void connect(bool bound = true) {
        line = std::make_unique<Line>(Line::connect(station.at(1)));
        line->send(wire::request("REGISTER", "sip:127.0.0.1", *line));
        station.reply(station.fact(FactKind::request), 200, "OK");
        line->expect("SIP/2.0 200");
        if (bound) bind();
    }
    void bind() {
        station.stack().order(BindOrder{kRoute, line->address(), station.at(1)});
        station.carried_out();
    }
    void lose() {
        line->close();
        station.fact(FactKind::flow_lost);
    }

    Draft from_pbx(const std::string& method, int cseq) const {
        auto draft = call.from_pbx(method, cseq).drop("Route");
        const auto records = call.ok.all("Record-Route");
        for (auto record = records.rbegin(); record != records.rend(); ++record) draft.add("Route", *record);
        return draft;
    }
    // On the phone's connection of this moment.
    Draft from_phone(const std::string& method, int cseq) const {
        auto draft = wire::request(method, "sip:200@" + call.pbx.host_port(), *line);
        draft.set("From", call.ok.first("To")).set("To", call.ok.first("From"));
        draft.set("Call-ID", call.ok.first("Call-ID")).set("CSeq", std::to_string(cseq) + " " + method);
        for (const auto& record : call.ok.all("Record-Route")) draft.add("Route", record);
        return draft;
    }
    void pbx_asks(const Draft& draft) const { call.pbx.send(draft, station.at()); }
    void waits(std::uint64_t count) const {
        for (int left = 4000; station.counter("live.waiting") != count; left -= 5) {
            if (left <= 0) throw check::Failure("waiting: " + std::to_string(station.counter("live.waiting")));
            station.expect_none(FactKind::flow_lost, 5);
        }
    }
    // The final response to that method, other ones passed over.
    Message pbx_hears(const std::string& method, int wait_ms = 4000) const {
        for (;;) {
            auto message = call.pbx.receive(wait_ms);
            if (!message) throw check::Failure("no answer to " + method);
            if (message->status() >= 200 && message->first("CSeq").ends_with(method)) return *message;
        }
    }

    Station& station;
    Call call;
    std::unique_ptr<Line> line;
    Message invite;
    Draft answer;
    Fact answered;
};

Draft cancel_of(const Draft& invite) {
    auto cancel = invite;
    cancel.start.replace(0, 6, "CANCEL");
    const auto cseq = std::find_if(cancel.headers.begin(), cancel.headers.end(),
                                   [](const auto& header) { return header.first == "CSeq"; });
    cseq->second = cseq->second.substr(0, cseq->second.find(' ')) + " CANCEL";
    return cancel;
}

}  // namespace

TEST("a device without a flow: BYE waits in silence, reaches it on its new connection, and its 200 comes back") {
    Station station(waiting_settings());
    Mobile phone(station);
    phone.lose();
    phone.pbx_asks(phone.from_pbx("BYE", 2));
    phone.waits(1);
    phone.call.pbx.expect_silence(300);
    phone.connect();
    const auto bye = phone.line->expect("BYE ");
    CHECK(bye.all("Route").empty());
    CHECK_EQ(bye.all("Via").size(), 2U);
    phone.line->send(wire::response(bye, 200, "OK"));
    phone.call.pbx.expect("SIP/2.0 200");
    phone.waits(0);
    CHECK_EQ(station.counter("in_dialog.waited"), 1U);
    station.stop();
}

TEST("whoever can wake a device is told when a request goes to it, and whether it waits") {
    Station station(waiting_settings());
    Mobile phone(station);
    phone.pbx_asks(phone.from_pbx("INFO", 2));
    const auto info = phone.line->expect("INFO ");
    const auto sent = station.fact(FactKind::device_awaited);
    CHECK_EQ(sent.name, kRoute);
    CHECK_EQ(sent.text, std::string("INFO"));
    CHECK_EQ(sent.call_id, kCall);
    CHECK(!sent.flag);
    phone.line->send(wire::response(info, 200, "OK"));
    phone.pbx_hears("INFO");
    phone.lose();
    phone.pbx_asks(phone.from_pbx("BYE", 3));
    phone.waits(1);
    const auto waiting = station.fact(FactKind::device_awaited);
    CHECK_EQ(waiting.text, std::string("BYE"));
    CHECK(waiting.flag);
    phone.connect();
    phone.line->send(wire::response(phone.line->expect("BYE "), 200, "OK"));
    phone.pbx_hears("BYE");
    station.expect_none(FactKind::device_awaited, 50);
    station.stop();
}

TEST("a device that does not come back is 430 Flow Failed after the time that is set, and nothing is left") {
    FastTimers fast;
    Station station(waiting_settings(700));
    Mobile phone(station);
    phone.lose();
    phone.pbx_asks(phone.from_pbx("INFO", 2));
    phone.waits(1);
    phone.call.pbx.expect("SIP/2.0 100");  // RFC 4320 4.1: not before 7*T1, 210 ms here
    CHECK_EQ(phone.pbx_hears("INFO", 2000).start(), std::string("SIP/2.0 430 Flow Failed"));
    CHECK_EQ(station.counter("rejected.flow_failed"), 1U);
    phone.waits(0);
    phone.connect();
    phone.line->expect_silence(100);  // what was refused is not sent any more
    station.expect_empty();
    station.stop();
}

TEST("a binding to a connection that is gone, or none, ends no wait; the next one to a live one does") {
    Station station(waiting_settings());
    Mobile phone(station);
    const auto dead = phone.line->address();
    phone.lose();
    phone.pbx_asks(phone.from_pbx("INFO", 2));
    phone.waits(1);
    station.stack().order(BindOrder{kRoute, dead, station.at(1)});
    station.stack().order(UnbindOrder{kRoute});
    station.stack().order(BindOrder{"ffeeddccbbaa0099", phone.call.phone.address(), station.at()});
    station.carried_out();
    phone.waits(1);
    phone.call.phone.expect_silence(100);
    phone.connect();
    phone.line->expect("INFO ");
    station.stop();
}

TEST("a waiting re-INVITE says 100 at once; its CANCEL ends it with 487, and no phone rings later") {
    Station station(waiting_settings());
    Mobile phone(station);
    phone.lose();
    const auto reinvite = phone.from_pbx("INVITE", 2);
    phone.pbx_asks(reinvite);
    phone.call.pbx.expect("SIP/2.0 100", 400);
    phone.pbx_asks(reinvite);
    phone.call.pbx.expect("SIP/2.0 100");  // repeated: one request
    phone.waits(1);
    phone.pbx_asks(cancel_of(reinvite));
    CHECK_EQ(phone.pbx_hears("CANCEL").status(), 200);
    CHECK_EQ(phone.pbx_hears("INVITE").status(), 487);
    phone.waits(0);
    phone.connect();
    phone.line->expect_silence(150);
    station.expect_none(FactKind::cancel, 50);
    station.stop();
}

TEST("BYE ends what else waits in its dialog with 487, and goes to the device alone") {
    Station station(waiting_settings());
    Mobile phone(station);
    phone.lose();
    phone.pbx_asks(phone.from_pbx("INVITE", 2));
    phone.pbx_asks(phone.from_pbx("INFO", 3));
    phone.waits(2);
    phone.pbx_asks(phone.from_pbx("BYE", 4));
    phone.waits(1);
    CHECK_EQ(phone.pbx_hears("INVITE").status(), 487);
    CHECK_EQ(phone.pbx_hears("INFO").status(), 487);
    phone.connect();
    phone.line->expect("BYE ");
    phone.line->expect_silence(100);
    station.stop();
}

TEST("the device hangs up on a new connection before it has registered: what waits for it is over") {
    Station station(waiting_settings());
    Mobile phone(station);
    phone.lose();
    phone.pbx_asks(phone.from_pbx("INFO", 2));
    phone.pbx_asks(phone.from_pbx("BYE", 3));
    phone.waits(1);
    CHECK_EQ(phone.pbx_hears("INFO").status(), 487);
    phone.connect(false);
    phone.line->send(phone.from_phone("BYE", 7));
    CHECK_EQ(phone.pbx_hears("BYE").status(), 481);
    phone.call.pbx.send(wire::response(phone.call.pbx.expect("BYE "), 200, "OK"), station.at());
    phone.line->expect("SIP/2.0 200");
    station.stop();
}

TEST("what waits goes out in the order it came, once, and a call of another dialog is not ended by BYE") {
    Station station(waiting_settings());
    Mobile phone(station);
    phone.lose();
    for (const auto& [method, cseq] : {std::pair{"INFO", 2}, std::pair{"UPDATE", 3}, std::pair{"REFER", 4}}) {
        phone.pbx_asks(phone.from_pbx(method, cseq));
        phone.waits(static_cast<std::uint64_t>(cseq - 1));
    }
    auto other = phone.from_pbx("BYE", 5);
    phone.pbx_asks(other.set("Call-ID", "another-dialog"));
    phone.waits(4);
    phone.connect();
    for (const auto* method : {"INFO ", "UPDATE ", "REFER ", "BYE "}) {
        const auto arrived = phone.line->expect(method);
        phone.line->send(wire::response(arrived, 200, "OK"));
        phone.call.pbx.expect("SIP/2.0 200");
    }
    phone.bind();
    phone.line->expect_silence(100);
    station.stop();
}

TEST("32 requests wait for one device, and as many as are set for all; the next has 430 at once") {
    for (const std::size_t limit : {std::size_t{4096}, std::size_t{3}}) {
        auto with = waiting_settings();
        with.waiting_limit = limit;
        Station station(with);
        Mobile phone(station);
        phone.lose();
        const int most = limit == 3 ? 3 : 32;
        for (int cseq = 2; cseq < 2 + most; ++cseq) phone.pbx_asks(phone.from_pbx("INFO", cseq));
        phone.waits(static_cast<std::uint64_t>(most));
        phone.pbx_asks(phone.from_pbx("UPDATE", 90));
        CHECK_EQ(phone.pbx_hears("UPDATE", 300).status(), 430);
        phone.connect();
        for (int count = 0; count < most; ++count) phone.line->expect("INFO ");
        station.stop();
    }
}

TEST("a stack that stops answers who waits with 503, told to come back") {
    Station station(waiting_settings());
    Mobile phone(station);
    phone.lose();
    phone.pbx_asks(phone.from_pbx("INVITE", 2));
    phone.pbx_asks(phone.from_pbx("BYE", 3).set("Call-ID", "another-dialog"));
    phone.waits(2);
    station.stop();
    phone.call.pbx.expect("SIP/2.0 100");
    for (int i = 0; i < 2; ++i) {
        const auto refused = phone.call.pbx.expect("SIP/2.0 ");
        CHECK_EQ(refused.status(), 503);
        CHECK_EQ(refused.first("Retry-After"), std::string("5"));
    }
}

TEST("the ACK of a 2xx waits too, once however often it comes, and not longer than requests do") {
    Station station(waiting_settings(400));
    Mobile phone(station, false);
    phone.lose();
    for (int i = 0; i < 3; ++i) phone.pbx_asks(phone.from_pbx("ACK", 1));
    phone.pbx_asks(phone.from_pbx("INFO", 2));
    phone.waits(1);
    phone.connect();
    CHECK_EQ(phone.line->expect("ACK ").first("CSeq"), std::string("1 ACK"));
    phone.line->send(wire::response(phone.line->expect("INFO "), 200, "OK"));
    CHECK_EQ(phone.pbx_hears("INFO").status(), 200);
    phone.line->expect_silence(100);
    phone.lose();
    phone.pbx_asks(phone.from_pbx("ACK", 1));
    phone.call.pbx.expect_silence(500);
    phone.connect();
    phone.line->expect_silence(100);
    station.stop();
}

TEST("a connection that ends under an unanswered request: the request goes to the next one, and one answer comes") {
    Station station(waiting_settings());
    Mobile phone(station);
    for (const std::string method : {"INFO", "INVITE"}) {
        phone.pbx_asks(phone.from_pbx(method, method == "INFO" ? 2 : 3));
        const auto first = phone.line->expect(method + " ");
        if (method == "INVITE") phone.line->send(wire::response(first, 180, "Ringing"));
        phone.lose();
        phone.waits(1);
        phone.connect();
        const auto second = phone.line->expect(method + " ");
        CHECK(second.branch() != first.branch());
        CHECK_EQ(second.first("CSeq"), first.first("CSeq"));
        phone.line->send(wire::response(second, 200, "OK"));
        CHECK_EQ(phone.pbx_hears(method).status(), 200);
        phone.call.pbx.expect_silence(150);
    }
    station.stop();
}

TEST("Wi-Fi to LTE over UDP: an unanswered request follows the phone to its new address at once, as a repetition") {
    Station station;
    Call call(station);
    call.answered();
    station.stack().order(BindOrder{kRoute, call.phone.address(), station.at()});
    const Agent lte("127.0.0.9");
    for (const std::string method : {"INVITE", "BYE"}) {
        call.pbx.send(call.from_pbx(method, method == "BYE" ? 3 : 2), station.at());
        const auto lost = call.phone.expect(method + " ");
        station.stack().order(BindOrder{kRoute, lte.address(), station.at()});
        const auto arrived = lte.expect(method + " ", 300);  // Timers A and E would take 500 ms
        CHECK_EQ(arrived.text, lost.text);
        lte.expect(method + " ");
        call.phone.expect_silence(100);
        lte.send(wire::response(arrived, 200, "OK"), station.at());
        auto answer = call.pbx.expect("SIP/2.0 ");
        if (answer.status() == 100) answer = call.pbx.expect("SIP/2.0 ");
        CHECK_EQ(answer.status(), 200);
        while (lte.receive(50)) {
        }
        station.stack().order(BindOrder{kRoute, call.phone.address(), station.at()});
        station.carried_out();
        call.phone.expect_silence(100);  // answered: it goes nowhere any more
        while (call.pbx.receive(20)) {
        }
    }
    CHECK_EQ(station.counter("in_dialog.redirected"), 2U);
    station.stop();
}

TEST("a binding renewed at the same address repeats nothing; a request that rings there is not sent elsewhere") {
    Station station;
    Call call(station);
    call.answered();
    call.pbx.send(call.from_pbx("INVITE", 2), station.at());
    const auto arrived = call.phone.expect("INVITE ");
    station.stack().order(BindOrder{kRoute, call.phone.address(), station.at()});
    station.carried_out();
    call.phone.expect_silence(200);
    call.phone.send(wire::response(arrived, 180, "Ringing"), station.at());
    call.pbx.expect("SIP/2.0 100");
    call.pbx.expect("SIP/2.0 180");
    const Agent lte("127.0.0.9");
    station.stack().order(BindOrder{kRoute, lte.address(), station.at()});
    station.carried_out();
    lte.expect_silence(200);
    call.phone.send(wire::response(arrived, 200, "OK"), station.at());
    call.pbx.expect("SIP/2.0 200");
    station.stop();
}

TEST("a re-INVITE that was cancelled unanswered follows its device no more") {
    Station station;
    Call call(station);
    call.answered();
    const auto reinvite = call.from_pbx("INVITE", 2);
    call.pbx.send(reinvite, station.at());
    call.phone.expect("INVITE ");
    call.pbx.send(cancel_of(reinvite), station.at());
    while (call.pbx.expect("SIP/2.0 ").status() != 200) {
    }
    const Agent lte("127.0.0.9");
    station.stack().order(BindOrder{kRoute, lte.address(), station.at()});
    lte.expect_silence(700);
    station.stop();
}

TEST("from Wi-Fi that went silent to a new connection: a branch of its own, and the first 2xx counts, once") {
    for (const bool old_answers : {false, true}) {
        Station station(waiting_settings());
        Mobile phone(station);
        phone.pbx_asks(phone.from_pbx("INVITE", 2));
        const auto before = phone.line->expect("INVITE ");
        const auto silent = std::move(phone.line);
        phone.connect();
        const auto after = phone.line->expect("INVITE ");
        CHECK(after.branch() != before.branch());
        if (old_answers) {
            silent->send(wire::response(before, 486, "Busy Here"));  // no longer asked
            phone.call.pbx.expect("SIP/2.0 100");
            phone.call.pbx.expect_silence(100);
            silent->send(wire::response(before, 200, "OK"));
            CHECK_EQ(phone.pbx_hears("INVITE").status(), 200);
        }
        phone.line->send(wire::response(after, 200, "OK"));
        if (!old_answers) CHECK_EQ(phone.pbx_hears("INVITE").status(), 200);
        phone.call.pbx.expect_silence(200);
        station.stop();
    }
}

TEST("a request follows its device to five flows and no further") {
    auto with = settings();
    with.listen = {{"127.0.0.1", 0}, {"127.0.0.1", 0}};
    Station station(with);
    Call call(station);
    call.answered();
    call.pbx.send(call.from_pbx("INFO", 2), station.at());
    call.phone.expect("INFO ");
    std::vector<std::unique_ptr<Agent>> agents;
    for (int i = 0; i < 6; ++i) {
        agents.push_back(std::make_unique<Agent>("127.0.0.9"));
        // From both sockets in turn: a new branch and a repetition.
        station.stack().order(BindOrder{kRoute, agents.back()->address(), station.at(i % 3 == 0 ? 1 : 0)});
        if (i < 4) {
            agents.back()->expect("INFO ", 300);
        } else {
            agents.back()->expect_silence(200);
        }
    }
    station.stop();
}

TEST("a request that waits a second time keeps its first clock, and no timer outlives it") {
    Station station(waiting_settings());
    Mobile phone(station);
    // Over TCP its transaction is freed with its final response.
    auto pbx = Line::connect(station.at(1));
    const auto like = phone.from_pbx("INFO", 2);
    auto info = wire::request("INFO", "sip:101@127.0.0.1", pbx);
    for (const auto& [name, value] : like.headers) {
        if (name == "Route") info.add(name, value);
        if (name == "From" || name == "To" || name == "Call-ID" || name == "CSeq") info.set(name, value);
    }
    phone.lose();
    pbx.send(info);
    phone.waits(1);
    phone.connect();
    phone.line->expect("INFO ");
    phone.lose();
    phone.waits(1);
    phone.connect();
    phone.line->send(wire::response(phone.line->expect("INFO "), 200, "OK"));
    pbx.expect("SIP/2.0 200");
    // Until seven T1 are over: 100 would be due (RFC 4320).
    pbx.expect_silence(4000);
    station.expect_alive();
    station.stop();
}

TEST("after a restart with the phone's connection gone, both sides of the call go on once it is back") {
    auto with = waiting_settings();
    auto before = std::make_unique<Station>(with);
    Mobile phone(*before);
    with.listen = {before->at(0), before->at(1)};
    before->stop();
    Station after(with);
    phone.call.pbx.send(phone.from_pbx("INVITE", 5), after.at());
    phone.call.pbx.expect("SIP/2.0 100");
    // Python tells the old bindings first, and the phone registers again.
    after.stack().order(BindOrder{kRoute, phone.line->address(), after.at(1)});
    auto line = Line::connect(after.at(1));
    line.send(wire::request("REGISTER", "sip:127.0.0.1", line));
    after.reply(after.fact(FactKind::request), 200, "OK");
    line.expect("SIP/2.0 200");
    after.stack().order(BindOrder{kRoute, line.address(), after.at(1)});
    line.send(wire::response(line.expect("INVITE "), 200, "OK"));
    phone.call.pbx.expect("SIP/2.0 200");
    phone.call.pbx.send(phone.from_pbx("ACK", 5), after.at());
    line.expect("ACK ");
    after.stop();
}

TEST("without a binding the connection that the token names is used while it stands") {
    Station station(waiting_settings());
    Mobile phone(station);
    station.stack().order(UnbindOrder{kRoute});
    station.carried_out();
    phone.pbx_asks(phone.from_pbx("INFO", 2));
    phone.line->expect("INFO ");
    station.stop();
}

TEST("a UDP device that cannot be sent to is waited for like one whose connection is gone") {
    Station station(waiting_settings());
    Mobile phone(station);
    station.stack().order(BindOrder{kRoute, {"255.255.255.255", 9}, station.at()});  // the kernel refuses
    station.carried_out();
    phone.pbx_asks(phone.from_pbx("BYE", 2));
    phone.waits(1);
    phone.bind();
    phone.line->expect("BYE ");
    station.stop();
}

TEST("a phone that answers by a connection it has not registered: ACK and BYE of the PBX follow it there") {
    for (const bool unbound : {false, true}) {
        Station station(waiting_settings());
        Mobile phone(station, true, true);
        if (unbound) {
            station.stack().order(UnbindOrder{kRoute});
            station.carried_out();
        }
        phone.pbx_asks(phone.from_pbx("INFO", 2));
        phone.line->send(wire::response(phone.line->expect("INFO "), 200, "OK"));
        CHECK_EQ(phone.pbx_hears("INFO").status(), 200);
        // Not longer than it stands, and not once the device has registered.
        phone.lose();
        phone.pbx_asks(phone.from_pbx("BYE", 3));
        phone.waits(1);
        phone.connect();
        phone.line->send(wire::response(phone.line->expect("BYE "), 200, "OK"));
        CHECK_EQ(phone.pbx_hears("BYE").status(), 200);
        station.stop();
    }
}

TEST("a phone that answers by a connection it has not registered, too late, is told so there: ACK and BYE") {
    Station station(waiting_settings());
    Mobile phone(station, false, true);
    station.stack().order(push_proxy::AckAndByeOrder{phone.call.held.txn, 1, phone.answered.response});
    phone.line->expect("ACK ");
    phone.line->send(wire::response(phone.line->expect("BYE "), 200, "OK"));
    station.stop();
}
