// Server transactions that a former life of this process held: rebuilt from their request, so that the PBX,
// which still waits, notices nothing but the pause; and answers on branches of that life.
#include <cstring>

#include "engine.hpp"

namespace push_proxy {
namespace {

// The topmost Via of a request, whose strings live in `pool`. Null when it is no request.
const pjsip_via_hdr* top_via(pj_pool_t* pool, const std::string& raw) {
    // pjsip wants a terminated, writable buffer.
    auto* text = static_cast<char*>(pj_pool_alloc(pool, raw.size() + 1));
    std::memcpy(text, raw.c_str(), raw.size() + 1);
    const auto* msg = pjsip_parse_msg(pool, text, raw.size(), nullptr);
    if (!msg || msg->type != PJSIP_REQUEST_MSG) return nullptr;
    return static_cast<const pjsip_via_hdr*>(pjsip_msg_find_hdr(msg, PJSIP_H_VIA, nullptr));
}

struct DropPool {
    void operator()(pj_pool_t* pool) const { pj_pool_release(pool); }
};
using Pool = std::unique_ptr<pj_pool_t, DropPool>;

}  // namespace

void Engine::open() {
    closed_ = false;
    connections_->admit_all(true);
}

void Engine::restore(const RestoreOrder& order) {
    const auto lost = [&](const std::string& why) {
        Fact fact = make_fact(FactKind::transaction_lost);
        fact.restored = order.call;
        fact.text = why;
        facts_.push(std::move(fact));
    };
    try {
        auto rdata = std::make_unique<pjsip_rx_data>();
        if (order.raw.empty()) return lost("there is no stored request");
        if (order.raw.size() >= sizeof rdata->pkt_info.packet) return lost("the stored request is too long");
        const auto source = to_sockaddr(order.source);
        const Pool pool(pjsip_endpt_create_pool(endpoint_, "restored", PJSIP_POOL_RDATA_LEN, PJSIP_POOL_RDATA_INC));
        rdata->tp_info.pool = pool.get();
        std::string why;
        rdata->tp_info.transport = way_back(order, pool.get(), why);
        if (!rdata->tp_info.transport) return lost(why);
        auto& packet = rdata->pkt_info;
        pj_gettimeofday(&packet.timestamp);
        std::memcpy(packet.packet, order.raw.data(), order.raw.size());
        packet.len = static_cast<pj_ssize_t>(order.raw.size());
        pj_sockaddr_cp(&packet.src_addr, &source);
        packet.src_addr_len = static_cast<int>(pj_sockaddr_get_len(&source));
        pj_ansi_strxcpy(packet.src_name, order.source.host.c_str(), sizeof packet.src_name);
        packet.src_port = order.source.port;
        const auto next = next_id_;
        restoring_ = &order;
        pjsip_tpmgr_receive_packet(pjsip_endpt_get_tpmgr(endpoint_), rdata.get());
        restoring_ = nullptr;
        if (next_id_ == next) lost("the stored request makes no transaction");
    } catch (const std::exception& error) {
        restoring_ = nullptr;
        lost(error.what());
    }
}

// Where the answers will go: RFC 3261 18.2.2. A connection that the PBX had opened has gone with us, so we
// open one to where it listens.
pjsip_transport* Engine::way_back(const RestoreOrder& order, pj_pool_t* pool, std::string& why) {
    auto& listener = listener_at(order.local);
    if (order.source.transport == "udp") {
        if (!listener.transport) why = "there is no udp listener";
        return listener.transport;
    }
    const auto* via = top_via(pool, order.raw);
    if (!via) {
        why = "the stored request has no Via";
        return nullptr;
    }
    const auto transport = order.source.transport;
    const Address target{order.source.host, via->sent_by.port ? via->sent_by.port : default_port(transport), transport};
    remember_peer(target, order.tls_profile, order.server_name);
    const auto hop = hop_to_peer(target, listener, order.tls_profile, order.server_name);
    why = hop.why;
    return hop.transport;
}

// An INVITE that has a transaction already, which answers it once more when it gets it. The 100 of a former
// life of ours may never have left; and a node that has risen repeats what it had sent to us by a new
// connection, for the old one died with it.
void Engine::on_repeated(pjsip_rx_data* rdata) {
    pj_str_t key;
    pjsip_tsx_create_key(rdata->tp_info.pool, &key, PJSIP_ROLE_UAS, pjsip_get_invite_method(), rdata);
    auto* tsx = pjsip_tsx_layer_find_tsx2(&key, PJ_FALSE);
    auto* owner = tsx ? static_cast<Owner*>(tsx->mod_data[g_module.id]) : nullptr;
    if (!owner || owner->kind != Owner::Kind::server) return;
    auto& txn = static_cast<ServerTxn&>(*owner);
    const auto* before = as_stream(tsx->transport);
    if (before && !before->live() && txn.by_node && node_token_of(rdata)) {
        const auto* stream = as_stream(rdata->tp_info.transport);
        if (stream) answer_by(*tsx, *rdata->tp_info.transport, stream->remote);
    }
    if (!txn.restored.empty()) say_trying(txn);
}

// The held INVITE that a 2xx answers on a branch which only a former life has known: the Via below ours says
// which (RFC 3261 17.2.3). Null when none waits for it.
ServerTxn* Engine::restored_by(const pjsip_rx_data* rdata) {
    const auto& info = rdata->msg_info;
    if (info.msg->line.status.code / 100 != 2 || info.cseq->method.id != PJSIP_INVITE_METHOD) return nullptr;
    const auto* below = static_cast<const pjsip_via_hdr*>(pjsip_msg_find_hdr(info.msg, PJSIP_H_VIA, info.via->next));
    if (!below) return nullptr;
    const auto ours = view(info.via->branch_param);
    for (const auto id : restored_) {
        auto* txn = find(id);
        if (!txn || !txn->tsx || !txn->msg || txn->final_sent || txn->cancelled) continue;
        const auto* via = static_cast<const pjsip_via_hdr*>(pjsip_msg_find_hdr(txn->msg, PJSIP_H_VIA, nullptr));
        if (view(via->branch_param) != view(below->branch_param) || upstream_of(below).text() != txn->upstream)
            continue;
        // Made for this very INVITE: whoever knows a branch of another call answers nothing here.
        if (verify_branch(ours, settings_.token_key) == txn->loop_hash &&
            branch_leads_to(ours, txn->upstream, settings_.token_key))
            return txn;
    }
    return nullptr;
}

// As any answer (RFC 3261 16.7 step 5). Python has no such branch: our Record-Route tells whose it is.
void Engine::answer_restored(ServerTxn& txn, const pjsip_rx_data* rdata) {
    auto response = forward_response(endpoint_, rdata);
    const auto* msg = rdata->msg_info.msg;
    Fact fact = make_fact(FactKind::former_answered);
    fact.txn = txn.id;
    fact.status = msg->line.status.code;
    for (const pjsip_hdr* header = msg->hdr.next; header != &msg->hdr; header = header->next) {
        if (header->type != PJSIP_H_RECORD_ROUTE) continue;
        const auto* uri = sip_uri(reinterpret_cast<const pjsip_routing_hdr*>(header)->name_addr.uri);
        const auto token = uri ? decode_route_token(view(uri->user), settings_.token_key) : std::nullopt;
        if (token && token->caller_tag == short_hash(txn.from_tag)) fact.name = to_hex(token->route_key);
    }
    facts_.push(std::move(fact));
    respond(txn, std::move(response));
}

}  // namespace push_proxy
