// Signed names that survive a restart: route tokens (in Record-Route) and branches (in Via).
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "values.hpp"

namespace push_proxy {

std::string hmac_sha256(std::string_view key, std::string_view data);
std::string base64url(std::string_view bytes);
std::optional<std::string> base64url_decode(std::string_view text);
std::string to_hex(std::string_view bytes);
std::optional<std::string> from_hex(std::string_view text);
std::string random_bytes(std::size_t count);
std::uint32_t short_hash(std::string_view text);

// What an in-dialog request needs to be routed without any call state (RFC 3261 16.12).
struct RouteToken {
    std::string route_key;  // 8 bytes: the device
    bool device_is_caller = false;
    Address device;                // its flow when the dialog began
    Address peer;                  // the PBX's side
    std::uint32_t caller_tag = 0;  // short hash of the dialog-forming request's From tag
    std::uint32_t next_hop = 0;    // short hash of "host:port" toward the PBX; 0: not known yet
    std::string call;              // 16 bytes of our call UUID, or zeros
};

// User part of our Record-Route URI. Address families and lengths are kept, so IPv6 works too.
std::string encode_route_token(const RouteToken& token, std::string_view key);
// Nothing when the signature does not verify: a forged or foreign token.
std::optional<RouteToken> decode_route_token(std::string_view text, std::string_view key);

// A Via branch: random, a hash for loop detection (RFC 5393), where its responses go, and a signature
// over all of it.
// With a seed the random part is derived from it and the other two: the same branch again after a restart.
std::string make_branch(std::uint32_t loop_hash, std::string_view upstream, std::string_view key,
                        std::string_view seed = {});
// The loop hash, when the branch is one of ours.
std::optional<std::uint32_t> verify_branch(std::string_view branch, std::string_view key);
// Whether the branch is one of ours and was made for a request from `upstream`: without this, whoever
// has once seen a branch could have us send responses anywhere.
bool branch_leads_to(std::string_view branch, std::string_view upstream, std::string_view key);

// What one node gives another with a request for a device whose flow is there: the user part of the topmost
// Route. It serves for this request alone (`request_name`), and for a minute.
bool looks_like_node_token(std::string_view text);
std::string make_node_token(std::string_view route_key, std::string_view request_name, std::int64_t now_s,
                            std::string_view key);
// The route key. Nothing when no key verifies it or its time is over.
std::optional<std::string> read_node_token(std::string_view text, std::string_view request_name, std::int64_t now_s,
                                           const std::vector<std::string>& keys);

}  // namespace push_proxy
