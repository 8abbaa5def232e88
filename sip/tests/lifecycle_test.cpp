// Starting and stopping.
#include <chrono>

#include "check.hpp"
#include "station.hpp"

using namespace station;

TEST("a stack starts and stops many times in one process, the same object too") {
    for (int round = 0; round < 5; ++round) {
        Station station;
        station.expect_alive();
        station.stop();
    }
    push_proxy::Stack stack;
    for (int round = 0; round < 3; ++round) {
        const auto bound = stack.start(settings());
        const Agent pbx;
        pbx.send(wire::request("OPTIONS", "sip:x@127.0.0.1:" + std::to_string(bound.front().port), pbx), bound.front());
        pbx.expect("SIP/2.0 200");
        stack.stop();
    }
}

TEST("a port in use is named; a second stack in one process is refused; the first works on") {
    const Agent taken;
    push_proxy::Stack stack;
    auto with = settings();
    with.listen = {taken.address()};
    try {
        stack.start(with);
        throw check::Failure("it started");
    } catch (const std::runtime_error& error) {
        const std::string text = error.what();
        CHECK(text.find("udp:127.0.0.1:" + std::to_string(taken.address().port)) != std::string::npos);
    }
    Station first;
    push_proxy::Stack second;
    bool refused = false;
    try {
        second.start(settings());
    } catch (const std::runtime_error&) {
        refused = true;
    }
    CHECK(refused);
    first.expect_alive();
    first.stop();
    second.start(settings());
    second.stop();
    stack.start(settings());  // after its failure too
    stack.stop();
}

TEST("an address that is none is refused with its text") {
    push_proxy::Stack stack;
    auto with = settings();
    with.listen = {{"pbx.example.com", 5060}};
    try {
        stack.start(with);
        throw check::Failure("it started");
    } catch (const std::runtime_error& error) {
        CHECK(std::string(error.what()).find("pbx.example.com") != std::string::npos);
    }
}

TEST("a stack that stops in the middle of calls leaves nothing, and orders for it reach no later one") {
    push_proxy::Stack stack;
    const auto bound = stack.start(settings());
    const Agent pbx;
    for (int i = 0; i < 50; ++i)
        pbx.send(wire::request("INVITE", "sip:1@127.0.0.1:" + std::to_string(bound.front().port), pbx), bound.front());
    for (int i = 0; i < 50; ++i) pbx.expect("SIP/2.0 100");
    stack.stop();
    stack.drain();
    stack.order(push_proxy::ReplyOrder{1, 480, "Gone", {}, ""});
    stack.start(settings());
    pbx.expect_silence(100);
    for (const auto& fact : stack.drain()) CHECK(fact.kind != FactKind::order_failed);
    stack.stop();
}
