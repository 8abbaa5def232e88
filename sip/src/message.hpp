// Building messages: responses of our own, and what RFC 3261 16.6 and 16.7 make of others'.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "pj.hpp"

namespace push_proxy {

// A body with its Content-Type as they came in. pjsip re-prints a parsed multipart and breaks its
// boundary, so bodies are always passed on as raw bytes.
struct RawBody {
    std::string content_type;
    std::string data;
};

RawBody raw_body(const pjsip_rx_data* rdata);

// Content-Length names more bytes than have come: the datagram was cut (RFC 3261 18.3).
bool truncated(const pjsip_rx_data* rdata);

// Content-Length in a header block; nothing when there is none or it is no number.
std::optional<std::size_t> content_length(std::string_view block);

// The value of the first header of that name as it came, folded lines joined.
std::optional<std::string> raw_header(const pjsip_rx_data* rdata, std::string_view name, std::string_view compact);

// Replaces From and To of a received message by headers that print what came (fromto.cpp).
void keep_from_and_to(pjsip_rx_data* rdata);

// Whether a header that a request must have once is there twice: one could be checked and the other
// one believed (RFC 3261 7.3.1).
bool ambiguous(const pjsip_msg* msg);

// The value of the first header of that name (case-insensitive) in a message, or empty.
std::string header_value(const pjsip_msg* msg, std::string_view name);

std::string print_uri(pjsip_uri_context_e context, const void* uri);

// A message to be sent, with a reference of its own: pjsip takes the reference over when it has sent
// the message, and leaves it to us when it fails at once.
struct DropReference {
    void operator()(pjsip_tx_data* tdata) const { pjsip_tx_data_dec_ref(tdata); }
};
using TxData = std::unique_ptr<pjsip_tx_data, DropReference>;

// Gives a message a buffer made to measure, in place of pjsip's: see `seal` in message.cpp.
void fit(pjsip_tx_data* tdata);

// The functions below throw std::invalid_argument when what they are given cannot be put on the wire:
// a URI that does not parse, a line break in a header, more bytes than a datagram holds.

// A response to `request` (RFC 3261 8.2.6). `to_tag` is set when the request's To has none.
TxData make_response(pjsip_endpoint* endpoint, const pjsip_msg* request, int status, std::string_view reason,
                     std::string_view to_tag, const Headers& headers, std::string_view body);

struct ForwardPlan {
    std::string branch;
    std::string branch_seed;                   // for `send_branch`
    const std::string* request_uri = nullptr;  // null: keep
    std::size_t routes_to_pop = 0;
    std::vector<std::string> record_route;  // whole values, the topmost first
    bool to_node = false;                   // a Route to another node of ours comes on top of all that is left
    const Headers* add = nullptr;
    const std::vector<std::string>* remove = nullptr;
};

// A copy of a request, one hop further (RFC 3261 16.6 steps 1 to 6 and 8).
TxData forward_request(pjsip_endpoint* endpoint, const pjsip_msg* request, const RawBody& body,
                       const ForwardPlan& plan);

// RFC 3261 16.6 step 6: when the next hop is a strict router (RFC 2543), it wants itself in the
// Request-URI and the Request-URI in the last Route.
void follow_strict_route(pjsip_tx_data* tdata);

// A copy of a response without its topmost Via (RFC 3261 16.7 step 3).
TxData forward_response(pjsip_endpoint* endpoint, const pjsip_rx_data* rdata);

// Takes push tokens out of a message that is passed on (push_privacy.cpp).
void hide_push_params(pjsip_msg* msg);

// A request of our own, complete but for its Via.
TxData make_request(pjsip_endpoint* endpoint, const RequestOrder& order);

}  // namespace push_proxy
