#include "engine.hpp"

#include <pjsua-lib/pjsua.h>

#include "response.hpp"

namespace push_proxy {

Engine* g_engine = nullptr;

namespace {

pj_bool_t on_arrival(pjsip_rx_data* rdata) {
    bool taken = true;
    guarded("arrival", [&] { taken = g_engine->on_arrival(rdata); });
    return taken ? PJ_FALSE : PJ_TRUE;
}

pj_bool_t on_rx_request(pjsip_rx_data* rdata) {
    guarded("request", [&] { g_engine->on_request(rdata); });
    return PJ_TRUE;
}

pj_bool_t on_rx_response(pjsip_rx_data* rdata) {
    // A response that belongs to a transaction is told here too, before on_tsx_state.
    if (!pjsip_rdata_get_tsx(rdata)) guarded("response", [&] { g_engine->on_stray_response(rdata); });
    return PJ_TRUE;
}

pj_status_t on_tx(pjsip_tx_data* tdata) {
    guarded("sending", [&] { g_engine->on_sent(tdata); });
    return PJ_SUCCESS;
}

void on_tsx_state(pjsip_transaction* tsx, pjsip_event* event) {
    guarded("transaction", [&] { g_engine->on_transaction_state(tsx, event); });
}

void on_dropped(pjsip_tp_dropped_data* dropped) {
    guarded("dropped packet", [&] { g_engine->on_dropped(dropped); });
}

pjsip_module describe_module(char* name, int priority) {
    pjsip_module module{};
    module.name = pj_str(name);
    module.id = -1;
    module.priority = priority;
    return module;
}

pjsip_module describe_entry() {
    static char name[] = "mod-push-proxy-entry";
    // Before the transaction layer.
    auto module = describe_module(name, PJSIP_MOD_PRIORITY_TSX_LAYER - 1);
    module.on_rx_request = &on_arrival;
    module.on_rx_response = &on_arrival;
    return module;
}

pjsip_module describe_proxy() {
    static char name[] = "mod-push-proxy";
    // Before the UA layer and everything pjsua would answer by itself.
    auto module = describe_module(name, PJSIP_MOD_PRIORITY_UA_PROXY_LAYER - 1);
    module.on_rx_request = &on_rx_request;
    module.on_rx_response = &on_rx_response;
    module.on_tx_request = &on_tx;
    module.on_tx_response = &on_tx;
    module.on_tsx_state = &on_tsx_state;
    return module;
}

pjsip_module g_entry = describe_entry();

constexpr const char* kLevelNames[] = {"live.transactions", "live.waiting",  "live.kept_acks",
                                       "live.connections",  "live.branches", "live.pools"};

}  // namespace

pjsip_module g_module = describe_proxy();

Fact make_fact(FactKind kind) {
    Fact fact;
    fact.kind = kind;
    return fact;
}

Engine::Engine(Settings settings, pjsip_endpoint* endpoint, std::shared_ptr<const TlsContexts> tls, FactQueue& facts,
               OrderQueue& orders, std::mutex& counters_mutex, Counters& counters)
    : settings_(std::move(settings)),
      endpoint_(endpoint),
      facts_(facts),
      orders_(orders),
      counters_mutex_(counters_mutex),
      counters_(counters) {
    g_entry = describe_entry();
    g_module = describe_proxy();
    check(pjsip_endpt_register_module(endpoint_, &g_entry), "pjsip module");
    check(pjsip_endpt_register_module(endpoint_, &g_module), "pjsip module");
    pjsip_tpmgr_set_drop_data_cb(pjsip_endpt_get_tpmgr(endpoint_), &push_proxy::on_dropped);
    // pjsip looks at ten timers between packets. Under full load they would fall behind: what has ended
    // stays in memory, and messages are repeated late.
    pj_timer_heap_set_max_timed_out_per_poll(pjsip_endpt_get_timer_heap(endpoint_), 1000);
    const StreamLimits limits{settings_.max_connections,  settings_.max_connections_per_source,
                              settings_.first_message_ms, settings_.connect_timeout_ms,
                              settings_.ping_ms,          settings_.unacked_ms,
                              settings_.keepalive_s};
    connections_ = std::make_unique<Connections>(endpoint_, *this, limits, std::move(tls));
    closed_ = settings_.closed;
    g_engine = this;
}

Engine::~Engine() {
    g_engine = nullptr;
    pjsip_tpmgr_set_drop_data_cb(pjsip_endpt_get_tpmgr(endpoint_), nullptr);
    for (auto& [id, txn] : transactions_) {
        disarm_trying(*txn);
        stop_following(*txn);
        if (txn->tsx) txn->tsx->mod_data[g_module.id] = nullptr;
        for (auto& [branch_id, branch] : txn->branches) {
            disarm(branch->timer_c);
            if (branch->tsx) branch->tsx->mod_data[g_module.id] = nullptr;
        }
    }
    by_via_branch_.clear();
    transactions_.clear();
    connections_.reset();
    pjsip_endpt_unregister_module(endpoint_, &g_module);
    pjsip_endpt_unregister_module(endpoint_, &g_entry);
}

std::vector<Address> Engine::listen() {
    std::vector<Address> bound;
    for (const auto& address : settings_.listen) {
        auto listener = std::make_unique<Listener>();
        listener->bound = address;
        try {
            if (address.transport == "udp") {
                listen_udp(*listener);
            } else {
                connections_->listen(*listener);
            }
        } catch (const std::exception& error) {
            throw std::runtime_error("cannot listen on " + address.transport + ":" + address.host + ":" +
                                     std::to_string(address.port) + ": " + error.what());
        }
        bound.push_back(listener->bound);
        listeners_.push_back(std::move(listener));
    }
    if (closed_) connections_->admit_all(false);
    return bound;
}

void Engine::listen_udp(Listener& listener) {
    pjsip_udp_transport_cfg config;
    const auto wanted = to_sockaddr(listener.bound);
    pjsip_udp_transport_cfg_default(&config, wanted.addr.sa_family);
    config.bind_addr = wanted;
    config.async_cnt = 1;
    const auto status = pjsip_udp_transport_start2(endpoint_, &config, &listener.transport);
    if (status != PJ_SUCCESS) throw std::runtime_error(describe(status));
    listener.bound.port = pj_sockaddr_get_port(&listener.transport->local_addr);
}

bool Engine::wait(unsigned longest_ms) {
    if (connections_->idle()) return false;
    connections_->wait(longest_ms);
    return true;
}

void Engine::serve_orders() {
    if (serving_) return;  // what they bring about must not overtake those that are left
    serving_ = true;
    for (const auto& order : orders_.drain()) guarded("order", [&] { carry_out(order); });
    serving_ = false;
}

void Engine::carry_out(const Order& order) {
    bury();
    std::visit(
        [this](const auto& o) {
            using T = std::decay_t<decltype(o)>;
            if constexpr (std::is_same_v<T, ReplyOrder>) {
                reply(o);
            } else if constexpr (std::is_same_v<T, ForkOrder>) {
                auto* txn = find(o.txn);
                if (!txn || txn->final_sent)
                    return failed("fork", o.txn, o.branch, "the INVITE has its final response");
                start_branch(*txn, o.branch, o.rewrite, false);
            } else if constexpr (std::is_same_v<T, ForwardOrder>) {
                auto* txn = find(o.txn);
                if (!txn || txn->final_sent) return failed("forward", o.txn, 0, "the request has its final response");
                start_branch(*txn, 0, o.rewrite, true);
            } else if constexpr (std::is_same_v<T, RelayOrder>) {
                relay(o);
            } else if constexpr (std::is_same_v<T, CancelOrder>) {
                cancel(o);
            } else if constexpr (std::is_same_v<T, AckAndByeOrder>) {
                ack_and_bye(o);
            } else if constexpr (std::is_same_v<T, RequestOrder>) {
                request(o);
            } else if constexpr (std::is_same_v<T, BindOrder>) {
                bind(o);
            } else if constexpr (std::is_same_v<T, BindThroughOrder>) {
                bind_through(o);
            } else if constexpr (std::is_same_v<T, UnbindOrder>) {
                if (auto key = from_hex(o.route_key)) bindings_.erase(*key);
            } else if constexpr (std::is_same_v<T, OpenOrder>) {
                open();
            } else if constexpr (std::is_same_v<T, RestoreOrder>) {
                restore(o);
            } else if constexpr (std::is_same_v<T, DrainOrder>) {
                draining_ = o.on;
            } else if constexpr (std::is_same_v<T, PeersOrder>) {
                peers(o);
            } else if constexpr (std::is_same_v<T, RenewTlsOrder>) {
                connections_->renew(o.contexts);
            } else {
                static_assert(std::is_same_v<T, StopOrder>);
                stopping_ = true;
                end_waits();
            }
        },
        order);
}

void Engine::bind(const BindOrder& order) {
    const auto key = from_hex(order.route_key);
    if (!key || key->size() != 8) return failed("bind", 0, 0, "not a route key: '" + order.route_key + "'");
    try {
        to_sockaddr(order.source);
        bindings_[*key] = {order.source, &listener_at(order.local), false, {}};
        answered_at_.erase(*key);
        device_bound(*key);
    } catch (const std::invalid_argument& error) {
        failed("bind", 0, 0, error.what());
    }
}

void Engine::tidy() {
    connections_->sweep();
    flows_ended();
    bury();
    const auto now = levels();
    if (now == levels_told_) return;
    levels_told_ = now;
    std::lock_guard lock(counters_mutex_);
    for (std::size_t i = 0; i < now.size(); ++i) counters_[kLevelNames[i]] = now[i];
}

// What there is at this moment: all of it goes back to where it was when the calls are over.
Engine::Levels Engine::levels() const {
    std::uint64_t pools = 0;
#if !PJ_POOL_DEBUG  // that build's pools are plain mallocs, which its sanitizer watches
    pools = reinterpret_cast<const pj_caching_pool*>(pjsua_get_pool_factory())->used_count;
#endif
    return {transactions_.size() + requests_.size(),
            waiting_,
            kept_acks_.size(),
            connections_->open_streams(),
            by_via_branch_.size(),
            pools};
}

void Engine::complain(const char* where, const char* what) {
    Fact fact = make_fact(FactKind::log);
    fact.status = 1;
    fact.text = std::string("fault while handling a ") + where + ": " + what;
    facts_.push(std::move(fact));
}

void Engine::on_transaction_state(pjsip_transaction* tsx, pjsip_event* event) {
    auto* owner = static_cast<Owner*>(tsx->mod_data[g_module.id]);
    if (!owner) return;
    switch (owner->kind) {
        case Owner::Kind::server:
            return server_state(static_cast<ServerTxn&>(*owner), tsx);
        case Owner::Kind::branch:
            return branch_state(static_cast<Branch&>(*owner), tsx, event);
        case Owner::Kind::request:
            return request_state(static_cast<OwnRequest&>(*owner), tsx, event);
    }
}

void Engine::on_sent(pjsip_tx_data* tdata) {
    if (!tdata->buf.start) fit(tdata);  // pjsip's own: a CANCEL, the ACK of a refusal
    if (tdata->msg->type == PJSIP_REQUEST_MSG) {
        count("sent.", view(tdata->msg->line.req.method.name));
    } else {
        count("sent.", status_class(tdata->msg->line.status.code));
    }
}

Listener& Engine::listener_at(const Address& local) {
    for (auto& listener : listeners_)
        if (listener->bound == local) return *listener;
    for (auto& listener : listeners_)
        if (transport_type(listener->bound) == transport_type(local)) return *listener;
    return *listeners_.front();
}

Listener& Engine::listener_of(const pjsip_rx_data* rdata) {
    if (const auto* stream = as_stream(rdata->tp_info.transport)) return *stream->listener;
    for (auto& listener : listeners_)
        if (listener->transport == rdata->tp_info.transport) return *listener;
    return *listeners_.front();
}

// The one that a message to `target` names as ours. Where none has that transport, the family counts.
Listener& Engine::listener_for(Listener& preferred, const Address& target) {
    const int type = transport_type(target);
    if (transport_type(preferred.bound) == type) return preferred;
    for (auto& listener : listeners_)
        if (transport_type(listener->bound) == type) return *listener;
    const auto family = [](int t) { return t & PJSIP_TRANSPORT_IPV6; };
    for (auto& listener : listeners_)
        if (family(transport_type(listener->bound)) == family(type)) return *listener;
    return preferred;
}

Address Engine::source_of(const pjsip_rx_data* rdata) {
    if (const auto* stream = as_stream(rdata->tp_info.transport)) return stream->remote;
    return to_address(rdata->pkt_info.src_addr, "udp");
}

ServerTxn* Engine::find(std::uint64_t txn) {
    const auto found = transactions_.find(txn);
    return found == transactions_.end() ? nullptr : found->second.get();
}

Branch* Engine::find(std::uint64_t txn, int branch) {
    auto* server = find(txn);
    if (!server) return nullptr;
    const auto found = server->branches.find(branch);
    return found == server->branches.end() ? nullptr : found->second.get();
}

void Engine::failed(const char* order, std::uint64_t txn, int branch, const std::string& reason) {
    Fact fact = make_fact(FactKind::order_failed);
    fact.name = order;
    fact.txn = txn;
    fact.branch = branch;
    fact.text = reason;
    facts_.push(std::move(fact));
}

void Engine::count(const char* what, std::string_view which) {
    // Bounded: a method nobody knows is counted as one of "other".
    static constexpr std::string_view known[] = {
        "INVITE",    "ACK",       "BYE",        "CANCEL",    "REGISTER",    "OPTIONS",    "PRACK",      "UPDATE",
        "INFO",      "REFER",     "MESSAGE",    "SUBSCRIBE", "NOTIFY",      "PUBLISH",    "1xx",        "2xx",
        "3xx",       "4xx",       "5xx",        "6xx",       "malformed",   "overloaded", "loop",       "max_forwards",
        "bad_route", "no_dialog", "connection", "tls",       "flow_failed", "waited",     "redirected", "ack_kept",
        "extension", "sent",      "passed",     "node_token"};
    std::string key(what);
    bool found = false;
    for (auto name : known) found = found || name == which;
    key += found ? which : std::string_view("other");
    std::lock_guard lock(counters_mutex_);
    ++counters_[key];
}

}  // namespace push_proxy
