// Requests going out and their responses: the response context of RFC 3261 16.6 and 16.7.
#include "engine.hpp"
#include "response.hpp"

namespace push_proxy {
namespace {

constexpr std::size_t kKeptResponses = 16;  // per branch, waiting for Python's decision

}  // namespace

void Engine::start_branch(ServerTxn& txn, int id, const Rewrite& rewrite, bool automatic) {
    const char* order = automatic ? "forward" : "fork";
    if (!txn.tsx || !txn.msg) return failed(order, txn.id, id, "the request's transaction is over");
    if (txn.branches.contains(id)) return failed(order, txn.id, id, "the branch has been used already");
    if (txn.cancelled && !automatic) return failed(order, txn.id, id, "the INVITE has been cancelled");
    if (txn.cancelled) {
        // The CANCEL came before this order: nothing is sent on (RFC 3261 16.10).
        tell_forwarded(txn, 487, "Request Terminated", true);
        return respond(txn, make_response(endpoint_, txn.msg, 487, "Request Terminated", txn.to_tag, {}, {}));
    }
    try {
        const auto hop = hop_of(rewrite);
        txn.from_device = txn.from_device || rewrite.device_is_caller || rewrite.connect;
        ForwardPlan plan;
        plan.request_uri = &rewrite.request_uri;
        plan.routes_to_pop = txn.own_routes;
        plan.add = &rewrite.add;
        plan.remove = &rewrite.remove;
        plan.branch_seed = rewrite.branch_seed;
        if (!rewrite.route_key.empty()) plan.record_route = record_route(txn, rewrite, *hop.listener);
        send_branch(txn, id, automatic, plan, hop);
        if (hop.to_device && hop.through.empty())
            txn.branches.at(id)->route_key = from_hex(rewrite.route_key).value_or("");
    } catch (const std::invalid_argument& error) {
        failed(order, txn.id, id, error.what());
    }
}

// Throws std::invalid_argument when the request cannot be built.
void Engine::send_branch(ServerTxn& txn, int id, bool automatic, ForwardPlan plan, const Hop& hop) {
    auto owned = std::make_unique<Branch>(txn, id);
    auto& branch = *owned;
    plan.branch = make_branch(txn.loop_hash, txn.upstream, settings_.token_key, plan.branch_seed);
    if (by_via_branch_.contains(plan.branch)) {
        if (!automatic) throw std::invalid_argument("the branch seed has been used already");
        plan.branch = make_branch(txn.loop_hash, txn.upstream, settings_.token_key);
    }
    plan.to_node = !hop.through.empty();
    branch.via_branch = plan.branch;
    branch.listener = hop.listener;
    branch.destination = hop.destination;
    branch.to_device = hop.to_device;
    branch.through = hop.through;
    branch.to_node = hop.to_node;
    branch.automatic = automatic;
    auto tdata = forward_request(endpoint_, txn.msg, txn.body, plan);
    by_via_branch_[branch.via_branch] = &branch;
    txn.branches.emplace(id, std::move(owned));
    if (txn.invite && automatic) say_trying(txn);
    if (!txn.tsx) {
        // Its connection was gone, as the 100 has shown: nobody waits for an answer.
        branch.final = true;
        return;
    }
    if (!hop.transport)
        return branch_failed(branch, hop.to_device ? 430 : 503, hop.to_device ? "Flow Failed" : hop.why);
    // Any failure from here on comes through branch_state or below, once.
    if (!send_in_transaction(std::move(tdata), hop, &branch) && !branch.final)
        branch_failed(branch, 503, "Next Hop Unreachable");
}

// Starts a client transaction. Null when it could not be sent.
pjsip_transaction* Engine::send_in_transaction(TxData tdata, const Hop& hop, Owner* owner) {
    if (!hop.transport) return nullptr;
    aim(tdata.get(), hop);
    pjsip_transaction* tsx;
    if (pjsip_tsx_create_uac2(&g_module, tdata.get(), nullptr, &tsx) != PJ_SUCCESS) return nullptr;
    tsx->mod_data[g_module.id] = owner;
    if (owner && owner->kind == Owner::Kind::branch) static_cast<Branch*>(owner)->tsx = tsx;
    if (owner && owner->kind == Owner::Kind::request) static_cast<OwnRequest*>(owner)->tsx = tsx;
    pjsip_tsx_set_transport(tsx, &tdata->tp_sel);
    // The flow is given (RFC 3261 16.6 step 7): pjsip would go by the Request-URI or the first Route, and
    // refuse to send when one of them says sips: or another transport=.
    const auto& target = tdata->dest_info.addr.entry[0];
    tsx->transport = hop.transport;
    pjsip_transport_add_ref(tsx->transport);
    pj_memcpy(&tsx->addr, &target.addr, static_cast<std::size_t>(target.addr_len));
    tsx->addr_len = target.addr_len;
    tsx->is_reliable = PJSIP_TRANSPORT_IS_RELIABLE(tsx->transport);
    if (pjsip_tsx_send_msg(tsx, nullptr) != PJ_SUCCESS) {
        if (tsx->state < PJSIP_TSX_STATE_TERMINATED) pjsip_tsx_terminate(tsx, PJSIP_SC_TSX_TRANSPORT_ERROR);
        return nullptr;
    }
    tdata.release();
    return tsx;
}

// An ACK: no transaction of ours, no answer. pjsip holds a reference of its own until it has left.
void Engine::send_stateless(const TxData& tdata, const Hop& hop) {
    if (!hop.transport) return;
    aim(tdata.get(), hop);
    const auto& target = tdata->dest_info.addr.entry[0];
    pjsip_transport_send(hop.transport, tdata.get(), &target.addr, target.addr_len, nullptr, nullptr);
}

// Names the flow in everything that pjsip looks at, and in our Via.
void Engine::aim(pjsip_tx_data* tdata, const Hop& hop) {
    auto& info = tdata->dest_info;
    info.name = pooled(tdata->pool, hop.destination.host);
    info.addr.count = 1;
    info.cur_addr = 0;
    auto& entry = info.addr.entry[0];
    entry.type = transport_type(hop.destination);
    entry.priority = 0;
    entry.weight = 0;
    entry.addr = to_sockaddr(hop.destination);
    entry.addr_len = static_cast<int>(pj_sockaddr_get_len(&entry.addr));
    pjsip_tpselector selector{};
    selector.type = PJSIP_TPSELECTOR_TRANSPORT;
    selector.u.transport = hop.transport;
    pjsip_tx_data_set_transport(tdata, &selector);
    tdata->via_addr.host = pooled(tdata->pool, settings_.public_host);
    tdata->via_addr.port = hop.listener->bound.port;
    tdata->via_tp = hop.transport;
    auto* via = static_cast<pjsip_via_hdr*>(pjsip_msg_find_hdr(tdata->msg, PJSIP_H_VIA, nullptr));
    via->transport = pj_str(hop.transport->type_name);
    via->sent_by = tdata->via_addr;
    via->rport_param = 0;  // RFC 3581: asked for
    if (!hop.through.empty()) lead_through(tdata, hop);
    pjsip_tx_data_invalidate_msg(tdata);
}

void Engine::branch_state(Branch& branch, pjsip_transaction* tsx, pjsip_event* event) {
    const auto& state = event->body.tsx_state;
    const bool response = state.type == PJSIP_EVENT_RX_MSG && state.src.rdata->msg_info.msg->type == PJSIP_RESPONSE_MSG;
    if (response) count("received.", status_class(state.src.rdata->msg_info.msg->line.status.code));
    if (response) {
        if (branch.final) {
            late_response(branch, state.src.rdata);
        } else {
            branch_response(branch, state.src.rdata);
        }
    }
    if (tsx->state < PJSIP_TSX_STATE_TERMINATED) return;
    disarm(branch.timer_c);
    if (!branch.final) {
        branch_failed(branch, tsx->status_code == PJSIP_SC_TSX_TIMEOUT ? 408 : 503, copy(tsx->status_text));
    }
    tsx->mod_data[g_module.id] = nullptr;
    branch.tsx = nullptr;
    settle(branch.txn);
}

void Engine::branch_response(Branch& branch, pjsip_rx_data* rdata) {
    auto& txn = branch.txn;
    const auto& line = rdata->msg_info.msg->line.status;
    if (line.code / 100 == 2) answered_from(branch, rdata);
    const bool first_provisional = line.code < 200 && !branch.provisional;
    branch.provisional = branch.provisional || line.code < 200;
    branch.final = branch.final || line.code >= 200;
    if (first_provisional && branch.cancel_wanted) {
        disarm(branch.timer_c);
        send_cancel(branch);
    }

    // RFC 3261 16.7 item 2: each 101 to 199 starts Timer C anew. Python has its own for what it forks;
    // should it forget a branch, that one ends after twice the time.
    if (txn.invite && line.code < 200 && (line.code > 100 || first_provisional) && branch.tsx && !branch.cancel_sent)
        arm_timer_c(branch);
    if (branch.final) disarm(branch.timer_c);
    // The other node had no flow either: the device may come to any of us.
    if (line.code == 430 && txn.toward && !branch.through.empty()) return wait_for_device(txn);
    if (branch.automatic) {
        if (line.code == 100) return;
        if (line.code >= 200) tell_forwarded(txn, line.code, copy(line.reason), false);
        if (line.code >= 180 && line.code < 190) tell_ringing(txn, line.code, copy(line.reason));
        return respond(txn, forward_response(endpoint_, rdata));
    }
    Fact fact = make_fact(FactKind::branch_response);
    if (line.code > 100) {
        if (branch.responses.size() >= kKeptResponses) branch.responses.erase(branch.responses.begin());
        fact.response = next_id_++;
        branch.responses[fact.response] = forward_response(endpoint_, rdata);
    }
    fact.txn = txn.id;
    fact.branch = branch.id;
    fact.status = line.code;
    fact.text = copy(line.reason);
    fact.raw.assign(rdata->msg_info.msg_buf, static_cast<std::size_t>(rdata->msg_info.len));
    facts_.push(std::move(fact));
}

void Engine::arm_timer_c(Branch& branch) {
    disarm(branch.timer_c);
    pj_timer_entry_init(&branch.timer_c, 1, &branch, [](pj_timer_heap_t*, pj_timer_entry* entry) {
        entry->id = 0;
        guarded("timer", [&] { g_engine->ring_out(*static_cast<Branch*>(entry->user_data)); });
    });
    const unsigned ms = settings_.timer_c_ms * (branch.automatic ? 1 : 2);
    const pj_time_val delay{static_cast<long>(ms / 1000), static_cast<long>(ms % 1000)};
    pjsip_endpt_schedule_timer(endpoint_, &branch.timer_c, &delay);
}

// Timer C (RFC 3261 16.8). The client transaction lives on, for the 487 that wants its ACK.
void Engine::ring_out(Branch& branch) {
    if (branch.final || !branch.tsx) return;
    want_cancel(branch, {});
    branch_failed(branch, 408, "Timer C");
}

void Engine::branch_failed(Branch& branch, int status, const std::string& reason) {
    auto& txn = branch.txn;
    branch.final = true;
    disarm(branch.timer_c);
    // The flow has failed: the device may come back by another one.
    if (status != 408 && txn.toward) return wait_for_device(txn);
    if (status != 408 && branch.to_node && past_dead_node(branch)) return;
    if (!branch.automatic) {
        Fact fact = make_fact(FactKind::branch_response);
        fact.txn = txn.id;
        fact.branch = branch.id;
        fact.status = status;
        fact.text = reason;
        fact.flag = true;
        return facts_.push(std::move(fact));
    }
    tell_forwarded(txn, status, reason, true);
    if (txn.final_sent || !txn.msg) return;
    const char* text = status == 408 ? "Request Timeout" : status == 430 ? "Flow Failed" : "Next Hop Unreachable";
    // RFC 3261 16.7 step 6: a 503 would make the caller avoid us, not the next hop.
    respond(txn, make_response(endpoint_, txn.msg, status == 503 ? 500 : status, text, txn.to_tag, {}, {}));
}

// The end of a request given to `forward`.
void Engine::tell_forwarded(const ServerTxn& txn, int status, const std::string& reason, bool local) {
    if (!txn.told) return;
    Fact fact = make_fact(FactKind::forward_response);
    fact.txn = txn.id;
    fact.status = status;
    fact.text = reason;
    fact.flag = local;
    facts_.push(std::move(fact));
}

// Its first 18x; a full queue has more important facts to carry.
void Engine::tell_ringing(ServerTxn& txn, int status, const std::string& reason) {
    if (!txn.told || !txn.invite || txn.ringing_told || facts_.full()) return;
    txn.ringing_told = true;
    Fact fact = make_fact(FactKind::forward_ringing);
    fact.txn = txn.id;
    fact.status = status;
    fact.text = reason;
    facts_.push(std::move(fact));
}

void Engine::relay(const RelayOrder& order) {
    auto* branch = find(order.txn, order.branch);
    if (!branch) return failed("relay", order.txn, order.branch, "no such branch");
    const auto found = branch->responses.find(order.response);
    if (found == branch->responses.end()) return failed("relay", order.txn, order.branch, "no such response");
    auto& txn = branch->txn;
    if (txn.final_sent || !txn.tsx)
        return failed("relay", order.txn, order.branch, "the INVITE has its final response");
    auto tdata = std::move(found->second);
    branch->responses.erase(found);
    if (status_of(tdata) / 100 == 2) branch->relayed_2xx = to_tag(tdata);
    respond(txn, std::move(tdata));
}

}  // namespace push_proxy
