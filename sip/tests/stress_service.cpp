#include "stress_service.hpp"

#include <poll.h>

#include <algorithm>

namespace stress {
namespace {

using namespace push_proxy;

std::string user_of(const std::string& uri) {
    const auto colon = uri.find(':');
    return uri.substr(colon + 1, uri.find('@') - colon - 1);
}

std::vector<std::string> split(const std::string& text, char at) {
    std::vector<std::string> parts;
    for (std::size_t start = 0; start <= text.size();) {
        const auto end = std::min(text.find(at, start), text.size());
        parts.push_back(text.substr(start, end - start));
        start = end + 1;
    }
    return parts;
}

}  // namespace

std::string route_key(const std::string& user) {
    std::string bytes = user;
    bytes.resize(8, '_');
    static const char digits[] = "0123456789abcdef";
    std::string key;
    for (const unsigned char byte : bytes) key.append({digits[byte >> 4], digits[byte & 15]});
    return key;
}

Service::Service(Stack& stack, std::vector<Address> pbxes, unsigned seed)
    : stack_(stack), pbxes_(std::move(pbxes)), random_(seed), thread_(&Service::run, this) {}

void Service::finish() {
    finish_ = true;
    thread_.join();
}

std::vector<std::string> Service::faults() {
    std::lock_guard lock(mutex_);
    return faults_;
}

std::map<std::string, std::uint64_t> Service::tally() {
    std::lock_guard lock(mutex_);
    return tally_;
}

void Service::count(const std::string& what) {
    std::lock_guard lock(mutex_);
    ++tally_[what];
}

void Service::run() {
    while (!finish_) {
        pollfd watched{stack_.fd(), POLLIN, 0};
        poll(&watched, 1, 10);
        for (const auto& fact : stack_.drain()) on_fact(fact);
        look_at_clock();
        open_ = calls_.size();
        if (rest_) continue;
        if (chance(0.02)) give(RelayOrder{std::uniform_int_distribution<std::uint64_t>(1, 100000)(random_), 1, 1});
        if (chance(0.01)) {
            const auto number = next_request_++;
            give(RequestOrder{.request = number,
                              .method = "OPTIONS",
                              .request_uri = "sip:pbx@127.0.0.1",
                              .from = "<sip:proxy@127.0.0.1>;tag=q",
                              .to = "<sip:pbx@127.0.0.1>",
                              .call_id = "qualify-" + std::to_string(number),
                              .cseq = 1,
                              .headers = {},
                              .body = "",
                              .destination = pbxes_[number % pbxes_.size()],
                              .local = {"127.0.0.1", 0},
                              .connect = true});
        }
    }
}

void Service::on_fact(const Fact& fact) {
    switch (fact.kind) {
        case FactKind::request:
            return on_request(fact);
        case FactKind::cancel: {
            const auto found = calls_.find(fact.txn);
            if (found == calls_.end()) return;
            found->second.cancelled = true;
            for (const auto& [id, branch] : found->second.branches)
                if (!branch.final) give(CancelOrder{fact.txn, id, chance(0.5) ? "SIP;cause=200" : ""});
            return finish_call(fact.txn, found->second, 487);
        }
        case FactKind::transaction_lost:
            count("transaction_lost");
            if (const auto found = calls_.find(fact.txn); found != calls_.end()) {
                for (const auto& [id, branch] : found->second.branches)
                    if (!branch.final) give(CancelOrder{fact.txn, id, ""});
                finish_call(fact.txn, found->second, 0);
            }
            return;
        case FactKind::branch_response:
            return on_response(fact);
        case FactKind::flow_lost:
            count(fact.flag ? "flow toward a PBX lost" : "flow of a phone lost");
            for (auto flow = flows_.begin(); flow != flows_.end();) {
                const bool lost = flow->second.source == fact.source;
                if (lost && chance(0.5)) give(UnbindOrder{route_key(flow->first)});
                flow = lost ? flows_.erase(flow) : std::next(flow);
            }
            return;
        case FactKind::order_failed:
            count("order failed: " + fact.name);
            // The CANCEL had come before the fork.
            if (const auto found = calls_.find(fact.txn); fact.name == "fork" && found != calls_.end())
                found->second.branches[fact.branch].final = true;
            return;
        case FactKind::log:
            count("log: " + fact.text.substr(0, 60));
            if (fact.status == 0 || fact.text.find("fault") != std::string::npos) {
                std::lock_guard lock(mutex_);
                faults_.push_back(fact.text);
            }
            return;
        default:
            return count("fact " + std::to_string(static_cast<int>(fact.kind)));
    }
}

void Service::on_request(const Fact& fact) {
    const auto from = user_of(fact.from_uri);
    if (fact.name == "REGISTER") return on_register(fact, from);
    if (from.starts_with('p')) {
        // A phone's own request, to its PBX.
        if (chance(0.1)) give(ReplyOrder{fact.txn, 100, "Trying", {}, ""});
        if (chance(0.03)) return give(ReplyOrder{fact.txn, 403, "Forbidden", {}, ""});
        Rewrite rewrite;
        rewrite.request_uri = fact.request_uri;
        rewrite.destination = pbxes_[fact.txn % pbxes_.size()];
        rewrite.local = {"127.0.0.1", 0, rewrite.destination.transport};
        rewrite.connect = true;
        rewrite.call = kCall;
        rewrite.route_key = route_key(from);
        rewrite.device_is_caller = true;
        return give(ForwardOrder{fact.txn, rewrite});
    }
    if (fact.name != "INVITE") return give(ReplyOrder{fact.txn, 200, "OK", {}, ""});
    if (chance(0.05)) return give(ReplyOrder{fact.txn, 480, "Temporarily Unavailable", {}, ""});
    auto& held = calls_[fact.txn];
    held.phones = split(user_of(fact.request_uri), '-');
    held.fork_at = Clock::now() + std::chrono::milliseconds(chance(0.5) ? 0 : random_() % 400);
    held.give_up = held.fork_at + std::chrono::milliseconds(3000 + random_() % 3000);
    if (chance(0.7)) give(ReplyOrder{fact.txn, 100, "Trying", {}, ""});
    if (chance(0.3)) give(ReplyOrder{fact.txn, 180, "Ringing", {}, ""});
}

void Service::on_register(const Fact& fact, const std::string& user) {
    count("registered");
    give(ReplyOrder{fact.txn, 200, "OK", {{"Expires", "60"}}, ""});
    flows_[user] = {fact.source, fact.local};
    if (chance(0.1)) give(UnbindOrder{route_key(user)});
    give(BindOrder{route_key(user), fact.source, fact.local});
    if (chance(0.03)) give(UnbindOrder{route_key(user)});
}

void Service::look_at_clock() {
    const auto now = Clock::now();
    for (auto call = calls_.begin(); call != calls_.end();) {
        auto& [txn, held] = *call;
        if (!held.forked && !held.over && held.fork_at <= now) fork(txn, held);
        if (!held.over && held.give_up <= now) give_up(txn, held);
        const bool done = held.over && std::all_of(held.branches.begin(), held.branches.end(),
                                                   [](const auto& branch) { return branch.second.final; });
        call = done ? calls_.erase(call) : std::next(call);
    }
}

void Service::fork(std::uint64_t txn, Held& held) {
    held.forked = true;
    int id = 0;
    for (const auto& phone : held.phones) {
        const auto flow = flows_.find(phone);
        if (flow == flows_.end()) continue;
        Rewrite rewrite;
        rewrite.request_uri = "sip:" + phone + "@127.0.0.1";
        rewrite.destination = flow->second.source;
        rewrite.local = flow->second.local;
        rewrite.add = {{"X-Push-ID", kCall}};
        rewrite.call = kCall;
        rewrite.route_key = route_key(phone);
        held.branches[++id].phone = phone;
        give(ForkOrder{txn, id, rewrite});
    }
    if (id == 0) finish_call(txn, held, 480);
}

// A phone rings for ever.
void Service::give_up(std::uint64_t txn, Held& held) {
    count("given up");
    for (const auto& [id, branch] : held.branches)
        if (!branch.final) give(CancelOrder{txn, id, ""});
    finish_call(txn, held, 480);
}

// The held INVITE gets its final response, when it has none; 0: its transaction is gone.
void Service::finish_call(std::uint64_t txn, Held& held, int status) {
    if (!held.over && status != 0) give(ReplyOrder{txn, status, "", {}, ""});
    held.over = held.forked = true;
}

void Service::on_response(const Fact& fact) {
    const auto call = calls_.find(fact.txn);
    if (call == calls_.end()) {
        // After the end of all branches: a phone's second thought.
        if (fact.status / 100 == 2) give(AckAndByeOrder{fact.txn, fact.branch, fact.response});
        return;
    }
    auto& held = call->second;
    auto& branch = held.branches[fact.branch];
    if (fact.flag) count("local " + std::to_string(fact.status));
    if (fact.status < 200) {
        if (fact.status > 100 && !held.over && chance(0.9)) give(RelayOrder{fact.txn, fact.branch, fact.response});
        return;
    }
    branch.final = true;
    branch.status = fact.status;
    branch.response = fact.response;
    if (fact.status / 100 == 2) {
        if (held.over) {
            count("late 2xx");
            return give(AckAndByeOrder{fact.txn, fact.branch, fact.response});
        }
        held.over = true;
        give(RelayOrder{fact.txn, fact.branch, fact.response});
        for (const auto& [id, other] : held.branches)
            if (!other.final) give(CancelOrder{fact.txn, id, "SIP;cause=200"});
        return;
    }
    if (held.over) return;
    for (const auto& [id, other] : held.branches)
        if (!other.final) return;
    held.over = true;
    if (fact.flag) {
        give(ReplyOrder{fact.txn, 480, "", {}, ""});
    } else {
        give(RelayOrder{fact.txn, fact.branch, fact.response});
    }
}

}  // namespace stress
