#include "token.hpp"

#include <arpa/inet.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

#include <cstring>
#include <stdexcept>

namespace push_proxy {
namespace {

constexpr char kVersion = 1;
constexpr std::size_t kSignature = 8;
constexpr int kTcp = 0x10;
constexpr int kTls = 0x20;
constexpr std::string_view kCookie = "z9hG4bK";  // RFC 3261 8.1.1.7
constexpr std::size_t kBranchRandom = 8;
constexpr std::size_t kBranchUpstream = 4;
constexpr std::size_t kBranchSignature = 6;

void put32(std::string& out, std::uint32_t value) {
    for (int shift = 24; shift >= 0; shift -= 8) out.push_back(static_cast<char>(value >> shift));
}

std::uint32_t get32(std::string_view in) {
    std::uint32_t value = 0;
    for (unsigned char byte : in.substr(0, 4)) value = value << 8 | byte;
    return value;
}

void put_address(std::string& out, const Address& address) {
    unsigned char bytes[16];
    const bool v6 = address.host.find(':') != std::string::npos;
    if (inet_pton(v6 ? AF_INET6 : AF_INET, address.host.c_str(), bytes) != 1)
        throw std::invalid_argument("not an IP address: " + address.host);
    // The transport is in the upper half: zero is UDP, as in tokens from before there was another.
    const int transport = address.transport == "tls" ? kTls : address.transport == "tcp" ? kTcp : 0;
    out.push_back(static_cast<char>((v6 ? 6 : 4) | transport));
    out.append(reinterpret_cast<char*>(bytes), v6 ? 16 : 4);
    out.push_back(static_cast<char>(address.port >> 8));
    out.push_back(static_cast<char>(address.port));
}

bool get_address(std::string_view& in, Address& address) {
    if (in.empty()) return false;
    const int family = in[0] & 15;
    const int transport = in[0] & ~15;
    if ((family != 4 && family != 6) || (transport != 0 && transport != kTcp && transport != kTls)) return false;
    address.transport = transport == kTls ? "tls" : transport == kTcp ? "tcp" : "udp";
    const std::size_t size = family == 6 ? 16 : 4;
    if (in.size() < 1 + size + 2) return false;
    char text[INET6_ADDRSTRLEN];
    if (!inet_ntop(size == 16 ? AF_INET6 : AF_INET, in.data() + 1, text, sizeof text)) return false;
    address.host = text;
    const auto high = static_cast<unsigned char>(in[1 + size]);
    const auto low = static_cast<unsigned char>(in[2 + size]);
    address.port = high << 8 | low;
    in.remove_prefix(1 + size + 2);
    return true;
}

bool same(std::string_view a, std::string_view b) {
    return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

std::string upstream_mark(std::string_view bytes, std::string_view upstream, std::string_view key) {
    return hmac_sha256(key, std::string(bytes) + "|" + std::string(upstream)).substr(0, kBranchUpstream);
}

}  // namespace

std::string hmac_sha256(std::string_view key, std::string_view data) {
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned int size = 0;
    HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()), reinterpret_cast<const unsigned char*>(data.data()),
         data.size(), digest, &size);
    return {reinterpret_cast<char*>(digest), size};
}

std::string base64url(std::string_view bytes) {
    static constexpr char kAlphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    std::string out;
    std::uint32_t bits = 0;
    int count = 0;
    for (unsigned char byte : bytes) {
        bits = bits << 8 | byte;
        count += 8;
        while (count >= 6) {
            count -= 6;
            out.push_back(kAlphabet[bits >> count & 63]);
        }
    }
    if (count > 0) out.push_back(kAlphabet[bits << (6 - count) & 63]);
    return out;
}

std::optional<std::string> base64url_decode(std::string_view text) {
    std::string out;
    std::uint32_t bits = 0;
    int count = 0;
    for (char c : text) {
        std::uint32_t value;
        if (c >= 'A' && c <= 'Z') {
            value = static_cast<std::uint32_t>(c - 'A');
        } else if (c >= 'a' && c <= 'z') {
            value = static_cast<std::uint32_t>(c - 'a') + 26;
        } else if (c >= '0' && c <= '9') {
            value = static_cast<std::uint32_t>(c - '0') + 52;
        } else if (c == '-') {
            value = 62;
        } else if (c == '_') {
            value = 63;
        } else {
            return std::nullopt;
        }
        bits = bits << 6 | value;
        count += 6;
        if (count >= 8) {
            count -= 8;
            out.push_back(static_cast<char>(bits >> count));
        }
    }
    return out;
}

std::string to_hex(std::string_view bytes) {
    static constexpr char kDigits[] = "0123456789abcdef";
    std::string out;
    for (unsigned char byte : bytes) {
        out.push_back(kDigits[byte >> 4]);
        out.push_back(kDigits[byte & 15]);
    }
    return out;
}

std::optional<std::string> from_hex(std::string_view text) {
    if (text.size() % 2 != 0) return std::nullopt;
    std::string out;
    for (std::size_t i = 0; i < text.size(); i += 2) {
        int value = 0;
        for (char c : text.substr(i, 2)) {
            value <<= 4;
            if (c >= '0' && c <= '9') {
                value |= c - '0';
            } else if (c >= 'a' && c <= 'f') {
                value |= c - 'a' + 10;
            } else if (c >= 'A' && c <= 'F') {
                value |= c - 'A' + 10;
            } else {
                return std::nullopt;
            }
        }
        out.push_back(static_cast<char>(value));
    }
    return out;
}

std::string random_bytes(std::size_t count) {
    std::string bytes(count, '\0');
    if (RAND_bytes(reinterpret_cast<unsigned char*>(bytes.data()), static_cast<int>(count)) != 1)
        throw std::runtime_error("no randomness from OpenSSL");
    return bytes;
}

std::uint32_t short_hash(std::string_view text) {
    std::uint32_t hash = 2166136261U;  // FNV-1a: no secret is hidden here, the HMAC guards the token
    for (unsigned char byte : text) hash = (hash ^ byte) * 16777619U;
    return hash;
}

std::string encode_route_token(const RouteToken& token, std::string_view key) {
    std::string bytes;
    bytes.push_back(kVersion);
    std::string route_key = token.route_key;
    route_key.resize(8, '\0');
    bytes += route_key;
    bytes.push_back(token.device_is_caller ? 1 : 0);
    put_address(bytes, token.device);
    put_address(bytes, token.peer);
    put32(bytes, token.caller_tag);
    put32(bytes, token.next_hop);
    std::string call = token.call;
    call.resize(16, '\0');
    bytes += call;
    bytes += hmac_sha256(key, bytes).substr(0, kSignature);
    return base64url(bytes);
}

std::optional<RouteToken> decode_route_token(std::string_view text, std::string_view key) {
    const auto bytes = base64url_decode(text);
    if (!bytes || bytes->size() <= kSignature || (*bytes)[0] != kVersion) return std::nullopt;
    std::string_view signed_part(bytes->data(), bytes->size() - kSignature);
    std::string_view signature(bytes->data() + signed_part.size(), kSignature);
    if (!same(std::string_view(hmac_sha256(key, signed_part)).substr(0, kSignature), signature)) return std::nullopt;
    std::string_view in = signed_part.substr(1);
    if (in.size() < 9) return std::nullopt;
    RouteToken token;
    token.route_key = std::string(in.substr(0, 8));
    token.device_is_caller = in[8] == 1;
    in.remove_prefix(9);
    if (!get_address(in, token.device) || !get_address(in, token.peer) || in.size() != 24) return std::nullopt;
    token.caller_tag = get32(in);
    token.next_hop = get32(in.substr(4));
    token.call = std::string(in.substr(8));
    return token;
}

std::string make_branch(std::uint32_t loop_hash, std::string_view upstream, std::string_view key,
                        std::string_view seed) {
    std::string bytes;
    if (seed.empty()) {
        bytes = random_bytes(kBranchRandom);
    } else {
        bytes = std::string("branch|").append(seed) + "|" + std::to_string(loop_hash) + "|";
        bytes = hmac_sha256(key, bytes.append(upstream)).substr(0, kBranchRandom);
    }
    put32(bytes, loop_hash);
    bytes += upstream_mark(bytes, upstream, key);
    bytes += hmac_sha256(key, bytes).substr(0, kBranchSignature);
    return std::string(kCookie) + to_hex(bytes);
}

std::optional<std::uint32_t> verify_branch(std::string_view branch, std::string_view key) {
    if (!branch.starts_with(kCookie)) return std::nullopt;
    const auto bytes = from_hex(branch.substr(kCookie.size()));
    if (!bytes || bytes->size() != kBranchRandom + 4 + kBranchUpstream + kBranchSignature) return std::nullopt;
    std::string_view signed_part(bytes->data(), bytes->size() - kBranchSignature);
    std::string_view signature(bytes->data() + signed_part.size(), kBranchSignature);
    if (!same(std::string_view(hmac_sha256(key, signed_part)).substr(0, kBranchSignature), signature))
        return std::nullopt;
    return get32(signed_part.substr(kBranchRandom));
}

bool branch_leads_to(std::string_view branch, std::string_view upstream, std::string_view key) {
    if (!verify_branch(branch, key)) return false;
    const auto bytes = from_hex(branch.substr(kCookie.size()));
    const std::string_view all(*bytes);
    return same(upstream_mark(all.substr(0, kBranchRandom + 4), upstream, key),
                all.substr(kBranchRandom + 4, kBranchUpstream));
}

namespace {

constexpr std::string_view kNodePrefix = "node1.";
constexpr std::size_t kNodeSignature = 16;
constexpr std::size_t kNodeToken = 8 + 4 + kNodeSignature;  // route key, time, signature
constexpr std::int64_t kNodeSeconds = 60;                   // both ways: clocks differ

// Never with a key of another purpose: whoever may hold a route token must not come by one of these.
std::string sign_for_node(std::string_view bytes, std::string_view request_name, std::string_view key) {
    const auto own_key = hmac_sha256(key, "push-proxy request between nodes");
    return hmac_sha256(own_key, std::string(bytes).append(request_name)).substr(0, kNodeSignature);
}

}  // namespace

bool looks_like_node_token(std::string_view text) { return text.starts_with(kNodePrefix); }

std::string make_node_token(std::string_view route_key, std::string_view request_name, std::int64_t now_s,
                            std::string_view key) {
    std::string bytes(route_key.substr(0, 8));
    bytes.resize(8, '\0');
    put32(bytes, static_cast<std::uint32_t>(now_s));
    bytes += sign_for_node(bytes, request_name, key);
    return std::string(kNodePrefix) + base64url(bytes);
}

std::optional<std::string> read_node_token(std::string_view text, std::string_view request_name, std::int64_t now_s,
                                           const std::vector<std::string>& keys) {
    if (!looks_like_node_token(text)) return std::nullopt;
    const auto bytes = base64url_decode(text.substr(kNodePrefix.size()));
    if (!bytes || bytes->size() != kNodeToken) return std::nullopt;
    const auto signed_part = std::string_view(*bytes).substr(0, kNodeToken - kNodeSignature);
    const auto signature = std::string_view(*bytes).substr(signed_part.size());
    bool verified = false;
    for (const auto& key : keys) verified = verified || same(sign_for_node(signed_part, request_name, key), signature);
    const auto age = static_cast<std::int32_t>(static_cast<std::uint32_t>(now_s) - get32(signed_part.substr(8)));
    if (!verified || age > kNodeSeconds || age < -kNodeSeconds) return std::nullopt;
    return std::string(signed_part.substr(0, 8));
}

}  // namespace push_proxy
