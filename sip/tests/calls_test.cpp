// A held call: answered, repeated, refused.
#include "check.hpp"
#include "station.hpp"

using namespace station;

TEST("a held INVITE gets 100 by itself after 150 ms, once") {
    Station station;
    Call call(station);
    CHECK_EQ(call.held.name, std::string("INVITE"));
    call.pbx.expect_silence(80);
    call.pbx.expect("SIP/2.0 100", 300);
    call.pbx.expect_silence(300);
    station.reply(call.held, 480, "Temporarily Unavailable");
    call.pbx.expect("SIP/2.0 480");
    station.stop();
}
