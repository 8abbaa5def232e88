// Messages that are wrong: a clear answer or silence, never a lost call, a look-up or a crash.
#include "check.hpp"
#include "station.hpp"

using namespace station;

TEST("a malformed header gets 400 with our tag instead of silence") {
    Station station;
    const Agent pbx;
    const std::pair<const char*, const char*> bad[] = {
        {"Expires", "soon"},      {"Session-Expires", "never"}, {"Route", "nonsense<"},     {"Contact", "<sip:"},
        {"Max-Forwards", "many"}, {"Record-Route", "<"},        {"Content-Type", "no/,/,"}, {"Min-Expires", "x"},
    };
    for (const auto& [name, value] : bad) {
        auto draft = wire::request("INVITE", station.uri("101"), pbx).set(name, value);
        pbx.send(draft, station.at());
        const auto answer = pbx.expect("SIP/2.0 400");
        CHECK_EQ(answer.branch(), wire::param(draft.headers[0].second, "branch"));
        CHECK(!wire::param(answer.first("To"), "tag").empty());
        CHECK_EQ(answer.first("CSeq"), std::string("1 INVITE"));
    }
    // Line breaks before it change nothing.
    auto draft = wire::request("INVITE", station.uri("101"), pbx).add("Expires", "soon");
    for (int breaks = 1; breaks < 10; ++breaks) {
        std::string text;
        for (int i = 0; i < breaks; ++i) text += i % 2 ? "\n" : "\r\n";
        pbx.send(text + draft.text(), station.at());
        pbx.expect("SIP/2.0 400");
    }
    station.expect_none(FactKind::request, 50);
    station.stop();
}

TEST("a malformed ACK or response is dropped in silence") {
    Station station;
    const Agent pbx;
    pbx.send(wire::request("ACK", station.uri("101"), pbx).add("Expires", "soon"), station.at());
    auto response = wire::request("INVITE", station.uri("101"), pbx).add("Expires", "soon");
    response.start = "SIP/2.0 200 OK";
    pbx.send(response, station.at());
    response.start = "SIP/2.0 99 Low";
    pbx.send(response.drop("Expires"), station.at());
    response.start = "SIP/2.0 700 High";
    pbx.send(response, station.at());
    pbx.expect_silence();
    station.stop();
}

TEST("CRLF keep-alives are ignored") {
    Station station;
    const Agent phone;
    phone.send("\r\n\r\n", station.at());
    phone.send("\r\n", station.at());
    phone.send(std::string(4, '\0'), station.at());
    phone.expect_silence(100);
    CHECK_EQ(station.counter("rejected.malformed"), 0U);
    station.expect_alive();
    station.stop();
}

TEST("another SIP version gets 505") {
    Station station;
    const Agent pbx;
    auto draft = wire::request("INVITE", station.uri("101"), pbx);
    draft.start = "INVITE " + station.uri("101") + " SIP/7.0";
    pbx.send(draft, station.at());
    pbx.expect("SIP/2.0 505");
    station.stop();
}

TEST("a datagram that was cut short gets 400, and so does one with From, To, CSeq or Call-ID twice") {
    Station station;
    const Agent pbx;
    pbx.send(
        wire::request("INVITE", station.uri("101"), pbx).with("application/sdp", "v=0\r\n").set("Content-Length", "9"),
        station.at());
    pbx.expect("SIP/2.0 400");
    const std::pair<const char*, const char*> twice[] = {{"From", "<sip:boss@pbx.example.com>;tag=2"},
                                                         {"f", "<sip:boss@pbx.example.com>;tag=2"},
                                                         {"To", "<sip:other@pbx.example.com>"},
                                                         {"Call-ID", "another"},
                                                         {"CSeq", "2 INVITE"},
                                                         {"Max-Forwards", "3"}};
    for (const auto& [name, value] : twice) {
        pbx.send(wire::request("INVITE", station.uri("101"), pbx).add(name, value), station.at());
        pbx.expect("SIP/2.0 400");
    }
    station.expect_none(FactKind::request, 50);
    station.stop();
}

TEST("a CSeq of another method gets 400") {
    Station station;
    const Agent pbx;
    pbx.send(wire::request("INVITE", station.uri("101"), pbx).set("CSeq", "1 OPTIONS"), station.at());
    pbx.expect("SIP/2.0 400");
    station.stop();
}

TEST("maddr and a host name in Via lead nowhere: answers go to the source, no name is looked up") {
    Station station;
    const Agent pbx;
    const Agent victim("127.0.0.2");
    for (const auto& maddr : {victim.address().host, std::string("slow.example.com")}) {
        auto draft = wire::request("INVITE", station.uri("101"), pbx);
        draft.set("Via", "SIP/2.0/UDP " + pbx.host_port() + ";branch=z9hG4bK" + wire::unique("m") + ";maddr=" + maddr);
        pbx.send(draft, station.at());
        const auto fact = station.fact(FactKind::request);
        station.reply(fact, 480, "Gone");
        pbx.expect("SIP/2.0 480", 1000);
        pbx.send(draft.set("CSeq", "2 INVITE"), station.at());  // pjsip answers this one by itself
        pbx.expect("SIP/2.0 4", 1000);
        while (pbx.receive(30)) {
        }
    }
    auto named = wire::request("OPTIONS", station.uri("x"), pbx);
    named.set("Via", "SIP/2.0/UDP nowhere.example.com:" + std::to_string(pbx.address().port) + ";branch=z9hG4bKnn");
    pbx.send(named, station.at());
    pbx.expect("SIP/2.0 200", 1000);
    victim.expect_silence(50);
    station.stop();
}

TEST("a flood of rubbish leaves the fact queue free for calls") {
    auto with = settings();
    with.queue_limit = 60;
    Station station(with);
    const Agent stranger;
    const auto rubbish = wire::request("INVITE", station.uri("101"), stranger).add("Expires", "soon");
    for (int i = 0; i < 500; ++i) {
        stranger.send(rubbish, station.at());
        stranger.expect("SIP/2.0 400");
    }
    const Agent pbx;
    pbx.send(wire::request("INVITE", station.uri("101"), pbx), station.at());
    pbx.expect("SIP/2.0 100");  // not 503
    station.fact(FactKind::request);
    station.stop();
}

TEST("thousands of headers or parameters in one message are refused as they came, and cost nothing; hundreds pass") {
    Station station;
    const Agent pbx;
    const auto repeated = [](const std::string& piece, int count) {
        std::string all;
        for (int i = 0; i < count; ++i) all += piece;
        return all;
    };
    const auto many = [&](const char* name, const std::string& value, int count) {
        std::string all = value;
        for (int i = 1; i < count; ++i) all += "," + value;
        return wire::request("INVITE", station.uri("101"), pbx).add(name, all);
    };
    const auto own = "<sip:127.0.0.1:" + std::to_string(station.at().port) + ";lr>";
    for (const auto& draft :
         {many("Record-Route", "<sip:a;lr>", 5000), many("Route", own, 2000), many("Via", "SIP/2.0/UDP a", 4000),
          many("Contact", "<sip:a>", 7000), many("Contact", "<sip:a" + repeated(";a", 20000) + ">", 1),
          many("Contact", "<sip:a?a" + repeated("&a", 20000) + ">", 1)}) {
        pbx.send(draft, station.at());
        const auto answer = pbx.expect("SIP/2.0 400 Too Many Headers Or Parameters");
        CHECK_EQ(answer.branch(), wire::param(draft.headers[0].second, "branch"));
    }
    pbx.send(many("Record-Route", "<sip:a;lr>", 5000).set("CSeq", "1 ACK").text().replace(0, 6, "ACK"), station.at());
    pbx.expect_silence(100);
    CHECK_EQ(station.counter("rejected.malformed"), 7U);
    pbx.send(many("Record-Route", "<sip:a;lr>", 200), station.at());
    station.reply(station.fact(FactKind::request), 486, "Busy Here");
    Message last;
    while (last.status() != 486) last = pbx.expect("SIP/2.0 ");
    CHECK_EQ(last.all("Record-Route").size(), 200U);
    station.stop();
}
