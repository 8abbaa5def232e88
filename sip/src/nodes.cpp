// Requests that pass through two nodes of one service: the PBX found the one, the device's flow is at the
// other (RFC 3261 16.4: a loose route between the two; docs/adr/0013).
#include <algorithm>
#include <set>

#include "engine.hpp"

namespace push_proxy {
namespace {

std::int64_t seconds_now() {
    return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch())
        .count();
}

// What a node token is good for: this request, and its repetitions.
std::string request_name(const pjsip_cid_hdr* call_id, const pjsip_from_hdr* from, const pjsip_cseq_hdr* cseq) {
    return copy(call_id->id) + "|" + copy(from->tag) + "|" + std::to_string(cseq->cseq);
}

}  // namespace

bool Engine::lives(const Address& node) const {
    return !nodes_ || std::find(nodes_->begin(), nodes_->end(), node) != nodes_->end();
}

// The node that requests from `address` come from: it listens there, or is the only one on that host.
std::optional<Address> Engine::live_node(const Address& address) const {
    if (!nodes_) return address;
    const Address* found = nullptr;
    for (const auto& node : *nodes_) {
        if (node == address) return node;
        if (node.host != address.host) continue;
        if (found) return std::nullopt;
        found = &node;
    }
    return found ? std::optional(*found) : std::nullopt;
}

bool Engine::is_own(const Address& address) const {
    return std::any_of(listeners_.begin(), listeners_.end(), [&](const auto& listener) {
        const auto& bound = listener->bound;
        const bool any = bound.host == "0.0.0.0" || bound.host == "::";
        return bound.port == address.port && bound.transport == address.transport &&
               (bound.host == address.host || (any && settings_.public_host == address.host));
    });
}

// Toward a device whose flow is at that node. Without a connection to it, or where it is dead, there is no
// flow: as if it were the device's own.
Engine::Hop Engine::hop_through(const Address& node, const std::string& route_key, Listener& preferred,
                                const std::string& profile, const std::string& server_name) {
    if (settings_.cluster_keys.empty()) throw std::invalid_argument("through another node: there is no cluster key");
    if (route_key.size() != 8) throw std::invalid_argument("through another node: not a route key");
    to_sockaddr(node);  // throws
    Hop hop{node, &listener_for(preferred, node), nullptr, true, {}, route_key};
    if (!lives(node)) return hop;
    const auto there = hop_to_peer(node, preferred, profile, server_name);
    hop.transport = there.transport;
    return hop;
}

Engine::Hop Engine::hop_of(const Binding& binding) {
    if (binding.through) return hop_through(binding.at, binding.route_key, *binding.listener, {}, {});
    return hop_to_device(binding.at, *binding.listener);
}

// Puts the next node, with what it wants to see, on top of a request that is complete but for its Via.
void Engine::lead_through(pjsip_tx_data* tdata, const Hop& hop) {
    const auto* first = static_cast<const pjsip_route_hdr*>(pjsip_msg_find_hdr(tdata->msg, PJSIP_H_ROUTE, nullptr));
    const auto* uri = first ? sip_uri(&first->name_addr) : nullptr;
    if (uri && looks_like_node_token(view(uri->user))) return;  // a repetition, or the CANCEL of what has one
    const auto name =
        request_name(PJSIP_MSG_CID_HDR(tdata->msg), PJSIP_MSG_FROM_HDR(tdata->msg), PJSIP_MSG_CSEQ_HDR(tdata->msg));
    auto* pool = tdata->pool;
    auto* made = pjsip_sip_uri_create(pool, PJ_FALSE);
    made->user = pooled(pool, make_node_token(hop.through, name, seconds_now(), settings_.cluster_keys.front()));
    made->host = pooled(pool, hop.destination.host);
    made->port = hop.destination.port;
    if (hop.destination.transport != "udp") made->transport_param = pooled(pool, hop.destination.transport);
    made->lr_param = 1;
    auto* route = pjsip_route_hdr_create(pool);
    route->name_addr.uri = reinterpret_cast<pjsip_uri*>(made);
    // Those of a request of our own are headers like any other.
    const pj_str_t name_of_route = borrow("Route");
    if (auto* next = pjsip_msg_find_hdr_by_name(tdata->msg, &name_of_route, nullptr)) {
        pj_list_insert_before(next, route);
    } else {
        pjsip_msg_add_hdr(tdata->msg, reinterpret_cast<pjsip_hdr*>(route));
    }
    fit(tdata);  // it has grown
    count("nodes.", "sent");
}

bool Engine::from_node(const pjsip_msg* msg) const {
    if (settings_.cluster_keys.empty()) return false;
    const auto* top = route_header(msg, 0);
    const auto* uri = top ? sip_uri(&top->name_addr) : nullptr;
    return uri && looks_like_node_token(view(uri->user));
}

// The route key that the other node names, if it is one.
std::optional<std::string> Engine::node_token_of(const pjsip_rx_data* rdata) const {
    const auto& info = rdata->msg_info;
    if (!from_node(info.msg)) return std::nullopt;
    return read_node_token(view(sip_uri(&route_header(info.msg, 0)->name_addr)->user),
                           request_name(info.cid, info.from, info.cseq), seconds_now(), settings_.cluster_keys);
}

// Another node has decided about this request; here is the device's flow, or nothing (RFC 5626 5.3).
void Engine::on_from_node(pjsip_rx_data* rdata) {
    const auto* msg = rdata->msg_info.msg;
    const auto& info = rdata->msg_info;
    const bool ack = msg->line.req.method.id == PJSIP_ACK_METHOD;
    const auto key = node_token_of(rdata);
    if (!key || view(msg->line.req.method.name) == "REGISTER") {
        on_refused("node_token", source_of(rdata),
                   "its node token does not verify: another key, another request, or clocks that differ");
        return answer_stateless(rdata, 403, "Forbidden");
    }
    if (!may_travel(rdata)) return;
    count("nodes.", "passed");
    // The other node may have heard of the device's new flow, by way of the store, before this thread has
    // come to the order that binds it: sockets are served in no particular order.
    serve_orders();
    const auto bound = bindings_.find(*key);
    Hop hop{{}, &listener_of(rdata), nullptr, true};
    // Its flow here, or none: what comes from a node never goes to a node, so that nothing goes in circles.
    if (bound != bindings_.end() && !bound->second.through) hop = hop_of(bound->second);
    if (const auto moved = answered_at_.find(*key); !hop.transport && moved != answered_at_.end())
        hop = hop_to_device(moved->second.first, *moved->second.second);
    ForwardPlan plan;
    plan.routes_to_pop = 1;
    if (ack) {
        plan.branch = make_branch(loop_hash(rdata), upstream_of(info.via).text(), settings_.token_key);
        auto message = forward_request(endpoint_, msg, raw_body(rdata), plan);
        if (hop.transport) return send_stateless(message, hop);
        return keep_ack(*key, dialog_of(rdata) + "|" + std::to_string(info.cseq->cseq), std::move(message));
    }
    const bool in_dialog = info.to->tag.slen != 0;
    if (in_dialog && msg->line.req.method.id == PJSIP_BYE_METHOD) dialog_over(*key, dialog_of(rdata));
    // With a transaction even for a 430: it takes the ACK.
    auto* txn = open_server(rdata);
    if (!txn) return;
    txn->by_node = true;
    if (in_dialog)
        return follow(
            *txn, {.route_key = *key, .call = {}, .dialog = dialog_of(rdata), .routes_to_pop = 1, .edge = true}, hop);
    if (!hop.transport) {
        count("rejected.", "flow_failed");
        return respond(*txn, make_response(endpoint_, txn->msg, 430, "Flow Failed", txn->to_tag, {}, {}));
    }
    plan.record_route = record_route_here(*txn, *key, hop);
    // After a restart of this node the repeated request is a repetition for the device as well.
    plan.branch_seed = copy(info.via->branch_param);
    send_branch(*txn, 0, true, plan, hop);
    txn->branches.at(0)->route_key = *key;
}

// Where the node before us wants to stay in the dialog, so do we: toward the device by its flow here, from
// it to that node.
std::vector<std::string> Engine::record_route_here(const ServerTxn& txn, const std::string& route_key,
                                                   const Hop& hop) const {
    const auto* record = static_cast<const pjsip_rr_hdr*>(pjsip_msg_find_hdr(txn.msg, PJSIP_H_RECORD_ROUTE, nullptr));
    const auto* uri = record ? sip_uri(&record->name_addr) : nullptr;
    const auto theirs = uri ? decode_route_token(view(uri->user), settings_.token_key) : std::nullopt;
    if (!theirs || theirs->route_key != route_key) return {};
    RouteToken token;
    token.route_key = route_key;
    token.device = hop.destination;
    token.peer = peer_of(txn);
    token.caller_tag = theirs->caller_tag;
    return own_records(txn, *hop.listener, token);
}

void Engine::bind_through(const BindThroughOrder& order) {
    const auto key = from_hex(order.route_key);
    if (!key || key->size() != 8) return failed("bind_through", 0, 0, "not a route key: '" + order.route_key + "'");
    if (settings_.cluster_keys.empty()) return failed("bind_through", 0, 0, "there is no cluster key");
    try {
        to_sockaddr(order.node);
        bindings_[*key] = {order.node, &listener_at(order.node), true, *key};
        answered_at_.erase(*key);
        device_bound(*key);
    } catch (const std::invalid_argument& error) {
        failed("bind_through", 0, 0, error.what());
    }
}

// What goes through a node that has died has lost its flow; what waits for one that is back goes on.
void Engine::peers(const PeersOrder& order) {
    nodes_ = order.nodes;
    std::vector<Branch*> lost;
    for (const auto& [id, txn] : transactions_)
        for (const auto& [branch_id, branch] : txn->branches)
            if (!branch->through.empty() && !branch->final && !lives(branch->destination)) lost.push_back(branch.get());
    for (auto* branch : lost) {
        if (branch->final) continue;
        // Should the node rise, it must not ring what Python has sent elsewhere meanwhile.
        if (branch->tsx) abandon(*branch);
        branch_failed(*branch, 430, "Flow Failed");
        settle(branch->txn);
    }
    std::vector<OwnRequest*> failing;
    for (const auto& [own, owned] : requests_)
        if (!own->through.empty() && own->tsx && !lives(own->destination)) failing.push_back(own);
    for (auto* own : failing) {
        auto* tsx = own->tsx;
        tsx->mod_data[g_module.id] = nullptr;
        request_failed(own->request, 430, "Flow Failed");
        requests_.erase(own);
        pjsip_tsx_terminate(tsx, PJSIP_SC_TSX_TRANSPORT_ERROR);
    }
    std::set<std::string> waiting;
    for (const auto& [key, list] : following_) waiting.insert(key);
    for (const auto& ack : kept_acks_) waiting.insert(ack.route_key);
    std::erase_if(waiting, [&](const std::string& key) {
        const auto bound = bindings_.find(key);
        return bound == bindings_.end() || !bound->second.through;
    });
    for (const auto& key : waiting) device_bound(key);
}

}  // namespace push_proxy
