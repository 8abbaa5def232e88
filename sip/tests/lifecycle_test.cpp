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
