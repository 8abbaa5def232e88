// What the engine remembers of a transaction; everything here lives on the SIP thread.
#pragma once

#include <map>
#include <memory>
#include <optional>

#include "connections.hpp"
#include "message.hpp"
#include "pj.hpp"
#include "waiting.hpp"

namespace push_proxy {

struct ServerTxn;

// What pjsip's transaction points back to (tsx->mod_data).
struct Owner {
    enum class Kind { server, branch, request };
    explicit Owner(Kind k) : kind(k) {}
    const Kind kind;
};

// A client transaction within a server transaction: a branch of the response context (RFC 3261 16.6).
struct Branch : Owner {
    Branch(ServerTxn& t, int i) : Owner(Kind::branch), txn(t), id(i) {}
    ServerTxn& txn;
    const int id;
    std::string via_branch;
    pjsip_transaction* tsx = nullptr;  // null once pjsip has let go of it
    Listener* listener = nullptr;
    Address destination;
    const Clock::time_point started = Clock::now();
    bool to_device = false;  // on its own connection or not at all
    std::string through;     // not empty: by way of another node, for this route key
    std::string route_key;   // of that device
    bool automatic = false;  // responses pass upstream without Python
    bool to_node = false;    // from a device, to the node that made its dialog
    bool provisional = false;
    bool final = false;
    std::optional<std::string> relayed_2xx;  // its To tag
    pj_timer_entry timer_c{};
    bool cancel_wanted = false;
    bool cancel_sent = false;
    std::string cancel_reason;
    std::map<std::uint64_t, TxData> responses;  // received, ready to be relayed
    std::map<std::string, TxData> acks;         // by To tag: of 2xx that were ended here, which may be repeated
};

struct ServerTxn : Owner {
    ServerTxn() : Owner(Kind::server) {}
    ~ServerTxn() { forget_message(); }

    // The copied request costs the most and is needed no longer than until the final response.
    void forget_message() {
        if (pool) pj_pool_release(pool);
        pool = nullptr;
        msg = nullptr;
        body = {};
    }

    std::uint64_t id = 0;
    pjsip_transaction* tsx = nullptr;
    pj_pool_t* pool = nullptr;
    pjsip_msg* msg = nullptr;
    RawBody body;
    std::size_t own_routes = 0;  // leading Route headers that name us
    std::string to_tag;
    std::string from_tag;
    std::uint32_t loop_hash = 0;
    std::uint32_t next_hop = 0;  // toward the sender, for the route token
    Address source;
    Listener* listener = nullptr;
    bool from_device = false;  // answers go by the connection it came on, or not at all
    bool rerouted = false;     // the answer has taken a new connection
    bool by_node = false;      // another node of ours has sent it
    std::string restored;      // call UUID, when a former life of ours has held it
    std::string upstream;      // where its responses go
    bool invite = false;
    bool told = false;  // Python knows it; requests inside dialogs it never sees
    bool ringing_told = false;
    bool provisional_sent = false;
    bool final_sent = false;
    bool cancelled = false;
    pj_timer_entry trying{};
    std::optional<TowardDevice> toward;  // inside a dialog, until the final response
    std::map<int, std::unique_ptr<Branch>> branches;
};

// The client transaction of a request of our own.
struct OwnRequest : Owner {
    OwnRequest(std::uint64_t r, bool device) : Owner(Kind::request), request(r), to_device(device) {}
    const std::uint64_t request;
    const bool to_device;
    pjsip_transaction* tsx = nullptr;
    Listener* listener = nullptr;
    Address destination;
    std::string through;              // as in Branch
    std::optional<std::string> over;  // its Reason: an INVITE that is cancelled as soon as it is heard
    bool cancel_sent = false;
};

}  // namespace push_proxy
