// In-dialog requests toward a device follow it: to its newest flow, or they wait for one. A phone that has
// left its Wi-Fi, and one whose connection died with the service, registers again within seconds.
#include "waiting.hpp"

#include <algorithm>

#include "engine.hpp"

namespace push_proxy {
namespace {

constexpr std::size_t kMaxPerDevice = 32;  // waiting requests and ACKs
constexpr int kMaxFlows = 5;               // that one request is sent to

std::int64_t now_ms() {
    return std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now().time_since_epoch()).count();
}

pj_time_val delay(unsigned ms) { return {static_cast<long>(ms / 1000), static_cast<long>(ms % 1000)}; }

}  // namespace

std::string dialog_of(const pjsip_rx_data* rdata) {
    const auto& info = rdata->msg_info;
    const auto [low, high] = std::minmax({copy(info.from->tag), copy(info.to->tag)});
    return copy(info.cid->id) + "|" + low + "|" + high;
}

// Sends a request to its device, or lets it wait for a flow.
void Engine::follow(ServerTxn& txn, TowardDevice toward, const Hop& hop) {
    following_[toward.route_key].push_back(txn.id);
    txn.toward = std::move(toward);
    if (hop.transport) {
        if (!txn.toward->edge) tell_awaited(txn, false);
        send_to_device(txn, hop);
    } else {
        wait_for_device(txn);
    }
}

// Whoever can wake the device may do so: it is wanted.
void Engine::tell_awaited(const ServerTxn& txn, bool waiting) {
    if (facts_.full()) return;
    Fact fact = make_fact(FactKind::device_awaited);
    fact.name = to_hex(txn.toward->route_key);
    fact.text = copy(txn.msg->line.req.method.name);
    fact.call_id = txn.toward->call;
    fact.request_uri = print_uri(PJSIP_URI_IN_REQ_URI, txn.msg->line.req.uri);
    fact.flag = waiting;
    facts_.push(std::move(fact));
}

void Engine::send_to_device(ServerTxn& txn, const Hop& hop) {
    ForwardPlan plan;
    plan.routes_to_pop = txn.toward->routes_to_pop;
    ++txn.toward->flows;
    const int id = txn.toward->sent++;
    const auto route_key = txn.toward->route_key;
    send_branch(txn, id, true, plan, hop);
    txn.branches.at(id)->route_key = route_key;
}

// Until the device is bound to a flow that stands, or the time is over.
void Engine::wait_for_device(ServerTxn& txn) {
    auto& toward = *txn.toward;
    if (txn.final_sent || !txn.msg || toward.waiting) return;
    const auto waiting_here =
        std::count_if(following_[toward.route_key].begin(), following_[toward.route_key].end(), [&](std::uint64_t id) {
            const auto* other = find(id);
            return other && other->toward && other->toward->waiting;
        });
    if (txn.cancelled) return end_wait(txn, 487, "Request Terminated");
    if (waiting_ >= settings_.waiting_limit || static_cast<std::size_t>(waiting_here) >= kMaxPerDevice ||
        toward.flows >= kMaxFlows || stopping_ || toward.edge)
        return end_wait(txn, 430, "Flow Failed");
    count("in_dialog.", "waited");
    toward.waiting = true;
    ++waiting_;
    tell_awaited(txn, true);
    pj_timer_entry_init(&toward.timer, 1, &txn, [](pj_timer_heap_t*, pj_timer_entry* entry) {
        entry->id = 0;
        guarded("timer", [&] { g_engine->end_wait(*static_cast<ServerTxn*>(entry->user_data), 430, "Flow Failed"); });
    });
    const auto longest = delay(settings_.in_dialog_wait_ms);
    pjsip_endpt_schedule_timer(endpoint_, &toward.timer, &longest);
    if (txn.invite) return say_trying(txn);
    // RFC 4320 4.1: 100 for another request not before its Timer E has grown to T2, and then surely.
    arm_trying(txn, delay(7 * pjsip_cfg()->tsx.t1));
}

void Engine::end_wait(ServerTxn& txn, int status, const char* reason, const Headers& headers) {
    if (status == 430) count("rejected.", "flow_failed");
    stop_following(txn);
    if (txn.final_sent || !txn.msg) return;
    respond(txn, make_response(endpoint_, txn.msg, status, reason, txn.to_tag, headers, {}));
}

// Before the final response, or with the end of the transaction.
void Engine::stop_following(ServerTxn& txn) {
    if (!txn.toward) return;
    stop_waiting(txn);
    const auto list = following_.find(txn.toward->route_key);
    if (list != following_.end()) {
        std::erase(list->second, txn.id);
        if (list->second.empty()) following_.erase(list);
    }
    txn.toward.reset();
}

void Engine::stop_waiting(ServerTxn& txn) {
    auto& toward = *txn.toward;
    if (!toward.waiting) return;
    toward.waiting = false;
    --waiting_;
    disarm(toward.timer);
}

// The device has a new flow, perhaps: everything that it has not answered goes there, in the order it came.
void Engine::device_bound(const std::string& route_key) {
    const auto bound = bindings_.find(route_key);
    if (bound == bindings_.end()) return;
    const auto hop = hop_of(bound->second);
    if (!hop.transport) return;
    send_kept_acks(route_key, hop);
    const auto list = following_.find(route_key);
    if (list == following_.end()) return;
    for (const auto id : std::vector(list->second)) {
        auto* txn = find(id);
        if (!txn || !txn->toward || txn->final_sent) continue;
        // The node that has sent it knows where the device is now.
        if (txn->toward->edge && !hop.through.empty()) continue;
        if (txn->toward->waiting) {
            stop_waiting(*txn);
            send_to_device(*txn, hop);
        } else if (auto* branch = find(id, txn->toward->sent - 1)) {
            redirect(*branch, hop);
        }
    }
}

// An unanswered request leaves the flow it was sent to for the device's new one.
void Engine::redirect(Branch& branch, const Hop& hop) {
    auto& txn = branch.txn;
    auto* tsx = branch.tsx;
    // With a provisional response the device has it.
    if (!tsx || branch.final || branch.provisional || branch.cancel_wanted) return;
    const bool same_transport = tsx->transport == hop.transport;
    if (same_transport && branch.destination == hop.destination && branch.through == hop.through) return;
    if (txn.toward->flows >= kMaxFlows) return;
    count("in_dialog.", "redirected");
    const bool direct = branch.through.empty() && hop.through.empty();
    if (same_transport && direct && !is_stream(tsx->transport)) {
        // The same Via: for a device that has had it this is a repetition, which it answers again. One
        // with a branch of its own it would refuse, for its CSeq is not a new one.
        const auto address = to_sockaddr(hop.destination);
        pj_sockaddr_cp(&tsx->addr, &address);
        tsx->addr_len = static_cast<int>(pj_sockaddr_get_len(&address));
        branch.destination = hop.destination;
        ++txn.toward->flows;
        if (!tsx->last_tx->is_pending)
            pjsip_transport_send(tsx->transport, tsx->last_tx, &tsx->addr, tsx->addr_len, nullptr, nullptr);
        return;
    }
    abandon(branch);
    send_to_device(txn, hop);
}

// Nobody listens to it any more, but a late 2xx still counts (late_response).
void Engine::abandon(Branch& branch) {
    branch.final = true;
    disarm(branch.timer_c);
    auto* tsx = std::exchange(branch.tsx, nullptr);
    tsx->mod_data[g_module.id] = nullptr;
    pjsip_tsx_terminate(tsx, PJSIP_SC_TSX_TRANSPORT_ERROR);
}

// RFC 3261 15.1.2: a BYE ends what else is asked in its dialog. What has been sent is the device's to answer.
void Engine::dialog_over(const std::string& route_key, const std::string& dialog) {
    const auto list = following_.find(route_key);
    if (list == following_.end()) return;
    for (const auto id : std::vector(list->second)) {
        auto* txn = find(id);
        if (!txn || !txn->toward || !txn->toward->waiting || txn->toward->dialog != dialog) continue;
        const bool bye = txn->msg->line.req.method.id == PJSIP_BYE_METHOD;
        end_wait(*txn, bye ? 481 : 487, bye ? "Call/Transaction Does Not Exist" : "Request Terminated");
    }
}

void Engine::end_waits() {
    std::vector<ServerTxn*> waiting;
    for (const auto& [id, txn] : transactions_)
        if (txn->toward && txn->toward->waiting) waiting.push_back(txn.get());
    for (auto* txn : waiting) end_wait(*txn, 503, "Service Unavailable", {{"Retry-After", "5"}});
    kept_acks_.clear();
}

void Engine::keep_ack(std::string route_key, std::string name, TxData message) {
    const auto now = now_ms();
    std::erase_if(kept_acks_, [&](const KeptAck& ack) { return ack.until_ms < now || ack.name == name; });
    const auto here = std::count_if(kept_acks_.begin(), kept_acks_.end(),
                                    [&](const KeptAck& ack) { return ack.route_key == route_key; });
    if (kept_acks_.size() >= settings_.waiting_limit || static_cast<std::size_t>(here) >= kMaxPerDevice) return;
    count("in_dialog.", "ack_kept");
    kept_acks_.push_back(
        {std::move(route_key), std::move(name), std::move(message), now + settings_.in_dialog_wait_ms});
}

void Engine::send_kept_acks(const std::string& route_key, const Hop& hop) {
    const auto now = now_ms();
    std::erase_if(kept_acks_, [&](const KeptAck& ack) {
        if (ack.route_key == route_key && ack.until_ms >= now) send_stateless(ack.message, hop);
        return ack.route_key == route_key || ack.until_ms < now;
    });
}

}  // namespace push_proxy
