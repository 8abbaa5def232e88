// Requests coming in: what the stack answers by itself, and what Python decides (RFC 3261 16.3).
#include "engine.hpp"

namespace push_proxy {
namespace {

constexpr pj_time_val kTryingDelay{0, 150};  // Python has stored the INVITE and said 100 long before

bool is_method(const pjsip_msg* msg, std::string_view name) { return view(msg->line.req.method.name) == name; }

}  // namespace

void Engine::on_request(pjsip_rx_data* rdata) {
    bury();
    const auto* msg = rdata->msg_info.msg;
    count("received.", view(msg->line.req.method.name));
    if (msg->line.req.method.id == PJSIP_CANCEL_METHOD) return on_cancel(rdata);
    const bool in_dialog = rdata->msg_info.to->tag.slen != 0;
    if (msg->line.req.method.id == PJSIP_ACK_METHOD || (in_dialog && !is_method(msg, "REGISTER")))
        return on_in_dialog(rdata);
    const auto* target = sip_uri(msg->line.req.uri);
    if (is_method(msg, "OPTIONS") && target && is_us(target)) {
        // PBXs qualify the contacts that sleep: 3 s without an answer and callers get 404 (Asterisk).
        return answer_stateless(rdata, 200, "OK", {},
                                {{"Allow", "INVITE, ACK, CANCEL, BYE, OPTIONS, REGISTER, UPDATE, PRACK, INFO, REFER, "
                                           "SUBSCRIBE, NOTIFY, MESSAGE"},
                                 {"Accept", "application/sdp"}});
    }
    on_outside_dialog(rdata);
}

void Engine::on_outside_dialog(pjsip_rx_data* rdata) {
    const auto* msg = rdata->msg_info.msg;
    const auto* max_forwards = rdata->msg_info.max_fwd;
    if (max_forwards && max_forwards->ivalue <= 0 && !is_method(msg, "REGISTER")) {
        count("rejected.", "max_forwards");
        return answer_stateless(rdata, 483, "Too Many Hops");
    }
    if (looped(msg, loop_hash(rdata))) {
        count("rejected.", "loop");
        return answer_stateless(rdata, 482, "Loop Detected");
    }
    std::size_t routes = 0;
    for (const pjsip_hdr* header = msg->hdr.next; header != &msg->hdr; header = header->next)
        routes += header->type == PJSIP_H_ROUTE;
    if (routes > leading_own_routes(msg)) {
        // Nobody sends us requests for third parties: no open relay.
        count("rejected.", "bad_route");
        return answer_stateless(rdata, 403, "Route Not Allowed");
    }
    if (facts_.full()) {
        count("rejected.", "overloaded");
        return answer_stateless(rdata, 503, "Service Unavailable", {}, {{"Retry-After", "5"}});
    }
    auto* txn = open_server(rdata);
    if (!txn) return;
    if (txn->invite) arm_trying(*txn);

    Fact fact = make_fact(FactKind::request);
    fact.txn = txn->id;
    fact.name = copy(msg->line.req.method.name);
    fact.request_uri = print_uri(PJSIP_URI_IN_REQ_URI, msg->line.req.uri);
    fact.source = txn->source;
    fact.local = txn->listener->bound;
    fact.from_uri = print_uri(PJSIP_URI_IN_FROMTO_HDR, pjsip_uri_get_uri(rdata->msg_info.from->uri));
    fact.from_tag = txn->from_tag;
    fact.to_uri = print_uri(PJSIP_URI_IN_FROMTO_HDR, pjsip_uri_get_uri(rdata->msg_info.to->uri));
    fact.to_tag = txn->to_tag;
    fact.call_id = copy(rdata->msg_info.cid->id);
    fact.cseq = rdata->msg_info.cseq->cseq;
    fact.raw.assign(rdata->msg_info.msg_buf, static_cast<std::size_t>(rdata->msg_info.len));
    facts_.push(std::move(fact));
}

// A server transaction; null when the request cannot have one (it has been answered).
ServerTxn* Engine::open_server(pjsip_rx_data* rdata) {
    auto txn = std::make_unique<ServerTxn>();
    pjsip_transaction* tsx;
    if (const auto status = pjsip_tsx_create_uas2(&g_module, rdata, nullptr, &tsx); status != PJ_SUCCESS) {
        count("rejected.", "malformed");
        answer_stateless(rdata, 400, "Bad Request");
        return nullptr;
    }
    auto* msg = rdata->msg_info.msg;
    txn->id = next_id_++;
    txn->tsx = tsx;
    txn->invite = msg->line.req.method.id == PJSIP_INVITE_METHOD;
    txn->pool = pjsip_endpt_create_pool(endpoint_, "request", 3000, 1000);
    auto* body = msg->body;
    msg->body = nullptr;  // kept raw instead
    txn->msg = pjsip_msg_clone(txn->pool, msg);
    msg->body = body;
    txn->body = raw_body(rdata);
    txn->raw_size = static_cast<std::size_t>(rdata->msg_info.len);
    txn->own_routes = leading_own_routes(msg);
    txn->to_tag = to_hex(random_bytes(6));
    txn->from_tag = copy(rdata->msg_info.from->tag);
    txn->loop_hash = loop_hash(rdata);
    txn->next_hop = short_hash(reverse_hop(msg));
    txn->listener = &listener_of(rdata);
    txn->source = to_address(rdata->pkt_info.src_addr, txn->listener->bound.transport);
    tsx->mod_data[g_module.id] = static_cast<Owner*>(txn.get());
    pjsip_tsx_recv_msg(tsx, rdata);
    auto* raw = txn.get();
    transactions_.emplace(raw->id, std::move(txn));
    return raw;
}

void Engine::on_cancel(pjsip_rx_data* rdata) {
    pj_str_t key;
    pjsip_tsx_create_key(rdata->tp_info.pool, &key, PJSIP_ROLE_UAS, pjsip_get_invite_method(), rdata);
    auto* tsx = pjsip_tsx_layer_find_tsx2(&key, PJ_FALSE);
    auto* owner = tsx ? static_cast<Owner*>(tsx->mod_data[g_module.id]) : nullptr;
    if (!owner || owner->kind != Owner::Kind::server) {
        count("rejected.", "no_dialog");
        return answer_stateless(rdata, 481, "Call/Transaction Does Not Exist");
    }
    auto& txn = static_cast<ServerTxn&>(*owner);
    answer_stateless(rdata, 200, "OK", txn.to_tag);
    if (txn.final_sent || txn.cancelled) return;
    txn.cancelled = true;
    const auto reason = header_value(rdata->msg_info.msg, "Reason");
    bool automatic = false;
    for (auto& [id, branch] : txn.branches) {
        if (!branch->automatic) continue;
        automatic = true;
        want_cancel(*branch, reason);
    }
    if (automatic) return;
    Fact fact = make_fact(FactKind::cancel);
    fact.txn = txn.id;
    fact.text = reason;
    facts_.push(std::move(fact));
}

void Engine::answer_stateless(pjsip_rx_data* rdata, int status, std::string_view reason, std::string_view to_tag,
                              const Headers& headers) {
    if (rdata->msg_info.msg->line.req.method.id == PJSIP_ACK_METHOD) return;
    // The same tag for each retransmission: it is derived from the branch (RFC 3261 16.11).
    const std::string tag = to_tag.empty() ? to_hex(hmac_sha256(settings_.token_key, view(rdata->msg_info.via->branch_param)))
                                                 .substr(0, 12)
                                           : std::string(to_tag);
    auto* tdata = make_response(endpoint_, rdata->msg_info.msg, status, reason, tag, headers, {});
    pjsip_response_addr address;
    if (pjsip_get_response_addr(tdata->pool, rdata, &address) != PJ_SUCCESS ||
        pjsip_endpt_send_response(endpoint_, &address, tdata, nullptr, nullptr) != PJ_SUCCESS)
        pjsip_tx_data_dec_ref(tdata);
}

void Engine::reply(const ReplyOrder& order) {
    auto* txn = find(order.txn);
    if (!txn || txn->final_sent || !txn->tsx)
        return failed("reply", order.txn, 0, "the request has its final response");
    respond(*txn, make_response(endpoint_, txn->msg, order.status, order.reason, txn->to_tag, order.headers, order.body));
}

// Sends upstream; takes over the reference.
void Engine::respond(ServerTxn& txn, pjsip_tx_data* tdata) {
    const int status = tdata->msg->line.status.code;
    disarm_trying(txn);
    if (!txn.tsx || txn.final_sent) {
        pjsip_tx_data_dec_ref(tdata);
        return;
    }
    txn.final_sent = status >= 200;
    if (pjsip_tsx_send_msg(txn.tsx, tdata) != PJ_SUCCESS) {
        pjsip_tx_data_dec_ref(tdata);
    } else if (txn.invite && status / 100 == 2 && txn.tsx) {
        // RFC 6026: the phone repeats its 2xx until the ACK comes; the proxy's transaction does not.
        pjsip_tsx_stop_retransmit(txn.tsx);
    }
    if (txn.final_sent) txn.forget_message();
}

void Engine::arm_trying(ServerTxn& txn) {
    pj_timer_entry_init(&txn.trying, 1, &txn, [](pj_timer_heap_t*, pj_timer_entry* entry) {
        entry->id = 0;
        if (g_engine) g_engine->trying_due(*static_cast<ServerTxn*>(entry->user_data));
    });
    const pj_time_val delay = kTryingDelay;
    pjsip_endpt_schedule_timer(endpoint_, &txn.trying, &delay);
}

void Engine::disarm_trying(ServerTxn& txn) {
    if (txn.trying.id == 0) return;
    pjsip_endpt_cancel_timer(endpoint_, &txn.trying);
    txn.trying.id = 0;
}

void Engine::trying_due(ServerTxn& txn) {
    if (!txn.final_sent && txn.msg) respond(txn, make_response(endpoint_, txn.msg, 100, "Trying", {}, {}, {}));
}

void Engine::server_state(ServerTxn& txn, pjsip_transaction* tsx, pjsip_event* event) {
    if (tsx->state == PJSIP_TSX_STATE_CONFIRMED && tsx->status_code / 100 == 2 &&
        event->body.tsx_state.type == PJSIP_EVENT_RX_MSG) {
        // Some phones give the ACK of a 2xx the INVITE's branch: it must travel all the same.
        return on_in_dialog(event->body.tsx_state.src.rdata);
    }
    if (tsx->state < PJSIP_TSX_STATE_TERMINATED) return;
    tsx->mod_data[g_module.id] = nullptr;
    txn.tsx = nullptr;
    disarm_trying(txn);
    if (!txn.final_sent) {
        Fact fact = make_fact(FactKind::transaction_lost);
        fact.txn = txn.id;
        fact.text = copy(tsx->status_text);
        facts_.push(std::move(fact));
        for (auto& [id, branch] : txn.branches)
            if (branch->automatic) want_cancel(*branch, {});
    }
    settle(txn);
}

// Remembers that nothing of this transaction is left in pjsip; `bury` frees it outside callbacks.
void Engine::settle(const ServerTxn& txn) {
    if (txn.tsx) return;
    for (const auto& [id, branch] : txn.branches)
        if (branch->tsx) return;
    finished_.push_back(txn.id);
}

void Engine::bury() {
    for (const auto id : finished_) {
        const auto found = transactions_.find(id);
        if (found == transactions_.end()) continue;
        for (const auto& [branch_id, branch] : found->second->branches) by_via_branch_.erase(branch->via_branch);
        transactions_.erase(found);
    }
    finished_.clear();
}

}  // namespace push_proxy
