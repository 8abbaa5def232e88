// What must arrive as it left: bodies byte for byte, header values, sizes.
#include "check.hpp"
#include "station.hpp"

using namespace station;

namespace {

std::string sdp_of(std::size_t size) {
    std::string sdp = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=audio 4000 RTP/SAVPF 111\r\n";
    for (int i = 0; sdp.size() < size; ++i)
        sdp += "a=candidate:" + std::to_string(i) + " 1 udp 2122260223 192.0.2.1 54400 typ host\r\n";
    return sdp;
}

// The INVITE at the phone, and the same body in the phone's 200 as the PBX got it.
void expect_both_ways(Station& station, const std::string& content_type, const std::string& body) {
    Call call(station, [&](Draft& invite) { invite.with(content_type, body); });
    station.reply(call.held, 100, "Trying");
    call.pbx.expect("SIP/2.0 100");
    const auto arrived = call.fork();
    CHECK_EQ(arrived.body(), body);
    CHECK_EQ(arrived.first("Content-Type"), content_type);
    CHECK_EQ(arrived.first("Content-Length"), std::to_string(body.size()));
    CHECK_EQ(arrived.all("Content-Length").size(), 1U);
    auto ok = wire::response(arrived, 200, "OK", "t").add("Contact", "<sip:101@" + call.phone.host_port() + ">");
    call.phone.send(ok.with(content_type, body), station.at());
    station.relay(station.fact(FactKind::branch_response));
    const auto answer = call.pbx.expect("SIP/2.0 200");
    CHECK_EQ(answer.body(), body);
    CHECK_EQ(answer.first("Content-Type"), content_type);
}

}  // namespace

TEST("SDP, multipart with a strange boundary and raw bytes pass byte for byte, both ways") {
    Station station;
    expect_both_ways(station, "application/sdp", "v=0\r\no=- 1 1 IN IP4 10.0.0.1\r\ns= \r\n\r\nb=X-ü:1\n");
    expect_both_ways(station, "multipart/mixed; boundary=\"a=b:c d\"",
                     "--a=b:c d\r\nContent-Type: application/sdp\r\n\r\nv=0\r\n\r\n--a=b:c d\r\n"
                     "Content-Type: application/isup\r\nContent-Transfer-Encoding: binary\r\n\r\n\x01\x02\xff\r\n"
                     "--a=b:c d--\r\n");
    expect_both_ways(station, "multipart/mixed;boundary=unclosed", "--unclosed\r\nnothing that parses");
    expect_both_ways(station, "application/octet-stream", std::string("\0\r\n\r\n\0 end", 10));
    station.stop();
}

TEST("a body after bare line feeds is found where the headers end, not at a blank line of its own") {
    Station station;
    const Agent pbx;
    Agent phone;
    auto draft = wire::request("INVITE", station.uri("101"), pbx);
    draft.with("text/plain", "first part\r\n\r\nsecond part");
    const auto whole = draft.text();
    const auto end = whole.find("\r\n\r\n");
    std::string text = whole.substr(0, end);
    std::erase(text, '\r');
    text += "\n\n" + whole.substr(end + 4);
    pbx.send(text, station.at());
    const auto fact = station.fact(FactKind::request);
    push_proxy::Rewrite rewrite;
    rewrite.request_uri = "sip:101@" + phone.host_port();
    rewrite.destination = phone.address();
    rewrite.local = station.at();
    station.stack().order(push_proxy::ForkOrder{fact.txn, 1, rewrite});
    CHECK_EQ(phone.expect("INVITE ").body(), std::string("first part\r\n\r\nsecond part"));
    station.stop();
}

TEST("bytes beyond Content-Length are padding and do not travel (RFC 3261 18.3)") {
    Station station;
    const Agent pbx;
    Call call(station,
              [](Draft& invite) { invite.with("application/sdp", "v=0\r\nPADDING").set("Content-Length", "5"); });
    CHECK_EQ(call.fork().body(), std::string("v=0\r\n"));
    station.stop();
}

TEST("From, To, Identity, Date and what nobody knows keep their value, folded lines joined") {
    const std::string from = R"("J. \"Q\" ü" <sip:+15551234;phone-context=x@pbx.example.com;transport=tcp;user=phone>)";
    const std::string identity =
        "eyJhbGciOiJFUzI1NiJ9.e30.c2ln;info=<https://cert.example.org/p.cer>;alg=ES256;ppt=shaken";
    Station station;
    Call call(station, [&](Draft& invite) {
        const auto tag = invite.headers[2].second.substr(invite.headers[2].second.find(";tag="));
        invite.set("From", from + tag + ";custom=1").set("To", "Callee <sip:%31%30%31@pbx.example.com:5080;x=y>");
        invite.add("Identity", identity).add("Date", "Sat, 13 Nov 2010 23:29:00 GMT");
        invite.add("P-Asserted-Identity", "\"A, B\" <sip:a@b>, <tel:+1>").add("X-Folded", "one\r\n two\r\n\tthree");
        invite.add("Subject", "").add("Session-Expires", "1800;refresher=uac").add("Min-SE", "90");
        invite.add("History-Info", "<sip:x@y?Reason=SIP%3Bcause%3D302>;index=1;mp=1");
    });
    station.reply(call.held, 180, "Ringing");
    const auto ringing = call.pbx.expect("SIP/2.0 180");
    const auto sent_from = call.invite.headers[2].second;
    CHECK_EQ(ringing.first("From"), sent_from);
    CHECK_EQ(ringing.first("To"), "Callee <sip:%31%30%31@pbx.example.com:5080;x=y>;tag=" + call.held.to_tag);
    const auto arrived = call.fork();
    CHECK_EQ(arrived.first("From"), sent_from);
    CHECK_EQ(arrived.first("To"), std::string("Callee <sip:%31%30%31@pbx.example.com:5080;x=y>"));
    CHECK_EQ(arrived.first("Identity"), identity);
    CHECK_EQ(arrived.first("Date"), std::string("Sat, 13 Nov 2010 23:29:00 GMT"));
    CHECK_EQ(arrived.first("P-Asserted-Identity"), std::string("\"A, B\" <sip:a@b>, <tel:+1>"));
    CHECK_EQ(arrived.first("Session-Expires"), std::string("1800;refresher=uac"));
    CHECK_EQ(arrived.first("History-Info"), std::string("<sip:x@y?Reason=SIP%3Bcause%3D302>;index=1;mp=1"));
    CHECK_EQ(arrived.first("X-Folded"), std::string("one   two   three"));
    CHECK_EQ(arrived.first("Call-ID"), call.invite.headers[4].second);
    // The dialog that the phone answers is the PBX's own, name for name; so is the CANCEL.
    call.phone_says(arrived, 180, "Ringing", "t");
    station.stack().order(push_proxy::CancelOrder{call.held.txn, 1, ""});
    const auto cancel = call.phone.expect("CANCEL ");
    CHECK_EQ(cancel.first("From"), sent_from);
    station.relay(call.phone_says(arrived, 486, "Busy Here", "t"));
    CHECK_EQ(call.phone.expect("ACK ").first("From"), sent_from);
    CHECK_EQ(call.pbx.expect("SIP/2.0 486").first("From"), sent_from);
    station.stop();
}

TEST("forty Supported tags, in one line or forty, lose nothing") {
    Station station;
    for (const bool joined : {true, false}) {
        std::string all;
        Call call(station, [&](Draft& invite) {
            for (int i = 0; i < 40; ++i) {
                const auto tag = "option-" + std::to_string(i);
                if (!joined) invite.add("Supported", tag);
                all += (i ? ", " : "") + tag;
            }
            if (joined) invite.add("Supported", all);
        });
        const auto arrived = call.fork();
        for (int i = 0; i < 40; ++i) CHECK(arrived.text.find("option-" + std::to_string(i)) != std::string::npos);
    }
    station.stop();
}

TEST("INVITEs of 1.5 and 15 kB stay on UDP, whole, as do their answers") {
    Station station;
    for (const std::size_t size : {1500U, 9000U, 15000U}) expect_both_ways(station, "application/sdp", sdp_of(size));
    station.stop();
}

TEST("long header values fit into our own answers and into what is sent on") {
    Station station;
    const Agent pbx;
    auto options = wire::request("OPTIONS", station.uri("101"), pbx);
    options.set("Call-ID", std::string(3000, 'c')).set("From", "<sip:" + std::string(900, 'u') + "@x>;tag=1");
    for (int i = 0; i < 30; ++i) options.add("Via", "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK" + std::string(100, 'v'));
    pbx.send(options, station.at());
    const auto ok = pbx.expect("SIP/2.0 200");
    CHECK_EQ(ok.first("Call-ID").size(), 3000U);
    CHECK_EQ(ok.all("Via").size(), 31U);
    Call call(station, [](Draft& invite) {
        invite.set("Call-ID", std::string(5000, 'c'));
        invite.add("X-Long", std::string(5000, 'x'));
    });
    const auto arrived = call.fork();
    CHECK_EQ(arrived.first("X-Long").size(), 5000U);
    station.reply(call.held, 486, "Busy Here", {{"X-Reason", std::string(20000, 'r')}});
    auto refused = call.pbx.receive(1000);
    while (refused && refused->status() == 100) refused = call.pbx.receive(1000);
    CHECK(refused.has_value());
    CHECK_EQ(refused->first("X-Reason").size(), 20000U);
    station.stop();
}

TEST("a Request-URI or From that is very long is told whole") {
    Station station;
    const auto user = std::string(3000, 'u');
    const Agent pbx;
    auto draft = wire::request("INVITE", station.uri(user), pbx);
    draft.set("From", "<sip:" + user + "@x>;tag=1");
    pbx.send(draft, station.at());
    const auto fact = station.fact(FactKind::request);
    CHECK_EQ(fact.request_uri, station.uri(user));
    CHECK_EQ(fact.from_uri, "sip:" + user + "@x");
    station.stop();
}

TEST("push tokens in a phone's Contact reach no PBX, in a response or inside a dialog; pn-purr does") {
    Station station;
    Call call(station);
    const auto invite = call.fork();
    const auto contact = "<sip:101@" + call.phone.host_port();
    const std::string secret =
        ";pn-provider=apns;PN-PRID=tok:voip&tok2:remote;pn-param=T.b.voip&remote;app-id=x;pn-tok=s";
    auto ok = wire::response(invite, 200, "OK", call.phone_tag);
    ok.add("Contact", contact + ";ob" + secret + ";pn-purr=0a1b;x=1>;pn-prid=tok;+sip.instance=\"<urn:x>\"");
    call.phone.send(ok, station.at());
    station.relay(station.fact(FactKind::branch_response));
    call.ok = call.pbx.expect("SIP/2.0 200");
    CHECK_EQ(call.ok.first("Contact"), contact + ";ob;pn-purr=0a1b;x=1>;+sip.instance=\"<urn:x>\"");
    call.phone.send(call.from_phone("UPDATE", 5).set("Contact", contact + secret + ">"), station.at());
    CHECK_EQ(call.pbx.expect("UPDATE ").first("Contact"), contact + ">");
    // What the phone gave as its reference comes back with the requests for it.
    auto info = call.from_pbx("INFO", 2);
    info.start.replace(5, info.start.rfind(' ') - 5, "sip:101@" + call.phone.host_port() + ";ob;pn-purr=0a1b;x=1");
    call.pbx.send(info, station.at());
    call.phone.expect("INFO ");
    CHECK(station.fact(FactKind::device_awaited).request_uri.find(";pn-purr=0a1b") != std::string::npos);
    station.stop();
}
