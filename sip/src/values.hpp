// What crosses the boundary to Python: plain values, no pjsip type among them.
#pragma once

#include <cstdint>
#include <map>
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

struct Settings {
    std::vector<Address> listen;
    std::string public_host;             // named in Via and Record-Route
    std::vector<std::string> own_hosts;  // further names that mean us in a Route or Request-URI
    std::string token_key;               // 32 bytes that sign route tokens and branches
    std::size_t queue_limit = 20000;     // facts waiting for Python before we shed load
    unsigned timer_c_ms = 185 * 1000;    // RFC 3261 16.6 item 11: more than three minutes
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
    order_failed,
    log,
};

// One fact of any kind; each kind fills the fields that push_proxy/signaling/facts.py lists for it.
struct Fact {
    FactKind kind;
    std::uint64_t txn = 0;
    int branch = 0;
    std::uint64_t response = 0;
    int status = 0;
    bool flag = false;  // local, by_device
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
};
struct BindOrder {
    std::string route_key;
    Address source;
    Address local;
};
struct UnbindOrder {
    std::string route_key;
};
struct StopOrder {};

using Order = std::variant<ReplyOrder, ForkOrder, RelayOrder, CancelOrder, AckAndByeOrder, ForwardOrder, RequestOrder,
                           BindOrder, UnbindOrder, StopOrder>;

using Counters = std::map<std::string, std::uint64_t>;

}  // namespace push_proxy
