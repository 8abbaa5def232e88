// What messages leave by: a UDP socket, a device's own connection, or one of ours toward a PBX
// (RFC 5626 5.3, RFC 5923), and what becomes of those who wait when it ends.
#include <algorithm>

#include "engine.hpp"

namespace push_proxy {
namespace {

constexpr std::size_t kMaxPeers = 100'000;

std::string key_of(const Address& address) { return address.transport + " " + address.text(); }
std::string host_key(const Address& address) { return address.transport + " " + address.host; }

const std::string kFlowFailed = "Flow Failed";  // RFC 5626 11.5

const Stream* ended_stream(const pjsip_transaction* tsx) {
    const auto* stream = tsx->transport ? as_stream(tsx->transport) : nullptr;
    return stream && stream->state == Stream::State::ended ? stream : nullptr;
}

void end_transaction(pjsip_transaction* tsx) {
    if (tsx->state < PJSIP_TSX_STATE_TERMINATED) pjsip_tsx_terminate(tsx, PJSIP_SC_TSX_TRANSPORT_ERROR);
}

}  // namespace

int default_port(std::string_view transport) { return transport == "tls" ? 5061 : 5060; }

Engine::Hop Engine::hop_to_device(const Address& destination, Listener& preferred) {
    Hop hop{destination, &listener_for(preferred, destination), nullptr, true};
    if (destination.transport == "udp") {
        hop.transport = hop.listener->transport;
    } else if (auto* stream = connections_->standing(destination)) {
        hop.listener = stream->listener;
        hop.transport = stream;
    }
    return hop;
}

Engine::Hop Engine::hop_to_peer(const Address& destination, Listener& preferred, const std::string& profile,
                                const std::string& server_name) {
    Hop hop{destination, &listener_for(preferred, destination)};
    if (destination.transport == "udp") {
        hop.transport = hop.listener->transport;
        if (!hop.transport) hop.why = "there is no udp listener";
        return hop;
    }
    hop.transport = connections_->toward(destination, *hop.listener, profile, server_name, hop.why);
    return hop;
}

// Inside a dialog, or for a late response, nobody says how: as the last order to that place did, else to
// that host; else with the default profile.
Engine::Hop Engine::hop_to_known_peer(const Address& destination, Listener& preferred) {
    if (destination.transport == "udp") return hop_to_peer(destination, preferred, {}, {});
    auto known = peers_.find(key_of(destination));
    if (known == peers_.end())
        if (const auto host = peer_hosts_.find(host_key(destination)); host != peer_hosts_.end())
            known = peers_.find(host->second);
    return known == peers_.end()
               ? hop_to_peer(destination, preferred, {}, {})
               : hop_to_peer(destination, preferred, known->second.tls_profile, known->second.server_name);
}

Engine::Hop Engine::hop_of(const Rewrite& rewrite) {
    to_sockaddr(rewrite.destination);  // throws
    auto& listener = listener_at(rewrite.local);
    if (rewrite.through)
        return hop_through(*rewrite.through, from_hex(rewrite.route_key).value_or(""), listener, rewrite.tls_profile,
                           rewrite.server_name);
    if (!rewrite.connect) return hop_to_device(rewrite.destination, listener);
    remember_peer(rewrite.destination, rewrite.tls_profile, rewrite.server_name);
    return hop_to_peer(rewrite.destination, listener, rewrite.tls_profile, rewrite.server_name);
}

Engine::Hop Engine::hop_of(const RequestOrder& order) {
    to_sockaddr(order.destination);  // throws
    auto& listener = listener_at(order.local);
    if (order.through)
        return hop_through(*order.through, from_hex(order.route_key).value_or(""), listener, order.tls_profile,
                           order.server_name);
    if (!order.connect) return hop_to_device(order.destination, listener);
    remember_peer(order.destination, order.tls_profile, order.server_name);
    return hop_to_peer(order.destination, listener, order.tls_profile, order.server_name);
}

// The same flow again, for what belongs to a request of our own.
Engine::Hop Engine::hop_of(const OwnRequest& own) {
    if (!own.through.empty()) return hop_through(own.destination, own.through, *own.listener, {}, {});
    return own.to_device ? hop_to_device(own.destination, *own.listener)
                         : hop_to_known_peer(own.destination, *own.listener);
}

// The same flow again, for what belongs to a branch.
Engine::Hop Engine::hop_of(const Branch& branch) {
    Hop hop{branch.destination, branch.listener, nullptr, branch.to_device, {}, branch.through};
    if (branch.destination.transport == "udp") {
        hop.transport = branch.listener->transport;
    } else if (branch.tsx && branch.tsx->transport) {
        hop.transport = branch.tsx->transport;
    } else {
        hop.transport = connections_->standing(branch.destination);
    }
    if (!branch.through.empty()) return hop;
    if (const auto moved = answered_at_.find(branch.route_key); !hop.transport && moved != answered_at_.end())
        return hop_to_device(moved->second.first, *moved->second.second);
    return hop;
}

// A phone whose connection ended while it rang may answer by another one, before or without registering it.
// Nobody else knows the branch: until it registers, its dialogs go on there.
void Engine::answered_from(const Branch& branch, const pjsip_rx_data* rdata) {
    const auto* stream = as_stream(rdata->tp_info.transport);
    if (!stream || !stream->live() || stream->outgoing || !branch.txn.invite || branch.route_key.empty() ||
        !branch.through.empty())
        return;
    if (stream->remote.transport != branch.destination.transport || connections_->standing(branch.destination)) return;
    answered_at_[branch.route_key] = {stream->remote, stream->listener};
}

void Engine::remember_peer(const Address& address, const std::string& profile, const std::string& server_name) {
    if (address.transport == "udp" || peers_.size() >= kMaxPeers) return;
    const auto key = key_of(address);
    peers_[key] = {profile, server_name};
    peer_hosts_[host_key(address)] = key;
}

bool Engine::known_peer(const Address& address) const { return peer_hosts_.contains(host_key(address)); }

// Told between events: branches and requests first, then the flow.
void Engine::flows_ended() {
    const auto ended = connections_->take_ended();
    if (ended.empty()) return;
    // One that only `Connections` holds has no transactions: strangers come and go without a pass over all.
    if (std::any_of(ended.begin(), ended.end(), [](auto* stream) { return pj_atomic_get(stream->ref_cnt) > 1; })) {
        fail_branches();
        fail_requests();
        fail_servers();
    }
    for (auto* stream : ended) {
        if (!answered_at_.empty())
            std::erase_if(answered_at_, [&](const auto& entry) { return entry.second.first == stream->remote; });
        // A connection that never said anything is nobody's flow.
        if (stream->outgoing || stream->spoke) {
            Fact fact = make_fact(FactKind::flow_lost);
            fact.source = stream->remote;
            fact.local = stream->listener->bound;
            fact.flag = stream->outgoing;
            fact.text = stream->why_ended;
            facts_.push(std::move(fact));
        }
        Connections::release(*stream);
    }
}

void Engine::fail_branches() {
    for (auto& [id, txn] : transactions_) {
        for (auto& [branch_id, branch] : txn->branches) {
            const auto* stream = branch->tsx ? ended_stream(branch->tsx) : nullptr;
            if (!stream) continue;
            if (!branch->final)
                branch_failed(*branch, branch->to_device ? 430 : 503,
                              branch->to_device ? kFlowFailed : stream->why_ended);
            end_transaction(branch->tsx);
        }
    }
}

void Engine::fail_requests() {
    std::vector<OwnRequest*> failing;
    for (const auto& [own, owned] : requests_)
        if (own->tsx && ended_stream(own->tsx)) failing.push_back(own);
    for (auto* own : failing) {
        const auto* stream = ended_stream(own->tsx);
        auto* tsx = own->tsx;
        tsx->mod_data[g_module.id] = nullptr;
        request_failed(own->request, own->to_device ? 430 : 503, own->to_device ? kFlowFailed : stream->why_ended);
        requests_.erase(own);
        end_transaction(tsx);
    }
}

// A caller whose own connection is gone can be told nothing any more. A PBX can: RFC 3261 18.2.2 has us
// open a connection, when the answer is there; if that fails as well, the answer is lost.
void Engine::fail_servers() {
    for (auto& [id, txn] : transactions_) {
        const auto* stream = txn->tsx ? ended_stream(txn->tsx) : nullptr;
        if (!stream) continue;
        if (txn->from_device && !txn->final_sent) {
            end_transaction(txn->tsx);
        } else if (txn->rerouted) {
            txn->rerouted = false;
            if (!txn->told || stream->stood) continue;
            const bool unheard = !txn->restored.empty() && !txn->provisional_sent;
            tell_lost(*txn, unheard ? stream->why_ended : "the answer could not be delivered");
            if (!unheard) continue;
            txn->told = false;  // once
            end_transaction(txn->tsx);
        }
    }
}

void Engine::tell_lost(const ServerTxn& txn, const std::string& why) {
    Fact fact = make_fact(FactKind::transaction_lost);
    fact.txn = txn.id;
    fact.text = why;
    fact.restored = txn.restored;
    facts_.push(std::move(fact));
}

// Finds another way for answers to a request whose connection has ended. False when there is none.
bool Engine::reroute(ServerTxn& txn) {
    if (txn.from_device || !txn.msg) return false;
    const auto* via = static_cast<pjsip_via_hdr*>(pjsip_msg_find_hdr(txn.msg, PJSIP_H_VIA, nullptr));
    const auto target = listening_at(via);
    const bool forked = std::any_of(txn.branches.begin(), txn.branches.end(),
                                    [](const auto& branch) { return branch.second->to_device; });
    // To devices we never connect, and a stranger could name any port.
    if (!forked && !txn.by_node && !known_peer(target)) return false;
    const auto hop = hop_to_known_peer(target, *txn.listener);
    if (!hop.transport) return false;
    answer_by(*txn.tsx, *hop.transport, target);
    txn.rerouted = true;
    return true;
}

// Answers leave by that transport from now on.
void Engine::answer_by(pjsip_transaction& tsx, pjsip_transport& transport, const Address& target) {
    if (tsx.tp_st_key) pjsip_transport_remove_state_listener(tsx.transport, tsx.tp_st_key, &tsx);
    tsx.tp_st_key = nullptr;
    pjsip_transport_add_ref(&transport);
    pjsip_transport_dec_ref(tsx.transport);
    tsx.transport = &transport;
    const auto address = to_sockaddr(target);
    pj_sockaddr_cp(&tsx.addr, &address);
    tsx.addr_len = static_cast<int>(pj_sockaddr_get_len(&address));
}

void Engine::on_refused(const char* what, const Address& source, const std::string& why) {
    count("rejected.", what);
    const auto now = Clock::now();
    if (now - refusal_told_ < std::chrono::seconds(1) || facts_.full()) return;  // a flood fills no log
    refusal_told_ = now;
    Fact fact = make_fact(FactKind::log);
    fact.status = 2;
    fact.text = "connection from " + source.host + " refused: " + why;
    facts_.push(std::move(fact));
}

}  // namespace push_proxy
