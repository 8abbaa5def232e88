#include "station.hpp"

#include <poll.h>

#include <chrono>

#include "check.hpp"
#include "pj.hpp"

namespace station {
namespace {

using Clock = std::chrono::steady_clock;

class Deadline {
   public:
    explicit Deadline(int wait_ms) : at_(Clock::now() + std::chrono::milliseconds(wait_ms)) {}
    int left_ms() const {
        const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(at_ - Clock::now()).count();
        return left > 0 ? static_cast<int>(left) : 0;
    }

   private:
    Clock::time_point at_;
};

void set_timers(unsigned t1, unsigned t2, unsigned t4, unsigned td) {
    auto& tsx = pjsip_cfg()->tsx;
    tsx.t1 = t1;
    tsx.t2 = t2;
    tsx.t4 = t4;
    tsx.td = td;
}

}  // namespace

push_proxy::Settings settings() {
    push_proxy::Settings made;
    made.listen = {{"127.0.0.1", 0}};
    made.public_host = "127.0.0.1";
    made.token_key = kKey;
    return made;
}

FastTimers::FastTimers() { set_timers(30, 250, 300, 1000); }
FastTimers::~FastTimers() { set_timers(500, 4000, 5000, 32000); }

Station::Station(const push_proxy::Settings& with) : bound_(stack_.start(with)) {}

void Station::stop() {
    stack_.stop();
    collect(0);
    while (auto log = take(FactKind::log))
        if (log->text.find("fault") != std::string::npos || log->status == 0) throw check::Failure(log->text);
}

std::string Station::uri(const std::string& user) const {
    return "sip:" + user + "@127.0.0.1:" + std::to_string(at().port);
}

void Station::collect(int wait_ms) {
    pollfd watched{stack_.fd(), POLLIN, 0};
    if (poll(&watched, 1, wait_ms) != 1) return;
    for (auto& fact : stack_.drain()) facts_.push_back(std::move(fact));
}

std::optional<Fact> Station::take(FactKind kind) {
    for (auto fact = facts_.begin(); fact != facts_.end(); ++fact) {
        if (fact->kind != kind) continue;
        Fact found = std::move(*fact);
        facts_.erase(fact);
        return found;
    }
    return std::nullopt;
}

Fact Station::fact(FactKind kind, int wait_ms) {
    const Deadline deadline(wait_ms);
    for (;;) {
        if (auto found = take(kind)) return std::move(*found);
        const int left = deadline.left_ms();
        if (left == 0) break;
        collect(left);
    }
    std::string others;
    for (const auto& other : facts_)
        others += " " + std::to_string(static_cast<int>(other.kind)) + "(" + other.name + other.text + ")";
    throw check::Failure("no fact of kind " + std::to_string(static_cast<int>(kind)) + "; others:" + others);
}

void Station::expect_none(FactKind kind, int wait_ms) {
    const Deadline deadline(wait_ms);
    do {
        collect(deadline.left_ms());
        if (auto found = take(kind))
            throw check::Failure("unexpected fact of kind " + std::to_string(static_cast<int>(kind)) + ": " +
                                 found->name + " " + found->text);
    } while (deadline.left_ms() > 0);
}

std::uint64_t Station::counter(const std::string& name) {
    const auto counters = stack_.counters();
    const auto found = counters.find(name);
    return found == counters.end() ? 0 : found->second;
}

void Station::expect_empty(int wait_ms) {
    const Deadline deadline(wait_ms);
    for (const auto* what : {"live.transactions", "live.branches"}) {
        while (counter(what) != 0) {
            if (deadline.left_ms() == 0) throw check::Failure(std::to_string(counter(what)) + " are left: " + what);
            collect(20);
        }
    }
}

void Station::expect_alive() {
    const Agent somebody;
    const auto options = wire::request("OPTIONS", uri("anybody"), somebody);
    somebody.send(options, at());
    somebody.expect("SIP/2.0 200");
}

void Station::carried_out() {
    stack_.order(push_proxy::CancelOrder{0, 0, ""});  // fails, and says so
    fact(FactKind::order_failed);
}

void Station::reply(const Fact& request, int status, const std::string& reason, push_proxy::Headers headers) {
    stack_.order(push_proxy::ReplyOrder{request.txn, status, reason, std::move(headers), ""});
}

void Station::relay(const Fact& response) {
    stack_.order(push_proxy::RelayOrder{response.txn, response.branch, response.response});
}

Call::Call(Station& at, const std::function<void(Draft&)>& shape)
    : station(at), invite(wire::request("INVITE", at.uri("101") + ";pp=abc", pbx)) {
    invite.with("application/sdp", "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\n");
    if (shape) shape(invite);
    pbx.send(invite, station.at());
    held = station.fact(FactKind::request);
}

push_proxy::Rewrite Call::rewrite(const Agent& target) const {
    push_proxy::Rewrite made;
    made.request_uri = "sip:101@" + target.host_port();
    made.destination = target.address();
    made.local = station.at();
    made.call = kCall;
    made.route_key = kRoute;
    return made;
}

Message Call::fork(int branch) { return fork_to(phone, branch); }

Message Call::fork_to(const Agent& target, int branch, const push_proxy::Rewrite* base) {
    station.stack().order(push_proxy::ForkOrder{held.txn, branch, base ? *base : rewrite(target)});
    return target.expect("INVITE ");
}

Fact Call::phone_says(const Message& to, int status, const std::string& reason, const std::string& tag, int branch) {
    auto draft = wire::response(to, status, reason, tag);
    draft.add("Contact", "<sip:101@" + phone.host_port() + ">");
    phone.send(draft, station.at());
    auto fact = station.fact(FactKind::branch_response);
    CHECK_EQ(fact.status, status);
    CHECK_EQ(fact.branch, branch);
    return fact;
}

Message Call::answered() {
    station.reply(held, 100, "Trying");
    pbx.expect("SIP/2.0 100");
    const auto arrived = fork();
    station.relay(phone_says(arrived, 200, "OK", phone_tag));
    ok = pbx.expect("SIP/2.0 200");
    pbx.send(from_pbx("ACK", 1), station.at());
    phone.expect("ACK ");
    return ok;
}

Draft Call::from_pbx(const std::string& method, int cseq) const {
    auto draft = wire::request(method, "sip:101@" + phone.host_port(), pbx);
    draft.set("From", ok.first("From")).set("To", ok.first("To")).set("Call-ID", ok.first("Call-ID"));
    draft.set("CSeq", std::to_string(cseq) + " " + method);
    draft.add("Route", ok.first("Record-Route"));
    return draft;
}

Draft Call::from_phone(const std::string& method, int cseq) const {
    auto draft = wire::request(method, "sip:200@" + pbx.host_port(), phone);
    draft.set("From", ok.first("To")).set("To", ok.first("From")).set("Call-ID", ok.first("Call-ID"));
    draft.set("CSeq", std::to_string(cseq) + " " + method);
    draft.set("Contact", "<sip:101@" + phone.host_port() + ">");
    draft.add("Route", ok.first("Record-Route"));
    return draft;
}

}  // namespace station
