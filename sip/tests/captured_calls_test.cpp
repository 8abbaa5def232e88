// Which captured messages belong to which call, and what is kept of them.
#include "captured_calls.hpp"

#include "check.hpp"

using push_proxy::Address;
using push_proxy::CaptureBatch;
using push_proxy::CapturedCalls;
using push_proxy::CapturedMessage;

namespace {

const Address kPbx{"192.0.2.10", 5060, "udp"};
const Address kPhone{"198.51.100.7", 40'000, "tcp"};
const Address kUs{"10.0.0.7", 5060, "udp"};

push_proxy::SharedMessage message(double at, const std::string& raw, const std::string& call_id = "sip-1",
                                  const Address& peer = kPbx, bool sent = false) {
    return std::make_shared<const CapturedMessage>(
        CapturedMessage{at, sent, raw.starts_with("REGISTER"), peer, kUs, call_id, raw});
}

struct Stage {
    CapturedCalls calls;
    CaptureBatch batch;
    double now = 1000;

    Stage& see(const std::string& raw, const std::string& call_id = "sip-1", const Address& peer = kPbx,
               bool sent = false) {
        now += 0.25;
        batch.messages.push_back(message(now, raw, call_id, peer, sent));
        return *this;
    }
    void take() { calls.take(std::exchange(batch, {}), now); }
    void open(const std::string& call, const std::string& call_id = "sip-1", const std::string& tenant = "acme",
              push_proxy::CaptureBounds bounds = {}) {
        calls.open(call, call_id, tenant, now - 0.5, bounds);
    }
    // What was said, in order.
    std::string said(const std::string& call) {
        take();
        const auto text = calls.text(call, false);
        return text ? text->substr(text->find('\n') + 1) : "nothing";
    }
    std::string head(const std::string& call) {
        const auto text = calls.text(call, false);
        return text->substr(0, text->find('\n'));
    }
};

}  // namespace

TEST("captured calls: a message belongs to the calls with its Call-ID, also when it came just before") {
    Stage stage;
    stage.see("INVITE ").see("INVITE2 ", "sip-2").see("NOTIFY ", "none").take();
    CHECK_EQ(stage.calls.unclaimed(), 3u);
    stage.open("one");
    stage.open("two", "sip-2");
    stage.see("BYE ");
    CHECK_EQ(stage.said("one"), std::string("INVITE BYE "));
    CHECK_EQ(stage.said("two"), std::string("INVITE2 "));
    CHECK_EQ(stage.said("three"), std::string("nothing"));
    stage.now += 1;
    stage.take();
    CHECK_EQ(stage.calls.unclaimed(), 0u);
    stage.calls.forget("one");
    stage.see("BYE ").take();
    CHECK_EQ(stage.said("one"), std::string("nothing"));
    stage.calls.forget("two");
    CHECK_EQ(stage.calls.size(), 0u);
}

TEST("captured calls: one text tells when, which way, whom, from where, and how much is missing") {
    Stage stage;
    stage.open("one");
    stage.see("INVITE ").see("100 ", "sip-1", kPbx, true).see("INVITE ", "sip-1", kPhone, true);
    stage.batch.lost = 3;
    stage.take();
    const auto met = stage.calls.met();
    CHECK_EQ(met.size(), 2u);
    CHECK(met[0].first && !met[0].sent && met[0].peer == kPbx);
    CHECK(!met[1].first && met[1].sent && met[1].peer == kPhone);
    stage.calls.name("one", met[1].hop, "my \"phone\"\t\\");
    CHECK_EQ(stage.head("one"), std::string("{\"v\":1,\"dropped\":0,\"missed\":3,\"messages\":["
                                            "[1000.25,false,\"pbx\",0,1,7],[1000.5,true,\"pbx\",0,1,4],"
                                            "[1000.75,true,\"my \\\"phone\\\"\\u0009\\\\\",2,1,7]],"
                                            "\"addresses\":[[\"192.0.2.10\",5060,\"udp\"],[\"10.0.0.7\",5060,\"udp\"],"
                                            "[\"198.51.100.7\",40000,\"tcp\"]]}"));
    CHECK(stage.calls.met().empty());
    CHECK(stage.calls.text("one", true).has_value());
    CHECK_EQ(stage.calls.seen("one"), 0u);
    CHECK_EQ(stage.head("one"), std::string("{\"v\":1,\"dropped\":0,\"missed\":0,\"messages\":[],\"addresses\":[]}"));
}

TEST("captured calls: two tenants' calls with one Call-ID get nothing while both go on") {
    Stage stage;
    stage.open("one");
    stage.open("two");
    stage.see("a ");
    CHECK_EQ(stage.said("two"), std::string("a "));
    stage.open("other", "sip-1", "globex");
    stage.see("b ");
    CHECK_EQ(stage.said("one"), std::string("a "));
    CHECK_EQ(stage.said("other"), std::string());
    CHECK_EQ(stage.calls.seen("other"), 1u);
    stage.calls.forget("other");
    stage.see("c ");
    CHECK_EQ(stage.said("one"), std::string("a c "));
}

TEST("captured calls: of too many messages begin and end stay") {
    Stage stage;
    stage.open("few", "sip-1", "acme", {4, 1000});
    stage.open("short", "sip-2", "acme", {100, 20});
    for (const auto* each : {"1", "2", "3", "4", "5", "6", "7", "8"})
        stage.see(each).see(std::string(9, *each), "sip-2");
    CHECK_EQ(stage.said("few"), std::string("1278"));
    CHECK_EQ(stage.calls.seen("few"), 8u);
    CHECK_EQ(stage.said("short"), std::string(9, '1') + std::string(9, '8'));
}

TEST("captured calls: the REGISTERs of a device that woke are its call's, in their place; no stranger's are") {
    Stage stage;
    stage.see("REGISTER old ", "reg", kPhone).take();
    stage.now += 30;
    stage.see("INVITE ");
    stage.open("one");
    stage.see("REGISTER 1 ", "reg", kPhone).see("REGISTER stolen ", "reg", kPbx).see("180 ").take();
    for (int twice = 0; twice < 2; ++twice)
        stage.calls.link("reg", kPhone.host, "handset", {"one", "unknown"}, stage.now + 10);
    CHECK_EQ(stage.calls.links(), 1u);
    stage.see("REGISTER 2 ", "reg", kPhone).see("REGISTER stolen ", "reg", kPbx);
    CHECK_EQ(stage.said("one"), std::string("INVITE REGISTER 1 180 REGISTER 2 "));
    CHECK(stage.head("one").find("true") == std::string::npos);
    CHECK(stage.head("one").find("[1030.75,false,\"handset\",2,1,11]") != std::string::npos);
    stage.now += 10;
    stage.take();
    CHECK_EQ(stage.calls.links(), 0u);
    stage.see("REGISTER late ", "reg", kPhone);
    CHECK_EQ(stage.said("one"), std::string("INVITE REGISTER 1 180 REGISTER 2 "));
}

TEST("captured calls: those that belong to calls are given out once when that is asked for") {
    Stage stage;
    stage.open("one");
    stage.open("two");
    stage.see("before ").take();
    stage.calls.give_out(true);
    stage.see("INVITE ").see("NOTIFY ", "none").see("REGISTER ", "reg", kPhone).take();
    stage.calls.link("reg", kPhone.host, "handset", {"one"}, stage.now + 10);
    const auto given = stage.calls.given_out();
    CHECK_EQ(given.size(), 2u);
    CHECK_EQ(given[0]->raw, std::string("INVITE "));
    CHECK_EQ(given[1]->raw, std::string("REGISTER "));
    CHECK(stage.calls.given_out().empty());
}
