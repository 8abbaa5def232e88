// The proxy on pjsip's transaction layer. Lives on the SIP thread; see stack.hpp.
#pragma once

#include <array>
#include <atomic>
#include <mutex>
#include <optional>
#include <unordered_map>

#include "queues.hpp"
#include "token.hpp"
#include "transaction.hpp"

namespace push_proxy {

class Engine : public StreamUser {
   public:
    Engine(Settings settings, pjsip_endpoint* endpoint, std::shared_ptr<const TlsContexts> tls, FactQueue& facts,
           OrderQueue& orders, std::mutex& counters_mutex, Counters& counters);
    ~Engine();
    Engine(const Engine&) = delete;
    Engine& operator=(const Engine&) = delete;

    std::vector<Address> listen();
    // Carries out the orders that wait.
    void serve_orders();
    bool stopping() const { return stopping_; }

    // Serves connections until pjsip has something to do, at most that long. False when there are none:
    // pjsip's own poll is all there is to wait for.
    bool wait(unsigned longest_ms);
    // Frees what has ended; called between events.
    void tidy();
    // A fault of ours, told and survived.
    void complain(const char* where, const char* what);

    // Entered from pjsip's callbacks.
    bool on_arrival(pjsip_rx_data* rdata);  // false: it goes no further
    void on_request(pjsip_rx_data* rdata);
    void on_stray_response(pjsip_rx_data* rdata);
    void on_transaction_state(pjsip_transaction* tsx, pjsip_event* event);
    void on_dropped(pjsip_tp_dropped_data* dropped);
    void on_sent(pjsip_tx_data* tdata);
    void say_trying(ServerTxn& txn);
    void end_wait(ServerTxn& txn, int status, const char* reason, const Headers& headers = {});
    void ring_out(Branch& branch);

   private:
    void listen_udp(Listener& listener);
    void carry_out(const Order& order);

    // uas.cpp: requests coming in
    bool may_travel(pjsip_rx_data* rdata);
    void on_cancel(pjsip_rx_data* rdata);
    void on_outside_dialog(pjsip_rx_data* rdata);
    ServerTxn* open_server(pjsip_rx_data* rdata);
    void answer_stateless(pjsip_rx_data* rdata, int status, std::string_view reason, std::string_view to_tag = {},
                          const Headers& headers = {});
    void answer_raw(const pjsip_rx_data* rdata, std::string_view packet, const char* fault);
    void reply(const ReplyOrder& order);
    void respond(ServerTxn& txn, TxData tdata);
    void arm_trying(ServerTxn& txn, pj_time_val delay);
    void disarm_trying(ServerTxn& txn);
    void server_state(ServerTxn& txn, pjsip_transaction* tsx);
    static bool alive(const ServerTxn& txn);  // pjsip still points to it
    void settle(const ServerTxn& txn);
    void bury();

    // flows.cpp: what a message leaves by
    struct Hop {
        Address destination;
        Listener* listener;                    // names us in Via and Record-Route
        pjsip_transport* transport = nullptr;  // null: there is no flow
        bool to_device = false;
        std::string why = {};      // there is none toward a PBX
        std::string through = {};  // not empty: to another node, for this route key
        bool to_node = false;      // to the node that made the dialog, from the device
    };
    struct Binding {
        Address at;  // the device's, or the node's that has its flow
        Listener* listener;
        bool through = false;
        std::string route_key = {};  // of one that is at another node
    };
    Hop hop_to_device(const Address& destination, Listener& preferred);
    Hop hop_to_peer(const Address& destination, Listener& preferred, const std::string& profile,
                    const std::string& server_name);
    Hop hop_to_known_peer(const Address& destination, Listener& preferred);
    Hop hop_of(const Rewrite& rewrite);
    Hop hop_of(const RequestOrder& order);
    Hop hop_of(const OwnRequest& own);
    Hop hop_of(const Branch& branch);
    Hop hop_of(const Binding& binding);
    bool known_peer(const Address& address) const;
    void answered_from(const Branch& branch, const pjsip_rx_data* rdata);
    void flows_ended();
    void fail_branches();
    void fail_requests();
    void fail_servers();
    void remember_peer(const Address& address, const std::string& profile, const std::string& server_name);
    void tell_lost(const ServerTxn& txn, const std::string& why);
    bool reroute(ServerTxn& txn);
    static void answer_by(pjsip_transaction& tsx, pjsip_transport& transport, const Address& target);
    void on_malformed(Stream& stream, std::string_view packet, const char* fault) override;
    void on_refused(const char* what, const Address& source, const std::string& why) override;

    // uac.cpp: requests going out, and their responses
    void start_branch(ServerTxn& txn, int id, const Rewrite& rewrite, bool automatic);
    void send_branch(ServerTxn& txn, int id, bool automatic, ForwardPlan plan, const Hop& hop);
    void branch_state(Branch& branch, pjsip_transaction* tsx, pjsip_event* event);
    void branch_response(Branch& branch, pjsip_rx_data* rdata);
    void late_response(Branch& branch, pjsip_rx_data* rdata);
    void stop_repeating(Branch& branch);
    void arm_timer_c(Branch& branch);
    void disarm(pj_timer_entry& timer);
    void branch_failed(Branch& branch, int status, const std::string& reason);
    void tell_forwarded(const ServerTxn& txn, int status, const std::string& reason, bool local);
    void tell_ringing(ServerTxn& txn, int status, const std::string& reason);
    void relay(const RelayOrder& order);
    void cancel(const CancelOrder& order);
    void want_cancel(Branch& branch, const std::string& reason);
    void send_cancel(Branch& branch);
    void ack_and_bye(const AckAndByeOrder& order);
    bool end_dialog(pjsip_msg* ok, const Hop& hop, TxData* kept_ack);
    void request(const RequestOrder& order);
    void own_heard(OwnRequest& own);
    bool send_cancel(pjsip_transaction* invite, const std::string& reason, const Hop& hop);
    void request_failed(std::uint64_t request, int status, const std::string& reason);
    void request_state(OwnRequest& own, pjsip_transaction* tsx, pjsip_event* event);
    pjsip_transaction* send_in_transaction(TxData tdata, const Hop& hop, Owner* owner);
    void send_stateless(const TxData& tdata, const Hop& hop);
    void send_upstream(pjsip_rx_data* rdata);
    void aim(pjsip_tx_data* tdata, const Hop& hop);

    // waiting.cpp: requests inside dialogs that follow their device
    void follow(ServerTxn& txn, TowardDevice toward, const Hop& hop);
    void send_to_device(ServerTxn& txn, const Hop& hop);
    void tell_awaited(const ServerTxn& txn, bool waiting);
    void wait_for_device(ServerTxn& txn);
    void stop_following(ServerTxn& txn);
    void stop_waiting(ServerTxn& txn);
    void device_bound(const std::string& route_key);
    void redirect(Branch& branch, const Hop& hop);
    void abandon(Branch& branch);
    void dialog_over(const std::string& route_key, const std::string& dialog);
    void end_waits();
    void keep_ack(std::string route_key, std::string name, TxData message);
    void send_kept_acks(const std::string& route_key, const Hop& hop);

    // nodes.cpp: requests that pass through two nodes
    bool lives(const Address& node) const;
    std::optional<Address> live_node(const Address& address) const;
    bool is_own(const Address& address) const;
    Hop hop_through(const Address& node, const std::string& route_key, Listener& preferred, const std::string& profile,
                    const std::string& server_name);
    void lead_through(pjsip_tx_data* tdata, const Hop& hop);
    bool from_node(const pjsip_msg* msg) const;
    std::optional<std::string> node_token_of(const pjsip_rx_data* rdata) const;
    void on_from_node(pjsip_rx_data* rdata);
    std::vector<std::string> record_route_here(const ServerTxn& txn, const std::string& route_key,
                                               const Hop& hop) const;
    void bind_through(const BindThroughOrder& order);
    void peers(const PeersOrder& order);

    // restore.cpp: what a former life held
    void open();
    void restore(const RestoreOrder& order);
    pjsip_transport* way_back(const RestoreOrder& order, pj_pool_t* pool, std::string& why);
    void on_repeated(pjsip_rx_data* rdata);
    ServerTxn* restored_by(const pjsip_rx_data* rdata);
    void answer_restored(ServerTxn& txn, const pjsip_rx_data* rdata);

    // dialog.cpp: requests inside dialogs, by route token alone
    struct Route {
        RouteToken token;
        bool from_device;
        Hop hop;
        std::size_t routes_to_pop;
    };
    void on_in_dialog(pjsip_rx_data* rdata);
    void undo_strict_route(pjsip_rx_data* rdata) const;
    std::optional<Route> route(pjsip_rx_data* rdata);
    struct Pass {
        RouteToken token;
        std::size_t end;  // the index of the Route after its own
    };
    std::vector<Pass> passes(const pjsip_msg* msg) const;
    Hop hop_from_device(Route& found, const std::vector<Pass>& passed, const pjsip_rx_data* rdata);
    void tell_dialog_ended(const pjsip_msg* bye, const RouteToken& token, bool by_device);
    bool past_dead_node(const Branch& branch);
    Address hop_toward_peer(const RouteToken& token, const pjsip_msg* msg, std::size_t routes_to_pop) const;
    std::vector<std::string> record_route(const ServerTxn& txn, const Rewrite& rewrite, const Listener& outward) const;
    std::vector<std::string> own_records(const ServerTxn& txn, const Listener& outward, const RouteToken& token) const;
    std::string own_uri(const Listener& listener, const std::string& user, bool secure) const;
    Address peer_of(const ServerTxn& txn) const;
    bool is_us(const pjsip_sip_uri* uri) const;
    std::size_t leading_own_routes(const pjsip_msg* msg) const;
    bool looped(const pjsip_msg* msg, std::uint32_t loop_hash) const;

    Listener& listener_at(const Address& local);
    Listener& listener_of(const pjsip_rx_data* rdata);
    Listener& listener_for(Listener& preferred, const Address& target);
    Address source_of(const pjsip_rx_data* rdata);
    ServerTxn* find(std::uint64_t txn);
    Branch* find(std::uint64_t txn, int branch);
    void bind(const BindOrder& order);
    void failed(const char* order, std::uint64_t txn, int branch, const std::string& reason);
    void count(const char* what, std::string_view which);
    using Levels = std::array<std::uint64_t, 6>;  // as kLevelNames
    Levels levels() const;

    Settings settings_;
    pjsip_endpoint* endpoint_;
    FactQueue& facts_;
    OrderQueue& orders_;
    std::mutex& counters_mutex_;
    Counters& counters_;
    std::vector<std::unique_ptr<Listener>> listeners_;
    std::unique_ptr<Connections> connections_;
    struct Peer {
        std::string tls_profile;
        std::string server_name;
    };
    // Where orders have let us connect to, as `key`: how, for requests inside dialogs and late responses.
    std::unordered_map<std::string, Peer> peers_;
    std::unordered_map<std::string, std::string> peer_hosts_;  // "transport host" -> key of the last peer there
    std::unordered_map<std::uint64_t, std::unique_ptr<ServerTxn>> transactions_;
    std::unordered_map<std::string, Branch*> by_via_branch_;
    std::unordered_map<std::string, Binding> bindings_;                           // by 8-byte route key
    std::optional<std::vector<Address>> nodes_;                                   // all that live; none: not told yet
    std::unordered_map<std::string, std::pair<Address, Listener*>> answered_at_;  // by route key; while it stands
    std::unordered_map<std::string, std::vector<std::uint64_t>> following_;  // unanswered, by route key, oldest first
    std::vector<KeptAck> kept_acks_;
    std::size_t waiting_ = 0;
    std::unordered_map<OwnRequest*, std::unique_ptr<OwnRequest>> requests_;
    std::vector<std::uint64_t> finished_;  // server transactions to bury when no callback is running
    std::uint64_t next_id_ = 1;
    Levels levels_told_{};
    Clock::time_point refusal_told_{};
    const RestoreOrder* restoring_ = nullptr;  // while its request is on its way through pjsip
    std::vector<std::uint64_t> restored_;      // server transactions of a former life, those that are over as well
    bool serving_ = false;                     // orders are being carried out
    bool closed_ = false;
    bool draining_ = false;
    bool stopping_ = false;
};

// The one engine of the process: pjsip's callbacks carry no user data.
extern Engine* g_engine;
extern pjsip_module g_module;

Fact make_fact(FactKind kind);

// Runs what pjsip or its event loop has called: no exception may unwind through pjsip, which holds locks.
template <class Work>
void guarded(const char* where, Work&& work) noexcept {
    if (!g_engine) return;
    try {
        work();
    } catch (const std::exception& error) {
        if (g_engine) g_engine->complain(where, error.what());
    }
}

// The SIP URI of a header that holds a name-addr, or null for another scheme.
const pjsip_sip_uri* sip_uri(const void* uri);
// Where responses to the request with this topmost Via go: RFC 3261 18.2.2, RFC 3581.
Address upstream_of(const pjsip_via_hdr* via);
// Where its sender says that it listens: the host that the request came from, the port of sent-by.
Address listening_at(const pjsip_via_hdr* via);
int default_port(std::string_view transport);
// The Route header with that index, or null.
const pjsip_routing_hdr* route_header(const pjsip_msg* msg, std::size_t index);
// "host:port" in lower case, the default port filled in.
std::string hop_name(const pjsip_sip_uri* uri);
// Where the peer says that in-dialog requests should go: its top Record-Route, else its Contact.
std::string reverse_hop(const pjsip_msg* msg);
std::uint32_t loop_hash(const pjsip_rx_data* rdata);

}  // namespace push_proxy
