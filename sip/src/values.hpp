// What crosses the boundary to Python: plain values, no pjsip type among them.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace push_proxy {

struct Address {
    std::string host;  // IP literal without brackets
    int port = 0;
    std::string transport = "udp";

    bool operator==(const Address&) const = default;
    std::string text() const { return host + " " + std::to_string(port); }
};

using Headers = std::vector<std::pair<std::string, std::string>>;

// PEM files of one TLS identity; see push_proxy/signaling/contract.py.
struct TlsFiles {
    std::string certificate;
    std::string key;
    std::string ca;
    bool verify = true;
};

struct Settings {
    std::vector<Address> listen;
    std::string public_host;                      // named in Via and Record-Route
    std::vector<std::string> own_hosts;           // further names that mean us in a Route or Request-URI
    std::string token_key;                        // 32 bytes that sign route tokens and branches
    bool closed = false;                          // what arrives is dropped until OpenOrder
    std::vector<std::string> cluster_keys;        // sign what nodes give one another: the first; all verify
    std::string cluster_host;                     // named in Record-Route instead of public_host
    std::size_t queue_limit = 20000;              // facts waiting for Python before we shed load
    unsigned timer_c_ms = 185 * 1000;             // RFC 3261 16.6 item 11: more than three minutes
    std::optional<TlsFiles> tls;                  // what tls listeners show
    std::map<std::string, TlsFiles> tls_clients;  // by profile: how we connect to a PBX
    std::size_t max_connections = 60'000;
    std::size_t max_connections_per_source = 10'000;  // a carrier's NAT, or an SBC, has many phones behind it
    unsigned first_message_ms = 20 * 1000;            // from connect to the end of the first message
    unsigned connect_timeout_ms = 4 * 1000;           // toward a PBX, TLS included
    unsigned unacked_ms = 10 * 1000;                  // bytes that no TCP on the other side acknowledges
    unsigned keepalive_s = 60;                        // TCP's own, at rest: found gone within half as much more
    unsigned ping_ms = 25 * 1000;                     // CRLF toward a PBX on a connection at rest
    unsigned in_dialog_wait_ms = 10 * 1000;           // for a device without a flow, then 430
    std::size_t waiting_limit = 4096;                 // requests that wait so; one more gets 430 at once
};

enum class FactKind : int {
    request,
    cancel,
    transaction_lost,
    branch_response,
    forward_response,
    forward_ringing,
    request_answered,
    dialog_ended,
    device_heard,
    device_awaited,
    flow_lost,
    order_failed,
    log,
    former_answered,
};

// One fact of any kind; each kind fills the fields that push_proxy/signaling/facts.py lists for it.
struct Fact {
    FactKind kind;
    std::uint64_t txn = 0;
    int branch = 0;
    std::uint64_t response = 0;
    int status = 0;
    bool flag = false;  // local, by_device, outgoing, waiting
    std::string text;   // reason, log line, call
    std::string name;   // method, order, route key
    Address source;
    Address local;
    std::string request_uri;
    std::string from_uri;
    std::string from_tag;
    std::string to_uri;
    std::string to_tag;
    std::string call_id;
    int cseq = 0;
    std::string raw;
    std::vector<std::string> peer_names;
    std::string restored;  // call UUID of a RestoreOrder
};

struct Rewrite {
    std::string request_uri;
    Address destination;
    Address local;
    Headers add;
    std::vector<std::string> remove;
    std::string call;       // our call UUID, or empty
    std::string route_key;  // 16 hex digits, or empty: no Record-Route
    bool device_is_caller = false;
    bool connect = false;  // toward a PBX: a connection may be opened
    std::string server_name;
    std::string tls_profile;
    std::optional<Address> through = {};  // the node that has the device's flow
    std::string branch_seed = {};         // empty: a random branch
};

struct ReplyOrder {
    std::uint64_t txn;
    int status;
    std::string reason;
    Headers headers;
    std::string body;
};
struct ForkOrder {
    std::uint64_t txn;
    int branch;
    Rewrite rewrite;
};
struct RelayOrder {
    std::uint64_t txn;
    int branch;
    std::uint64_t response;
};
struct CancelOrder {
    std::uint64_t txn;
    int branch;
    std::string reason;
};
struct AckAndByeOrder {
    std::uint64_t txn;
    int branch;
    std::uint64_t response;
};
struct ForwardOrder {
    std::uint64_t txn;
    Rewrite rewrite;
};
struct RequestOrder {
    std::uint64_t request;
    std::string method;
    std::string request_uri;
    std::string from;
    std::string to;
    std::string call_id;
    int cseq;
    Headers headers;
    std::string body;
    Address destination;
    Address local;
    bool connect = true;
    std::string server_name;
    std::string tls_profile;
    // Of an INVITE that is over already: it is cancelled with this Reason as soon as it has been heard.
    std::optional<std::string> over;
    std::optional<Address> through = {};  // as in Rewrite, with its route key
    std::string route_key = {};
};
struct BindOrder {
    std::string route_key;
    Address source;
    Address local;
};
struct BindThroughOrder {
    std::string route_key;
    Address node;
};
struct UnbindOrder {
    std::string route_key;
};
struct OpenOrder {};
struct RestoreOrder {
    std::string call;
    std::string raw;
    Address source;
    Address local;
    std::string to_tag;
    std::string server_name;
    std::string tls_profile;
};
struct DrainOrder {
    bool on;
};
struct PeersOrder {
    std::vector<Address> nodes;
};
class TlsContexts;
struct RenewTlsOrder {
    std::shared_ptr<const TlsContexts> contexts;
};
struct StopOrder {};

using Order = std::variant<ReplyOrder, ForkOrder, RelayOrder, CancelOrder, AckAndByeOrder, ForwardOrder, RequestOrder,
                           BindOrder, BindThroughOrder, UnbindOrder, OpenOrder, RestoreOrder, DrainOrder, PeersOrder,
                           RenewTlsOrder, StopOrder>;

using Counters = std::map<std::string, std::uint64_t>;

}  // namespace push_proxy
