// Requests that pass through two nodes: this stack is the one or the other, an agent stands for its neighbour.
#include <algorithm>
#include <chrono>
#include <random>

#include "check.hpp"
#include "line.hpp"
#include "nodes.hpp"

using namespace station;
using namespace nodes;
using push_proxy::BindOrder;
using push_proxy::BindThroughOrder;
using push_proxy::ForkOrder;
using push_proxy::ForwardOrder;
using push_proxy::PeersOrder;
using push_proxy::UnbindOrder;

TEST("a node token serves for its request and a minute, under any key that is known") {
    const std::string route_key("\x00\x11\x22\x33\x44\x55\x66\xff", 8);
    const std::string old_key(32, 'o');
    const auto token = push_proxy::make_node_token(route_key, "call|tag|1", 1000000, kClusterKey);
    CHECK(push_proxy::looks_like_node_token(token));
    CHECK(token.size() < 64);
    const auto read = [&](std::int64_t at, const std::string& name = "call|tag|1") {
        return push_proxy::read_node_token(token, name, at, {old_key, kClusterKey});
    };
    CHECK(read(1000000) == route_key);
    CHECK(read(1000060) == route_key);
    CHECK(read(999940) == route_key);
    CHECK(!read(1000061));
    CHECK(!read(999939));
    CHECK(!read(1000000, "call|tag|2"));
    CHECK(!read(1000000, "other|tag|1"));
    CHECK(!push_proxy::read_node_token(token, "call|tag|1", 1000000, {old_key}));
    CHECK(!push_proxy::read_node_token(token, "call|tag|1", 1000000, {}));
    const auto dot = token.find('.') + 1;
    const auto bytes = *push_proxy::base64url_decode(token.substr(dot));
    const auto changed = [&](std::string other) {
        return push_proxy::read_node_token(token.substr(0, dot) + push_proxy::base64url(other), "call|tag|1", 1000000,
                                           {kClusterKey});
    };
    CHECK(changed(bytes) == route_key);
    for (std::size_t bit = 0; bit < bytes.size() * 8; ++bit) {
        auto other = bytes;
        other[bit / 8] = static_cast<char>(other[bit / 8] ^ (1 << bit % 8));
        CHECK(!changed(other));
    }
    for (std::size_t size = 0; size < bytes.size(); ++size) CHECK(!changed(bytes.substr(0, size)));
    CHECK(!changed(bytes + "x"));
    std::mt19937 random(4);
    for (int i = 0; i < 500; ++i) {
        std::string noise;
        while (noise.size() < random() % 60) noise.push_back(static_cast<char>(random()));
        CHECK(!push_proxy::read_node_token("node1." + noise, "x", 1000000, {kClusterKey}));
    }
    // One secret for all purposes would do: a route token signed with it opens nothing here.
    push_proxy::RouteToken route;
    route.route_key = route_key;
    route.device = route.peer = {"127.0.0.1", 5060, "udp"};
    CHECK(!push_proxy::read_node_token("node1." + push_proxy::encode_route_token(route, kClusterKey), "x", 1000000,
                                       {kClusterKey}));
}

TEST("through another node: INVITE, its answers, CANCEL; the Route on top names the device to that node alone") {
    Station station(cluster());
    const Agent node("127.0.0.2");
    Call call(station);
    const auto invite = through(call, node);
    const auto routes = invite.all("Route");
    CHECK_EQ(routes.size(), 1U);
    CHECK(routes[0].ends_with("@" + node.host_port() + ";lr>"));
    CHECK_EQ(read(invite), kRoute);
    CHECK_EQ(invite.all("Record-Route").size(), 1U);
    CHECK_EQ(invite.start(), "INVITE sip:101@" + call.phone.host_port() + " SIP/2.0");
    node.send(wire::response(invite, 180, "Ringing", "t"), station.at());
    auto told = station.fact(FactKind::branch_response);
    CHECK_EQ(told.status, 180);
    station.stack().order(push_proxy::CancelOrder{call.held.txn, 1, "SIP;cause=200"});
    const auto cancel = node.expect("CANCEL ");
    CHECK_EQ(cancel.branch(), invite.branch());
    node.send(wire::response(cancel, 200, "OK", "t"), station.at());
    node.send(wire::response(invite, 487, "Request Terminated", "t"), station.at());
    node.expect("ACK ");
    CHECK_EQ(station.fact(FactKind::branch_response).status, 487);
    station.stop();
}

TEST("through another node: its 430 is told, and a 2xx that nobody wants is ended by way of it") {
    Station station(cluster());
    const Agent node("127.0.0.2");
    Call call(station);
    const auto invite = through(call, node);
    node.send(wire::response(invite, 430, "Flow Failed", "t"), station.at());
    const auto refused = station.fact(FactKind::branch_response);
    CHECK_EQ(refused.status, 430);
    CHECK(!refused.flag);
    node.expect("ACK ");
    const auto again = through(call, node, 2);
    CHECK(again.branch() != invite.branch());
    auto ok = wire::response(again, 200, "OK", "t").add("Contact", "<sip:101@" + call.phone.host_port() + ">");
    ok.headers.insert(ok.headers.begin(), {"Record-Route", records_of_edge(call, node)});
    node.send(ok, station.at());
    const auto answered = station.fact(FactKind::branch_response);
    station.stack().order(push_proxy::AckAndByeOrder{call.held.txn, 2, answered.response});
    for (const auto* method : {"ACK ", "BYE "}) {
        const auto end = node.expect(method);
        CHECK_EQ(end.all("Route").size(), 1U);
        CHECK_EQ(read(end), kRoute);
        if (*method == 'B') node.send(wire::response(end, 200, "OK"), station.at());
    }
    station.stop();
}

TEST("through another node: over TCP; where nobody listens the branch fails at once with a local 430") {
    Station station(cluster());
    Call call(station);
    auto rewrite = call.rewrite(call.phone);
    {
        const wire::Door door;
        rewrite.through = door.address();
        station.stack().order(ForkOrder{call.held.txn, 1, rewrite});
        const auto line = door.accept();
        const auto invite = line.expect("INVITE ");
        CHECK(invite.first("Route").ends_with(";transport=tcp;lr>"));
        line.send(wire::response(invite, 480, "Temporarily Unavailable", "t"));
        CHECK_EQ(station.fact(FactKind::branch_response).status, 480);
    }
    station.fact(FactKind::flow_lost);
    station.stack().order(ForkOrder{call.held.txn, 2, rewrite});
    const auto failed = station.fact(FactKind::branch_response);
    CHECK_EQ(failed.status, 430);
    CHECK(failed.flag);
    station.stop();
}

TEST("through another node: without a cluster key, or to a name, the order fails and says why") {
    Station station;
    Call call(station);
    auto rewrite = call.rewrite(call.phone);
    rewrite.through = Address{"127.0.0.2", 5060};
    station.stack().order(ForkOrder{call.held.txn, 1, rewrite});
    CHECK(station.fact(FactKind::order_failed).text.find("cluster key") != std::string::npos);
    station.stack().order(BindThroughOrder{kRoute, {"127.0.0.2", 5060}});
    CHECK(station.fact(FactKind::order_failed).text.find("cluster key") != std::string::npos);
    station.stop();
    Station second(cluster());
    second.stack().order(BindThroughOrder{kRoute, {"node.example.com", 5060}});
    CHECK_EQ(second.fact(FactKind::order_failed).name, std::string("bind_through"));
    second.stack().order(BindThroughOrder{"xyz", {"127.0.0.2", 5060}});
    CHECK_EQ(second.fact(FactKind::order_failed).name, std::string("bind_through"));
    second.expect_alive();
    second.stop();
}

TEST("through another node: MESSAGE, as a forwarded request and as one of our own") {
    Station station(cluster());
    const Agent node("127.0.0.2");
    const Agent pbx;
    auto draft = wire::request("MESSAGE", station.uri("101"), pbx).with("text/plain", "hello");
    pbx.send(draft, station.at());
    const auto held = station.fact(FactKind::request);
    push_proxy::Rewrite rewrite;
    rewrite.request_uri = "sip:101@127.0.0.9:5999";
    rewrite.destination = {"127.0.0.9", 5999};
    rewrite.local = station.at();
    rewrite.route_key = kRoute;
    rewrite.through = node.address();
    station.stack().order(ForwardOrder{held.txn, rewrite});
    const auto passed = node.expect("MESSAGE sip:101@127.0.0.9:5999 ");
    CHECK_EQ(read(passed), kRoute);
    CHECK_EQ(passed.body(), std::string("hello"));
    node.send(wire::response(passed, 202, "Accepted", "t"), station.at());
    pbx.expect("SIP/2.0 202");
    CHECK_EQ(station.fact(FactKind::forward_response).status, 202);

    push_proxy::RequestOrder order;
    order.request = 7;
    order.method = "MESSAGE";
    order.request_uri = rewrite.request_uri;
    order.from = "<sip:200@pbx.example.com>;tag=f";
    order.to = "<sip:101@pbx.example.com>";
    order.call_id = "stored-1";
    order.cseq = 1;
    order.body = "kept";
    order.headers = {{"Content-Type", "text/plain"}, {"Route", "<sip:edge.example.com;lr>"}};
    order.destination = rewrite.destination;
    order.local = station.at();
    order.connect = false;
    order.through = node.address();
    order.route_key = kRoute;
    station.stack().order(order);
    const auto own = node.expect("MESSAGE ");
    const auto routes = own.all("Route");
    CHECK_EQ(routes.size(), 2U);
    CHECK_EQ(read(own), kRoute);
    CHECK_EQ(routes[1], std::string("<sip:edge.example.com;lr>"));
    node.send(wire::response(own, 430, "Flow Failed", "t"), station.at());
    const auto answered = station.fact(FactKind::request_answered);
    CHECK_EQ(answered.status, 430);
    CHECK(!answered.flag);
    // A node that dies takes the request with it.
    order.request = 8;
    order.call_id = "stored-2";
    station.stack().order(order);
    node.expect("MESSAGE ");
    station.stack().order(PeersOrder{{station.at()}});
    const auto lost = station.fact(FactKind::request_answered);
    CHECK_EQ(lost.status, 430);
    CHECK(lost.flag);
    station.stop();
}

TEST("for another node: INVITE goes to the device's flow, unseen by Python; the dialog passes here both ways") {
    Station station(cluster());
    Edge edge(station);
    station.stack().order(BindOrder{kRoute, edge.phone.address(), station.at()});
    station.carried_out();
    const auto draft = edge.request("INVITE", 1);
    edge.node.send(draft, station.at());
    edge.node.expect("SIP/2.0 100");
    const auto invite = edge.phone.expect("INVITE sip:101@phone.example.com ");
    CHECK(invite.all("Route").empty());
    CHECK_EQ(invite.first("Max-Forwards"), std::string("68"));
    const auto records = invite.all("Record-Route");
    CHECK_EQ(records.size(), 2U);
    CHECK_EQ(records[1], edge.record());
    const auto ours = token_in(records[0]);
    CHECK(ours.has_value());
    CHECK(ours->device == edge.phone.address());
    CHECK(ours->peer == edge.node.address());
    edge.node.send(draft, station.at());  // repeated: the transaction answers
    edge.phone.expect_silence(100);
    edge.phone.send(wire::response(invite, 180, "Ringing", "p"), station.at());
    auto heard = edge.node.receive(1000);
    while (heard && heard->status() == 100) heard = edge.node.receive(1000);
    CHECK(heard && heard->status() == 180);
    edge.phone.send(wire::response(invite, 200, "OK", "p").add("Contact", "<sip:101@phone.example.com>"), station.at());
    const auto ok = edge.node.expect("SIP/2.0 200");
    CHECK_EQ(ok.all("Via").size(), 2U);  // the node's, and the PBX's below it
    edge.node.send(edge.request("ACK", 1, "p"), station.at());
    CHECK(edge.phone.expect("ACK ").all("Route").empty());

    edge.node.send(edge.request("INFO", 2, "p"), station.at());
    const auto info = edge.phone.expect("INFO ");
    CHECK(info.all("Record-Route").empty());
    edge.phone.send(wire::response(info, 200, "OK"), station.at());
    edge.node.expect("SIP/2.0 200");

    edge.phone.send(edge.from_phone("INFO", 5, records), station.at());
    const auto back = edge.node.expect("INFO ");
    CHECK(back.all("Route") == std::vector<std::string>{edge.record()});
    edge.node.send(wire::response(back, 200, "OK"), station.at());
    edge.phone.expect("SIP/2.0 200");
    CHECK_EQ(station.fact(FactKind::device_heard).name, kRoute);

    edge.phone.send(edge.from_phone("BYE", 6, records), station.at());
    edge.node.send(wire::response(edge.node.expect("BYE "), 200, "OK"), station.at());
    edge.phone.expect("SIP/2.0 200");
    // The call is the other node's: nothing of it is told here.
    for (const auto kind : {FactKind::request, FactKind::dialog_ended, FactKind::device_awaited})
        station.expect_none(kind, 20);
    CHECK_EQ(station.counter("nodes.passed"), 3U);  // the repetition never came so far
    station.stop();
}

TEST("for another node: CANCEL is passed on; without a flow here it is 430 at once, in a dialog too") {
    const FastTimers fast;
    Station station(cluster());
    Edge edge(station);
    edge.node.send(edge.request("INVITE", 1), station.at());
    edge.node.expect("SIP/2.0 430");
    edge.node.send(edge.request("BYE", 2, "p"), station.at());
    edge.node.expect("SIP/2.0 430");
    edge.node.send(edge.request("MESSAGE", 3), station.at());
    edge.node.expect("SIP/2.0 430");
    edge.node.send(edge.request("OPTIONS", 4, "p"), station.at());
    edge.node.expect("SIP/2.0 430");

    station.stack().order(BindOrder{kRoute, edge.phone.address(), station.at()});
    station.carried_out();
    const auto draft = edge.request("INVITE", 5);
    edge.node.send(draft, station.at());
    edge.node.expect("SIP/2.0 100");
    const auto invite = edge.phone.expect("INVITE ");
    edge.phone.send(wire::response(invite, 180, "Ringing", "p"), station.at());
    edge.node.expect("SIP/2.0 180");
    auto cancel = draft;
    cancel.start.replace(0, 6, "CANCEL");
    edge.node.send(cancel.set("CSeq", "5 CANCEL"), station.at());
    edge.node.expect("SIP/2.0 200");
    const auto passed = edge.phone.expect("CANCEL ");
    edge.phone.send(wire::response(passed, 200, "OK", "p"), station.at());
    edge.phone.send(wire::response(invite, 487, "Request Terminated", "p"), station.at());
    edge.node.expect("SIP/2.0 487");
    edge.phone.expect("ACK ");
    station.expect_empty();
    station.stop();
}

TEST("for another node: what has been ordered before its INVITE came holds for it, however much came before") {
    Station station(cluster());
    Edge edge(station);
    const Agent stranger;
    for (int turn = 1; turn <= 20; ++turn) {
        station.stack().order(UnbindOrder{kRoute});
        station.carried_out();
        // The socket is served at once, and with it what comes meanwhile: the order's own turn is later.
        for (int i = 0; i < 20; ++i)
            stranger.send(wire::request("OPTIONS", station.uri("probe"), stranger), station.at());
        station.stack().order(BindOrder{kRoute, edge.phone.address(), station.at()});
        edge.node.send(edge.request("INVITE", turn), station.at());
        const auto invite = edge.phone.expect("INVITE ");
        edge.node.expect("SIP/2.0 100");
        edge.phone.send(wire::response(invite, 486, "Busy Here", "p"), station.at());
        edge.node.expect("SIP/2.0 486");
        edge.phone.expect("ACK ");
    }
    station.stop();
}

TEST("for another node: after a restart its repeated INVITE is a repetition for the phone as well") {
    Edge* last = nullptr;
    auto with = cluster();
    auto before = std::make_unique<Station>(with);
    Edge edge(*before);
    last = &edge;
    before->stack().order(BindOrder{kRoute, edge.phone.address(), before->at()});
    const auto draft = edge.request("INVITE", 1);
    edge.node.send(draft, before->at());
    const auto first = edge.phone.expect("INVITE ");
    with.listen = {before->at()};
    before->stop();
    before.reset();
    Station after(with);
    after.stack().order(BindOrder{kRoute, edge.phone.address(), after.at()});
    after.carried_out();
    last->node.send(draft, after.at());
    auto second = edge.phone.expect("INVITE ");
    while (second.branch() == first.branch() && second.text == first.text && edge.phone.receive(20)) {
    }
    CHECK_EQ(second.branch(), first.branch());
    CHECK(second.all("Record-Route") == first.all("Record-Route"));
    after.stop();
}

TEST("for another node: a device that comes back by a new flow here gets what it has not answered") {
    Station station(cluster());
    Edge edge(station);
    station.stack().order(BindOrder{kRoute, edge.phone.address(), station.at()});
    station.carried_out();
    edge.node.send(edge.request("INFO", 1, "p"), station.at());
    edge.phone.expect("INFO ");
    const Agent moved("127.0.0.7");
    station.stack().order(BindOrder{kRoute, moved.address(), station.at()});
    const auto info = moved.expect("INFO ");
    moved.send(wire::response(info, 200, "OK"), station.at());
    edge.node.expect("SIP/2.0 200");
    // An ACK that finds no flow is kept for the next one.
    station.stack().order(UnbindOrder{kRoute});
    station.carried_out();
    edge.node.send(edge.request("ACK", 1, "p"), station.at());
    edge.node.expect_silence(50);
    station.stack().order(BindOrder{kRoute, moved.address(), station.at()});
    moved.expect("ACK ");
    station.stop();
}

TEST("forged, foreign, stale and stolen node tokens get 403, nobody is called, and a phone's REGISTER with one too") {
    Station station(cluster());
    Edge edge(station);
    station.stack().order(BindOrder{kRoute, edge.phone.address(), station.at()});
    station.carried_out();
    const auto now = seconds();
    const auto good = edge.request("INVITE", 1);
    const auto refused = [&](Draft draft) {
        edge.node.send(draft, station.at());
        edge.node.expect("SIP/2.0 403");
    };
    auto foreign = good;
    refused(edge.led(foreign, now, std::string(32, 'x')));
    refused(edge.led(foreign, now, kKey));  // the key of route tokens and branches
    refused(edge.led(foreign, now - 65, kClusterKey));
    refused(edge.led(foreign, now + 65, kClusterKey));
    auto stolen = good;
    refused(stolen.set("Call-ID", "another"));
    stolen = good;
    refused(stolen.set("CSeq", "2 INVITE"));
    stolen = good;
    refused(stolen.set("From", "<sip:evil@example.com>;tag=evil"));
    auto garbage = good;
    refused(garbage.set("Route", "<sip:node1.AAAA@127.0.0.1:" + std::to_string(station.at().port) + ";lr>"));
    refused(garbage.set("Route", "<sip:node1.@127.0.0.1;lr>"));
    refused(edge.request("REGISTER", 1));
    auto ack = edge.request("ACK", 1, "p");
    edge.node.send(edge.led(ack, now - 100, kClusterKey), station.at());
    edge.node.expect_silence(50);
    edge.phone.expect_silence(50);
    station.expect_none(FactKind::request, 20);
    CHECK(station.counter("rejected.node_token") >= 11U);
    // Another key that is known is as good as the first.
    edge.node.send(edge.led(good, now, kOldClusterKey), station.at());
    edge.phone.expect("INVITE ");
    station.stop();
}

TEST("a node token never leads from node to node: what is bound at another one is 430 here") {
    Station station(cluster());
    Edge edge(station);
    const Agent third("127.0.0.3");
    station.stack().order(BindThroughOrder{kRoute, third.address()});
    station.carried_out();
    edge.node.send(edge.request("INVITE", 1), station.at());
    edge.node.expect("SIP/2.0 430");
    edge.node.send(edge.request("BYE", 1, "p"), station.at());
    edge.node.expect("SIP/2.0 430");
    third.expect_silence(50);
    // The request that this very node has sent comes back: its Via says so.
    Call call(station);
    auto sent = through(call, third);
    Draft again;
    again.start = sent.start();
    for (const auto* name : {"Via", "Record-Route", "Route", "From", "To", "Call-ID", "CSeq", "Contact"})
        for (const auto& value : sent.all(name)) again.add(name, value);
    again.add("Max-Forwards", "60");
    third.send(again, station.at());
    third.expect("SIP/2.0 430");
    again.set("Max-Forwards", "0");
    again.set("Via", "SIP/2.0/UDP " + third.host_port() + ";rport;branch=z9hG4bKother");
    third.send(again, station.at());
    third.expect("SIP/2.0 483");
    station.stop();
}

TEST("in a dialog toward a device at another node: with a fresh token, all our Routes gone, the ACK too") {
    Station station(cluster());
    const Agent node("127.0.0.2");
    Call call(station);
    call.answered();
    station.stack().order(BindThroughOrder{kRoute, node.address()});
    station.carried_out();
    for (const bool two_passes : {false, true}) {
        auto draft = call.from_pbx("INFO", two_passes ? 3 : 2);
        if (two_passes) draft.add("Route", records_of_edge(call, node));
        draft.add("Route", "<sip:edge.example.com;lr>");
        call.pbx.send(draft, station.at());
        const auto info = node.expect("INFO ");
        const auto routes = info.all("Route");
        CHECK_EQ(routes.size(), 2U);
        CHECK_EQ(read(info), kRoute);
        CHECK_EQ(routes[1], std::string("<sip:edge.example.com;lr>"));
        node.send(wire::response(info, 200, "OK"), station.at());
        call.pbx.expect("SIP/2.0 200");
    }
    call.pbx.send(call.from_pbx("ACK", 7), station.at());
    const auto ack = node.expect("ACK ");
    CHECK_EQ(read(ack), kRoute);
    CHECK_EQ(ack.all("Route").size(), 1U);
    station.stop();
}

TEST("in a dialog: a node's 430 leaves the request waiting, and it goes to wherever the device comes") {
    auto with = cluster();
    with.in_dialog_wait_ms = 5000;
    Station station(with);
    const Agent node("127.0.0.2");
    const Agent third("127.0.0.3");
    Call call(station);
    call.answered();
    station.stack().order(BindThroughOrder{kRoute, node.address()});
    station.carried_out();
    call.pbx.send(call.from_pbx("BYE", 2), station.at());
    const auto bye = node.expect("BYE ");
    CHECK(!station.fact(FactKind::device_awaited).flag);
    node.send(wire::response(bye, 430, "Flow Failed", "x"), station.at());
    CHECK(station.fact(FactKind::device_awaited).flag);
    call.pbx.expect_silence(100);
    station.stack().order(BindThroughOrder{kRoute, third.address()});
    const auto again = third.expect("BYE ");
    CHECK_EQ(read(again), kRoute);
    // Unanswered, it follows the device: here, to its own flow.
    station.stack().order(BindOrder{kRoute, call.phone.address(), station.at()});
    const auto here = call.phone.expect("BYE ");
    CHECK(here.all("Route").empty());
    call.phone.send(wire::response(here, 200, "OK"), station.at());
    call.pbx.expect("SIP/2.0 200");
    CHECK_EQ(station.fact(FactKind::dialog_ended).text, kCall);
    station.stop();
}

TEST("in a dialog: what goes through a dead node waits, and goes on when the node or the device is back") {
    auto with = cluster();
    with.in_dialog_wait_ms = 5000;
    Station station(with);
    const Agent node("127.0.0.2");
    Call call(station);
    call.answered();
    station.stack().order(PeersOrder{{station.at()}});
    station.stack().order(BindThroughOrder{kRoute, node.address()});
    station.carried_out();
    call.pbx.send(call.from_pbx("INFO", 2), station.at());
    CHECK(station.fact(FactKind::device_awaited).flag);
    node.expect_silence(50);
    station.stack().order(PeersOrder{{station.at(), node.address()}});
    const auto info = node.expect("INFO ");
    node.send(wire::response(info, 200, "OK"), station.at());
    call.pbx.expect("SIP/2.0 200");
    // It dies with the request in its hands.
    call.pbx.send(call.from_pbx("INFO", 3), station.at());
    node.expect("INFO ");
    station.stack().order(PeersOrder{{station.at()}});
    station.carried_out();
    while (node.receive(20)) {
    }
    station.stack().order(BindOrder{kRoute, call.phone.address(), station.at()});
    const auto here = call.phone.expect("INFO ");
    call.phone.send(wire::response(here, 200, "OK"), station.at());
    call.pbx.expect("SIP/2.0 200");
    // An ACK that came meanwhile was kept.
    station.stack().order(BindThroughOrder{kRoute, node.address()});
    station.carried_out();
    call.pbx.send(call.from_pbx("ACK", 4), station.at());
    call.phone.expect_silence(50);
    station.stack().order(PeersOrder{{station.at(), node.address()}});
    const auto ack = node.expect("ACK ");
    CHECK_EQ(read(ack), kRoute);
    station.stop();
}

TEST("a node that dies: its branches fail with a local 430, and a 2xx that comes all the same is told") {
    Station station(cluster());
    const Agent node("127.0.0.2");
    Call call(station);
    station.stack().order(PeersOrder{{node.address(), station.at()}});
    const auto invite = through(call, node);
    node.send(wire::response(invite, 180, "Ringing", "t"), station.at());
    CHECK_EQ(station.fact(FactKind::branch_response).status, 180);
    station.stack().order(PeersOrder{{node.address(), station.at()}});
    station.expect_none(FactKind::branch_response, 50);
    station.stack().order(PeersOrder{{station.at()}});
    const auto failed = station.fact(FactKind::branch_response);
    CHECK_EQ(failed.status, 430);
    CHECK(failed.flag);
    station.stack().order(ForkOrder{call.held.txn, 2, [&] {
                                        auto rewrite = call.rewrite(call.phone);
                                        rewrite.through = node.address();
                                        return rewrite;
                                    }()});
    CHECK_EQ(station.fact(FactKind::branch_response).status, 430);
    auto ok = wire::response(invite, 200, "OK", "t").add("Contact", "<sip:101@" + call.phone.host_port() + ">");
    node.send(ok, station.at());
    const auto late = station.fact(FactKind::branch_response);
    CHECK_EQ(late.status, 200);
    station.relay(late);
    while (call.ok.status() != 200) call.ok = call.pbx.expect("SIP/2.0 ");
    station.stop();
}

TEST("from a device: back by the node that made the dialog while it lives, else straight to the PBX") {
    Station station(cluster());
    Edge edge(station);  // its `node` made the dialog, and this station was the edge
    const std::vector<std::string> records{edge.record_at_edge(station), edge.record()};
    for (const bool alive : {true, false}) {
        std::vector<Address> nodes{station.at()};
        if (alive) nodes.push_back(edge.node.address());
        station.stack().order(PeersOrder{nodes});
        station.carried_out();
        edge.phone.send(edge.from_phone("INFO", alive ? 2 : 3, records), station.at());
        const auto& to = alive ? edge.node : edge.pbx;
        const auto info = to.expect("INFO ");
        CHECK_EQ(info.all("Route").size(), alive ? 1U : 0U);
        to.send(wire::response(info, 200, "OK"), station.at());
        edge.phone.expect("SIP/2.0 200");
    }
    // The phone has come to a third node, which stands for both: neither Route is its own.
    auto bye = edge.from_phone("BYE", 4, {edge.record_at_edge(station, 1), edge.record()});
    edge.phone.send(bye, station.at());
    edge.pbx.send(wire::response(edge.pbx.expect("BYE "), 200, "OK"), station.at());
    edge.phone.expect("SIP/2.0 200");
    CHECK_EQ(station.fact(FactKind::dialog_ended).text, kCall);
    // Tokens of another dialog lead nowhere, and an app's own list of hops either.
    auto odd = edge.from_phone("INFO", 5, records).set("From", "<sip:x@y>;tag=1").set("To", "<sip:y@y>;tag=2");
    edge.phone.send(odd, station.at());
    edge.phone.expect("SIP/2.0 481");
    station.stop();
}

TEST("of a request that another node passes on from its device, nothing is told of that device's flow") {
    Station station(cluster());
    Edge edge(station);
    station.stack().order(PeersOrder{{station.at(), edge.node.address()}});
    auto info = edge.from_phone("INFO", 2, {edge.record()});
    info.headers.insert(info.headers.begin(),
                        {"Via", "SIP/2.0/UDP " + edge.node.host_port() +
                                    ";rport;branch=" + push_proxy::make_branch(1, edge.phone.address().text(), kKey)});
    edge.node.send(info, station.at());
    edge.pbx.send(wire::response(edge.pbx.expect("INFO "), 200, "OK"), station.at());
    edge.node.expect("SIP/2.0 200");
    station.expect_none(FactKind::device_heard, 50);
    station.stop();
}

TEST("one name for all nodes: Record-Route carries it, the Via this node's own, and any node resolves the token") {
    auto with = cluster();
    with.cluster_host = "sip.example.com";
    Station before(with);
    Call call(before);
    const auto invite = call.fork();
    CHECK(invite.first("Record-Route").find("@sip.example.com:") != std::string::npos);
    CHECK(invite.first("Via").find(" 127.0.0.1:") != std::string::npos);
    before.relay(call.phone_says(invite, 200, "OK", "phone-tag"));
    while (call.ok.status() != 200) call.ok = call.pbx.expect("SIP/2.0 ");
    const auto ack = call.from_pbx("ACK", 1);
    const auto bye = call.from_phone("BYE", 2);
    before.stop();
    Station other(with);  // another port: another node, which has never heard of the call
    other.stack().order(BindOrder{kRoute, call.phone.address(), other.at()});
    call.pbx.send(ack, other.at());
    call.phone.expect("ACK ");
    call.phone.send(bye, other.at());
    call.pbx.expect("BYE ");
    other.stop();
}

TEST("draining: OPTIONS to us is 503 with Retry-After, for an account too; calls go on") {
    Station station(cluster());
    Call call(station);
    call.answered();
    station.stack().order(push_proxy::DrainOrder{true});
    station.carried_out();
    for (const auto* user : {"anybody", "101"}) {
        const Agent pbx;
        pbx.send(wire::request("OPTIONS", station.uri(user), pbx), station.at());
        const auto answer = pbx.expect("SIP/2.0 503");
        CHECK(!answer.first("Retry-After").empty());
    }
    call.pbx.send(call.from_pbx("BYE", 2), station.at());
    call.phone.send(wire::response(call.phone.expect("BYE "), 200, "OK"), station.at());
    call.pbx.expect("SIP/2.0 200");
    Call another(station);  // Python decides about it
    station.stack().order(push_proxy::DrainOrder{false});
    station.carried_out();
    station.expect_alive();
    station.stop();
}
