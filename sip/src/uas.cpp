// Requests coming in: what the stack answers by itself, and what Python decides (RFC 3261 16.3).
#include <algorithm>

#include "engine.hpp"

namespace push_proxy {
namespace {

constexpr pj_time_val kTryingDelay{0, 150};  // Python has stored the INVITE and said 100 long before

// Far above what a call through many proxies has. Each costs up to hundreds of bytes once it is parsed and
// copied, and a comma or semicolon makes one: who sends thousands in a datagram wants that.
constexpr std::size_t kMaxHeaders = 256;
constexpr std::ptrdiff_t kMaxParameters = 1024;

bool excessive(const pjsip_rx_data* rdata) {
    const auto* msg = rdata->msg_info.msg;
    std::size_t headers = 0;
    for (const pjsip_hdr* header = msg->hdr.next; header != &msg->hdr; header = header->next) ++headers;
    std::string_view text(rdata->msg_info.msg_buf, static_cast<std::size_t>(rdata->msg_info.len));
    text = text.substr(0, std::min(text.find("\n\r\n"), text.find("\n\n")));
    const auto parameters = std::count_if(text.begin(), text.end(), [](char c) { return c == ';' || c == '&'; });
    return headers > kMaxHeaders || parameters > kMaxParameters;
}

bool is_method(const pjsip_msg* msg, std::string_view name) { return view(msg->line.req.method.name) == name; }

// Where pjsip finds out where to answer a request, made to say: to its source address, through the
// socket it came in by, and without rport to the port that the Via names (RFC 3261 18.2.2, RFC 3581).
// By itself pjsip would answer a request without rport from any socket of ours.
class ReplyPath {
   public:
    explicit ReplyPath(pjsip_rx_data* rdata)
        : via_(*rdata->msg_info.via), source_(rdata->pkt_info.src_addr), rport_(via_.rport_param), port_(port()) {
        if (rport_ >= 0) return;
        via_.rport_param = upstream_of(&via_).port;
        pj_sockaddr_set_port(&source_, static_cast<pj_uint16_t>(via_.rport_param));
    }
    ~ReplyPath() {
        via_.rport_param = rport_;
        pj_sockaddr_set_port(&source_, port_);
    }
    ReplyPath(const ReplyPath&) = delete;
    ReplyPath& operator=(const ReplyPath&) = delete;

   private:
    pj_uint16_t port() const { return pj_sockaddr_get_port(&source_); }

    pjsip_via_hdr& via_;
    pj_sockaddr& source_;
    const int rport_;
    const pj_uint16_t port_;
};

// The option tags in Proxy-Require that we do not know, for Unsupported (RFC 3261 16.3 item 5).
std::string unknown_extensions(const pjsip_msg* msg) {
    std::string unknown;
    const pj_str_t name = borrow("Proxy-Require");
    const void* header = nullptr;
    while ((header = pjsip_msg_find_hdr_by_name(msg, &name, header)) != nullptr) {
        std::string_view rest = view(static_cast<const pjsip_generic_string_hdr*>(header)->hvalue);
        while (!rest.empty()) {
            const auto comma = std::min(rest.find(','), rest.size());
            auto tag = rest.substr(0, comma);
            rest = rest.substr(std::min(comma + 1, rest.size()));
            while (tag.starts_with(' ') || tag.starts_with('\t')) tag.remove_prefix(1);
            while (tag.ends_with(' ') || tag.ends_with('\t')) tag.remove_suffix(1);
            // "privacy" (RFC 3323): an app gets no P-Asserted-Identity of a caller who asked for it.
            if (tag.empty() || tag == "privacy") continue;
            unknown += (unknown.empty() ? "" : ", ") + std::string(tag);
        }
        header = static_cast<const pjsip_hdr*>(header)->next;
        if (header == &msg->hdr) break;
    }
    return unknown;
}

}  // namespace

void Engine::on_request(pjsip_rx_data* rdata) {
    bury();
    const auto* msg = rdata->msg_info.msg;
    if (!restoring_) count("received.", view(msg->line.req.method.name));
    if (excessive(rdata)) {
        count("rejected.", "malformed");
        return answer_raw(rdata, {rdata->msg_info.msg_buf, static_cast<std::size_t>(rdata->msg_info.len)},
                          "400 Too Many Headers Or Parameters");
    }
    if (msg->line.req.method.id == PJSIP_CANCEL_METHOD) return on_cancel(rdata);
    const bool cut = truncated(rdata);
    if (cut || ambiguous(msg)) {
        count("rejected.", "malformed");
        return answer_stateless(rdata, 400, cut ? "Message Shorter Than Content-Length" : "Repeated Header");
    }
    if (from_node(msg) && !restoring_) return on_from_node(rdata);
    const bool in_dialog = rdata->msg_info.to->tag.slen != 0;
    if (msg->line.req.method.id == PJSIP_ACK_METHOD || (in_dialog && !is_method(msg, "REGISTER")))
        return on_in_dialog(rdata);
    const auto* target = sip_uri(msg->line.req.uri);
    if (is_method(msg, "OPTIONS") && target && is_us(target)) {
        // A PBX that knows other nodes shall turn to them.
        if (draining_) return answer_stateless(rdata, 503, "Service Unavailable", {}, {{"Retry-After", "30"}});
        // PBXs qualify the contacts that sleep: 3 s without an answer and callers get 404 (Asterisk).
        return answer_stateless(rdata, 200, "OK", {},
                                {{"Allow",
                                  "INVITE, ACK, CANCEL, BYE, OPTIONS, REGISTER, UPDATE, PRACK, INFO, REFER, "
                                  "SUBSCRIBE, NOTIFY, MESSAGE"},
                                 {"Accept", "application/sdp"}});
    }
    on_outside_dialog(rdata);
}

// What every request must pass that we would send on (RFC 3261 16.3); false when it has been answered.
bool Engine::may_travel(pjsip_rx_data* rdata) {
    const auto* msg = rdata->msg_info.msg;
    const bool ack = msg->line.req.method.id == PJSIP_ACK_METHOD;
    const auto* max_forwards = rdata->msg_info.max_fwd;
    if (max_forwards && max_forwards->ivalue <= 0 && !is_method(msg, "REGISTER")) {
        count("rejected.", "max_forwards");
        answer_stateless(rdata, 483, "Too Many Hops");
        return false;
    }
    if (!ack && looped(msg, loop_hash(rdata))) {
        count("rejected.", "loop");
        answer_stateless(rdata, 482, "Loop Detected");
        return false;
    }
    if (const auto unknown = unknown_extensions(msg); !ack && !unknown.empty()) {
        count("rejected.", "extension");
        answer_stateless(rdata, 420, "Bad Extension", {}, {{"Unsupported", unknown}});
        return false;
    }
    return true;
}

void Engine::on_outside_dialog(pjsip_rx_data* rdata) {
    const auto* msg = rdata->msg_info.msg;
    if (!may_travel(rdata)) return;
    std::size_t routes = 0;
    for (const pjsip_hdr* header = msg->hdr.next; header != &msg->hdr; header = header->next)
        routes += header->type == PJSIP_H_ROUTE;
    if (routes > leading_own_routes(msg)) {
        // Nobody sends us requests for third parties: no open relay.
        count("rejected.", "bad_route");
        return answer_stateless(rdata, 403, "Route Not Allowed");
    }
    if (facts_.full() && !restoring_) {
        count("rejected.", "overloaded");
        // A call that ended here: Python, which counts calls, never hears of it.
        if (msg->line.req.method.id == PJSIP_INVITE_METHOD) count("shed.", "INVITE");
        return answer_stateless(rdata, 503, "Service Unavailable", {}, {{"Retry-After", "5"}});
    }
    auto* txn = open_server(rdata);
    if (!txn) return;
    txn->told = true;
    if (txn->invite && !restoring_) arm_trying(*txn, kTryingDelay);

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
    if (const auto* stream = as_stream(rdata->tp_info.transport)) fact.peer_names = stream->peer_names;
    fact.raw.assign(rdata->msg_info.msg_buf, static_cast<std::size_t>(rdata->msg_info.len));
    if (restoring_) fact.raw = restoring_->raw;
    fact.restored = txn->restored;
    facts_.push(std::move(fact));
}

// A server transaction; null when the request cannot have one (it has been answered).
ServerTxn* Engine::open_server(pjsip_rx_data* rdata) {
    auto txn = std::make_unique<ServerTxn>();
    pjsip_transaction* tsx;
    const auto status = [&] {
        ReplyPath path(rdata);
        return pjsip_tsx_create_uas2(&g_module, rdata, nullptr, &tsx);
    }();
    if (status != PJ_SUCCESS) {
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
    txn->own_routes = leading_own_routes(msg);
    txn->to_tag = to_hex(random_bytes(6));
    txn->from_tag = copy(rdata->msg_info.from->tag);
    txn->loop_hash = loop_hash(rdata);
    txn->next_hop = short_hash(reverse_hop(msg));
    txn->upstream = upstream_of(rdata->msg_info.via).text();
    txn->listener = &listener_of(rdata);
    txn->source = source_of(rdata);
    if (restoring_) {
        txn->to_tag = restoring_->to_tag;
        txn->source = restoring_->source;
        txn->restored = restoring_->call;
        txn->rerouted = is_stream(rdata->tp_info.transport);
        restored_.push_back(txn->id);
    }
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
    if (txn.toward && txn.toward->waiting) return end_wait(txn, 487, "Request Terminated");
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
    const std::string tag =
        to_tag.empty() ? to_hex(hmac_sha256(settings_.token_key, view(rdata->msg_info.via->branch_param))).substr(0, 12)
                       : std::string(to_tag);
    auto tdata = make_response(endpoint_, rdata->msg_info.msg, status, reason, tag, headers, {});
    ReplyPath path(rdata);
    pjsip_response_addr address;
    if (pjsip_get_response_addr(tdata->pool, rdata, &address) == PJ_SUCCESS &&
        pjsip_endpt_send_response(endpoint_, &address, tdata.get(), nullptr, nullptr) == PJ_SUCCESS)
        tdata.release();
}

void Engine::reply(const ReplyOrder& order) {
    auto* txn = find(order.txn);
    if (!txn || txn->final_sent || !txn->tsx)
        return failed("reply", order.txn, 0, "the request has its final response");
    try {
        respond(*txn,
                make_response(endpoint_, txn->msg, order.status, order.reason, txn->to_tag, order.headers, order.body));
    } catch (const std::invalid_argument& error) {
        failed("reply", order.txn, 0, error.what());
    }
}

// Sends upstream.
void Engine::respond(ServerTxn& txn, TxData tdata) {
    const int status = tdata->msg->line.status.code;
    disarm_trying(txn);
    if (!txn.tsx || txn.final_sent) return;
    if (txn.tsx->transport && txn.tsx->transport->is_shutdown && !reroute(txn)) {
        // Its state callback tells who waits.
        pjsip_tsx_terminate(txn.tsx, PJSIP_SC_TSX_TRANSPORT_ERROR);
        return;
    }
    txn.provisional_sent = true;
    txn.final_sent = status >= 200;
    if (pjsip_tsx_send_msg(txn.tsx, tdata.get()) == PJ_SUCCESS) {
        tdata.release();
        // RFC 6026: the phone repeats its 2xx until the ACK comes; the proxy's transaction does not.
        if (txn.invite && status / 100 == 2 && txn.tsx) pjsip_tsx_stop_retransmit(txn.tsx);
    } else if (txn.final_sent && txn.tsx) {
        // pjsip would wait for another final response, for ever.
        txn.final_sent = false;
        pjsip_tsx_terminate(txn.tsx, PJSIP_SC_TSX_TRANSPORT_ERROR);
        txn.final_sent = true;
    }
    if (!txn.final_sent) return;
    stop_following(txn);
    txn.forget_message();
}

void Engine::arm_trying(ServerTxn& txn, pj_time_val delay) {
    // A request that waits for its device a second time is still on the first one's clock; and an entry
    // that is scheduled twice stays in pjlib's heap after its transaction has been freed.
    if (txn.trying.id != 0) return;
    pj_timer_entry_init(&txn.trying, 1, &txn, [](pj_timer_heap_t*, pj_timer_entry* entry) {
        entry->id = 0;
        guarded("timer", [&] { g_engine->say_trying(*static_cast<ServerTxn*>(entry->user_data)); });
    });
    pjsip_endpt_schedule_timer(endpoint_, &txn.trying, &delay);
}

void Engine::disarm_trying(ServerTxn& txn) { disarm(txn.trying); }

// A timer whose id is 0 is not running.
void Engine::disarm(pj_timer_entry& timer) {
    if (timer.id == 0) return;
    pjsip_endpt_cancel_timer(endpoint_, &timer);
    timer.id = 0;
}

// 100, unless something has been said already.
void Engine::say_trying(ServerTxn& txn) {
    if (txn.provisional_sent || !txn.msg) return;
    respond(txn, make_response(endpoint_, txn.msg, 100, "Trying", {}, {}, {}));
}

void Engine::server_state(ServerTxn& txn, pjsip_transaction* tsx) {
    if (tsx->state < PJSIP_TSX_STATE_TERMINATED) return;
    tsx->mod_data[g_module.id] = nullptr;
    txn.tsx = nullptr;
    disarm_trying(txn);
    stop_following(txn);
    if (!txn.final_sent) {
        if (txn.told) tell_lost(txn, copy(tsx->status_text));
        for (auto& [id, branch] : txn.branches)
            if (branch->automatic) want_cancel(*branch, {});
    }
    settle(txn);
}

bool Engine::alive(const ServerTxn& txn) {
    return txn.tsx || std::any_of(txn.branches.begin(), txn.branches.end(),
                                  [](const auto& branch) { return branch.second->tsx != nullptr; });
}

// Remembers that nothing of this transaction is left in pjsip; `bury` frees it outside callbacks.
void Engine::settle(const ServerTxn& txn) {
    if (!alive(txn)) finished_.push_back(txn.id);
}

void Engine::bury() {
    for (const auto id : finished_) {
        const auto found = transactions_.find(id);
        if (found == transactions_.end() || alive(*found->second)) continue;
        for (const auto& [branch_id, branch] : found->second->branches) by_via_branch_.erase(branch->via_branch);
        transactions_.erase(found);
    }
    finished_.clear();
}

}  // namespace push_proxy
