// Building messages: responses of our own, and what RFC 3261 16.6 and 16.7 make of others'.
#pragma once

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

// The value of the first header of that name (case-insensitive) in a message, or empty.
std::string header_value(const pjsip_msg* msg, std::string_view name);

std::string print_uri(pjsip_uri_context_e context, const void* uri);

// Every tdata below has a reference of its own that sending takes over or pjsip_tx_data_dec_ref drops.

// A response to `request` (RFC 3261 8.2.6). `to_tag` is set when the request's To has none.
pjsip_tx_data* make_response(pjsip_endpoint* endpoint, const pjsip_msg* request, int status,
                             std::string_view reason, std::string_view to_tag, const Headers& headers,
                             std::string_view body);

struct ForwardPlan {
    std::string branch;
    const std::string* request_uri = nullptr;  // null: keep
    std::size_t routes_to_pop = 0;
    std::string record_route;  // whole value, or empty
    const Headers* add = nullptr;
    const std::vector<std::string>* remove = nullptr;
};

// A copy of a request, one hop further (RFC 3261 16.6 steps 1 to 6 and 8).
// Throws std::invalid_argument when the Request-URI cannot be parsed.
pjsip_tx_data* forward_request(pjsip_endpoint* endpoint, const pjsip_msg* request, const RawBody& body,
                               std::size_t raw_size, const ForwardPlan& plan);

// A copy of a response without its topmost Via (RFC 3261 16.7 step 3).
pjsip_tx_data* forward_response(pjsip_endpoint* endpoint, const pjsip_rx_data* rdata);

// A request of our own, complete but for its Via.
// Throws std::invalid_argument when a URI or header cannot be parsed.
pjsip_tx_data* make_request(pjsip_endpoint* endpoint, const RequestOrder& order);

}  // namespace push_proxy
