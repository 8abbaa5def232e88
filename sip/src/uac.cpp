// Requests going out and their responses: the response context of RFC 3261 16.6 and 16.7.
#include "engine.hpp"

namespace push_proxy {
namespace {

constexpr std::size_t kKeptResponses = 16;  // per branch, waiting for Python's decision

std::string to_tag(const pjsip_rx_data* rdata) { return copy(rdata->msg_info.to->tag); }

int status_of(const TxData& response) { return response->msg->line.status.code; }

std::string to_tag(const TxData& response) {
    return copy(static_cast<pjsip_to_hdr*>(pjsip_msg_find_hdr(response->msg, PJSIP_H_TO, nullptr))->tag);
}

std::string status_class(int code) { return std::to_string(code / 100) + "xx"; }

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

void Engine::cancel(const CancelOrder& order) {
    auto* branch = find(order.txn, order.branch);
    if (!branch) return failed("cancel", order.txn, order.branch, "no such branch");
    want_cancel(*branch, order.reason);
}

void Engine::want_cancel(Branch& branch, const std::string& reason) {
    if (branch.final || branch.cancel_wanted) return;
    branch.cancel_wanted = true;
    branch.cancel_reason = reason;
    // RFC 3261 9.1: no CANCEL before a provisional response.
    if (branch.provisional) {
        send_cancel(branch);
    } else if (branch.tsx && branch.txn.invite) {
        stop_repeating(branch);
    }
}

// A cancelled INVITE that has not been heard of yet: it is repeated until 8*T1 after it was first sent, for
// who rings may be waiting for a CANCEL, and only its 180 was lost. Then no more: a phone that wakes so late
// would ring for a call that is over.
void Engine::stop_repeating(Branch& branch) {
    using std::chrono::milliseconds;
    const auto age = std::chrono::duration_cast<milliseconds>(Clock::now() - branch.started);
    const auto left = milliseconds(8 * pjsip_cfg()->tsx.t1) - age;
    if (left <= milliseconds(0)) {
        pjsip_tsx_stop_retransmit(branch.tsx);
        return;
    }
    // Timer C runs only after a provisional response, which ends this.
    disarm(branch.timer_c);
    pj_timer_entry_init(&branch.timer_c, 1, &branch, [](pj_timer_heap_t*, pj_timer_entry* entry) {
        entry->id = 0;
        auto* tsx = static_cast<Branch*>(entry->user_data)->tsx;
        if (tsx) pjsip_tsx_stop_retransmit(tsx);
    });
    const pj_time_val delay{static_cast<long>(left.count() / 1000), static_cast<long>(left.count() % 1000)};
    pjsip_endpt_schedule_timer(endpoint_, &branch.timer_c, &delay);
}

void Engine::send_cancel(Branch& branch) {
    if (branch.cancel_sent || !branch.tsx || !branch.txn.invite) return;
    branch.cancel_sent = send_cancel(branch.tsx, branch.cancel_reason, hop_of(branch));
    // RFC 3261 9.1: 64*T1 after the CANCEL the branch is over, answered or not.
    if (branch.cancel_sent && branch.tsx) pjsip_tsx_set_timeout(branch.tsx, pjsip_cfg()->tsx.td);
}

// CANCEL of an INVITE that has had a provisional response. False when it cannot be built. Its connection may
// turn out to be gone: then the INVITE's transaction is gone as well when this returns.
bool Engine::send_cancel(pjsip_transaction* invite, const std::string& reason, const Hop& hop) {
    pjsip_tx_data* made;
    if (pjsip_endpt_create_cancel(endpoint_, invite->last_tx, &made) != PJ_SUCCESS) return false;
    TxData tdata(made);
    if (!reason.empty() && reason.find_first_of("\r\n") == std::string::npos) {
        const pj_str_t name = borrow("Reason");
        const pj_str_t value = borrow(reason);
        auto* header = pjsip_generic_string_hdr_create(tdata->pool, &name, &value);
        pjsip_msg_add_hdr(tdata->msg, reinterpret_cast<pjsip_hdr*>(header));
    }
    send_in_transaction(std::move(tdata), hop, nullptr);
    return true;
}

void Engine::ack_and_bye(const AckAndByeOrder& order) {
    auto* branch = find(order.txn, order.branch);
    const auto fail = [&](const char* reason) { failed("ack_and_bye", order.txn, order.branch, reason); };
    if (!branch) return fail("no such branch");
    const auto found = branch->responses.find(order.response);
    if (found == branch->responses.end()) return fail("no such response");
    if (status_of(found->second) / 100 != 2) return fail("not a 2xx");
    const auto response = std::move(found->second);
    branch->responses.erase(found);
    TxData ack;
    if (!end_dialog(response->msg, hop_of(*branch), &ack))
        return fail("the 2xx has no SIP Contact to end the dialog at");
    if (ack) branch->acks[to_tag(response)] = std::move(ack);
}

// ACK and BYE of a 2xx that nobody wants. False when it does not say where to.
bool Engine::end_dialog(pjsip_msg* msg, const Hop& hop, TxData* kept_ack) {
    const auto* contact = static_cast<pjsip_contact_hdr*>(pjsip_msg_find_hdr(msg, PJSIP_H_CONTACT, nullptr));
    if (!contact || !contact->uri || !sip_uri(contact->uri)) return false;
    // RFC 3261 12.1.2: the proxies between us and the phone, nearest to us first.
    std::vector<const pjsip_routing_hdr*> route_set;
    for (const pjsip_hdr* header = msg->hdr.next; header != &msg->hdr; header = header->next) {
        if (header->type != PJSIP_H_RECORD_ROUTE) continue;
        const auto* record = reinterpret_cast<const pjsip_routing_hdr*>(header);
        const auto* uri = sip_uri(record->name_addr.uri);
        if (uri && (is_us(uri) || decode_route_token(view(uri->user), settings_.token_key))) break;
        route_set.insert(route_set.begin(), record);
    }
    const auto make = [&](const pjsip_method* method, int cseq) -> TxData {
        pjsip_tx_data* made;
        const auto status = pjsip_endpt_create_request_from_hdr(
            endpoint_, method, static_cast<pjsip_uri*>(pjsip_uri_get_uri(contact->uri)),
            static_cast<pjsip_from_hdr*>(pjsip_msg_find_hdr(msg, PJSIP_H_FROM, nullptr)),
            static_cast<pjsip_to_hdr*>(pjsip_msg_find_hdr(msg, PJSIP_H_TO, nullptr)), nullptr,
            static_cast<pjsip_cid_hdr*>(pjsip_msg_find_hdr(msg, PJSIP_H_CALL_ID, nullptr)), cseq, nullptr, &made);
        if (status != PJ_SUCCESS) return nullptr;
        for (const auto* record : route_set) {
            auto* route = pjsip_route_hdr_create(made->pool);
            pjsip_name_addr_assign(made->pool, &route->name_addr, &record->name_addr);
            pjsip_msg_add_hdr(made->msg, reinterpret_cast<pjsip_hdr*>(route));
        }
        follow_strict_route(made);
        return TxData(made);
    };
    const int cseq = static_cast<pjsip_cseq_hdr*>(pjsip_msg_find_hdr(msg, PJSIP_H_CSEQ, nullptr))->cseq;
    if (auto ack = make(pjsip_get_ack_method(), cseq)) {
        auto* via = static_cast<pjsip_via_hdr*>(pjsip_msg_find_hdr(ack->msg, PJSIP_H_VIA, nullptr));
        via->branch_param = pooled(ack->pool, make_branch(0, "", settings_.token_key));
        send_stateless(ack, hop);
        if (kept_ack) *kept_ack = std::move(ack);
    }
    if (auto bye = make(pjsip_get_bye_method(), cseq + 1)) send_in_transaction(std::move(bye), hop, nullptr);
    return true;
}

void Engine::request(const RequestOrder& order) {
    auto owned = std::make_unique<OwnRequest>(order.request, !order.connect);
    auto* own = owned.get();
    try {
        auto tdata = make_request(endpoint_, order);
        const auto hop = hop_of(order);
        if (!hop.transport)
            return request_failed(order.request, hop.to_device ? 430 : 503, hop.to_device ? "Flow Failed" : hop.why);
        own->listener = hop.listener;
        own->destination = hop.destination;
        own->through = hop.through;
        if (order.method == "INVITE") own->over = order.over.value_or("");
        requests_.emplace(own, std::move(owned));
        const auto* tsx = send_in_transaction(std::move(tdata), hop, own);
        if (!tsx && requests_.erase(own)) request_failed(order.request, 503, "the request could not be sent");
    } catch (const std::invalid_argument& error) {
        request_failed(order.request, 503, error.what());
    }
}

// Without an answer from the other side.
void Engine::request_failed(std::uint64_t request, int status, const std::string& reason) {
    Fact fact = make_fact(FactKind::request_answered);
    fact.txn = request;
    fact.status = status;
    fact.text = reason;
    fact.flag = true;
    facts_.push(std::move(fact));
}

void Engine::request_state(OwnRequest& own, pjsip_transaction* tsx, pjsip_event* event) {
    const auto& state = event->body.tsx_state;
    const bool response = state.type == PJSIP_EVENT_RX_MSG && state.src.rdata->msg_info.msg->type == PJSIP_RESPONSE_MSG;
    if (response) count("received.", status_class(state.src.rdata->msg_info.msg->line.status.code));
    if (response && state.src.rdata->msg_info.msg->line.status.code < 200) return own_heard(own);
    if (!response && tsx->state < PJSIP_TSX_STATE_TERMINATED) return;
    Fact fact = make_fact(FactKind::request_answered);
    fact.txn = own.request;
    if (response) {
        const auto* rdata = state.src.rdata;
        const auto& line = rdata->msg_info.msg->line.status;
        fact.status = line.code;
        fact.text = copy(line.reason);
        fact.raw.assign(rdata->msg_info.msg_buf, static_cast<std::size_t>(rdata->msg_info.len));
    } else {
        fact.status = tsx->status_code == PJSIP_SC_TSX_TIMEOUT ? 408 : 503;
        fact.text = copy(tsx->status_text);
        fact.flag = true;
    }
    std::optional<Hop> answered;
    if (response && own.over && fact.status / 100 == 2) answered = hop_of(own);
    facts_.push(std::move(fact));
    tsx->mod_data[g_module.id] = nullptr;
    requests_.erase(&own);
    if (answered) end_dialog(state.src.rdata->msg_info.msg, *answered, nullptr);
}

// An INVITE of ours is one that is over: it is cancelled as soon as it has been heard (RFC 3261 9.1).
void Engine::own_heard(OwnRequest& own) {
    if (!own.over || own.cancel_sent || !own.tsx) return;
    own.cancel_sent = true;
    if (send_cancel(own.tsx, *own.over, hop_of(own)) && requests_.contains(&own) && own.tsx)
        pjsip_tsx_set_timeout(own.tsx, pjsip_cfg()->tsx.td);
}

// A response that matches no client transaction: a repeated 2xx, or one from before a restart.
void Engine::on_stray_response(pjsip_rx_data* rdata) {
    const int code = rdata->msg_info.msg->line.status.code;
    count("received.", status_class(code));
    // A CANCEL has the branch of its INVITE, and its answer goes no further (RFC 3261 9.1).
    if (rdata->msg_info.cseq->method.id == PJSIP_CANCEL_METHOD) return;
    const std::string via_branch = copy(rdata->msg_info.via->branch_param);
    if (!verify_branch(via_branch, settings_.token_key)) return;  // not ours: dropped (RFC 3261 18.1.2)
    const auto known = by_via_branch_.find(via_branch);
    if (known != by_via_branch_.end()) return late_response(*known->second, rdata);
    if (auto* txn = restored_by(rdata)) return answer_restored(*txn, rdata);
    send_upstream(rdata);
}

// A response on a branch that is over: only a 2xx still matters.
void Engine::late_response(Branch& branch, pjsip_rx_data* rdata) {
    if (rdata->msg_info.msg->line.status.code / 100 != 2) return;
    answered_from(branch, rdata);
    // By the flow that the request has left: the device had it after all.
    if (branch.txn.toward) return respond(branch.txn, forward_response(endpoint_, rdata));
    if (!branch.txn.invite) return;
    // RFC 3261 16.7 item 5: each 2xx of a request that we only pass on.
    if (branch.automatic) return send_upstream(rdata);
    const auto tag = to_tag(rdata);
    if (branch.relayed_2xx == tag) return send_upstream(rdata);
    if (const auto ack = branch.acks.find(tag); ack != branch.acks.end()) {
        // The ACK was lost, unless it still waits to leave.
        if (!ack->second->is_pending) send_stateless(ack->second, hop_of(branch));
        return;
    }
    for (const auto& [id, response] : branch.responses)
        if (status_of(response) / 100 == 2 && to_tag(response) == tag) return;  // Python is deciding
    branch_response(branch, rdata);  // after the branch was given up, or a second phone behind it
}

// Statelessly, and only to where the request came from (RFC 3261 16.7 items 3 and 9, 18.2.2).
void Engine::send_upstream(pjsip_rx_data* rdata) {
    auto tdata = forward_response(endpoint_, rdata);
    const auto* via = static_cast<pjsip_via_hdr*>(pjsip_msg_find_hdr(tdata->msg, PJSIP_H_VIA, nullptr));
    if (!via) return;
    const auto target = upstream_of(via);
    if (!branch_leads_to(view(rdata->msg_info.via->branch_param), target.text(), settings_.token_key)) return;
    pjsip_response_addr address{};
    address.addr = to_sockaddr(target);
    address.addr_len = static_cast<int>(pj_sockaddr_get_len(&address.addr));
    auto hop = hop_to_device(target, listener_of(rdata));
    // From before a restart: to the PBX where it listens, to a device never (RFC 3261 18.2.2).
    if (!hop.transport && known_peer(target)) hop = hop_to_known_peer(listening_at(via), *hop.listener);
    if (!hop.transport) return;
    address.transport = hop.transport;
    if (pjsip_endpt_send_response(endpoint_, &address, tdata.get(), nullptr, nullptr) == PJ_SUCCESS) tdata.release();
}

}  // namespace push_proxy
