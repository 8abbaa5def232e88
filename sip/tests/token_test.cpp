// Signed names: route tokens and branches, and the encodings under them.
#include <random>

#include "check.hpp"
#include "token.hpp"

using namespace push_proxy;

namespace {

std::string random_text(std::mt19937& random, std::size_t size) {
    std::string out;
    while (out.size() < size) out.push_back(static_cast<char>(random()));
    return out;
}

RouteToken random_token(std::mt19937& random) {
    const auto address = [&]() -> Address {
        if (random() % 2)
            return {"2001:db8::" + std::to_string(random() % 9000 + 1), static_cast<int>(random() % 65536)};
        return {"10." + std::to_string(random() % 256) + ".0." + std::to_string(random() % 256),
                static_cast<int>(random() % 65536)};
    };
    RouteToken token;
    token.route_key = random_text(random, 8);
    token.device_is_caller = random() % 2;
    token.device = address();
    token.peer = address();
    token.caller_tag = static_cast<std::uint32_t>(random());
    token.next_hop = static_cast<std::uint32_t>(random());
    token.call = random_text(random, 16);
    return token;
}

}  // namespace

TEST("base64url and hex give back what they took, and refuse what is neither") {
    std::mt19937 random(1);
    for (int i = 0; i < 2000; ++i) {
        const auto bytes = random_text(random, random() % 80);
        CHECK(base64url_decode(base64url(bytes)) == bytes);
        CHECK(from_hex(to_hex(bytes)) == bytes);
        CHECK(base64url(bytes).find_first_of("+/=@;:") == std::string::npos);
    }
    for (const auto* bad : {"a b", "a+b", "a/b", "a=", "\xff\xff"}) CHECK(!base64url_decode(bad));
    for (const auto* bad : {"a", "0g", "zz", " 0"}) CHECK(!from_hex(bad));
    CHECK(from_hex("AbCd") == std::string("\xab\xcd"));
}

TEST("a route token gives back all it took, and fits into a URI") {
    std::mt19937 random(2);
    const std::string key = random_text(random, 32);
    for (int i = 0; i < 1000; ++i) {
        const auto token = random_token(random);
        const auto text = encode_route_token(token, key);
        CHECK(text.size() <= 120);
        const auto back = decode_route_token(text, key);
        CHECK(back.has_value());
        CHECK(back->route_key == token.route_key && back->call == token.call);
        CHECK(back->device == token.device && back->peer == token.peer);
        CHECK(back->device_is_caller == token.device_is_caller);
        CHECK(back->caller_tag == token.caller_tag && back->next_hop == token.next_hop);
    }
}

TEST("a route token with any bit changed, cut, lengthened or signed by another key is nothing") {
    std::mt19937 random(3);
    const std::string key(32, 'k');
    const auto text = encode_route_token(random_token(random), key);
    const auto bytes = *base64url_decode(text);
    for (std::size_t bit = 0; bit < bytes.size() * 8; ++bit) {
        auto changed = bytes;
        changed[bit / 8] = static_cast<char>(changed[bit / 8] ^ (1 << bit % 8));
        CHECK(!decode_route_token(base64url(changed), key));
    }
    for (std::size_t size = 0; size < bytes.size(); ++size)
        CHECK(!decode_route_token(base64url(bytes.substr(0, size)), key));
    CHECK(!decode_route_token(base64url(bytes + "x"), key));
    CHECK(!decode_route_token(text, std::string(32, 'l')));
    for (int i = 0; i < 2000; ++i) CHECK(!decode_route_token(random_text(random, random() % 100), key));
}

TEST("branches are unique, carry their loop hash, and know where their responses go") {
    const std::string key(32, 'k');
    std::string last;
    for (std::uint32_t hash = 0; hash < 500; ++hash) {
        const auto branch = make_branch(hash * 7919, "192.0.2.1 5060", key);
        CHECK(branch != last);
        CHECK(branch.starts_with("z9hG4bK"));
        CHECK(verify_branch(branch, key) == hash * 7919);
        CHECK(branch_leads_to(branch, "192.0.2.1 5060", key));
        CHECK(!branch_leads_to(branch, "192.0.2.1 5061", key));
        CHECK(!branch_leads_to(branch, "192.0.2.2 5060", key));
        CHECK(!verify_branch(branch, std::string(32, 'l')));
        last = branch;
    }
    for (std::size_t at = 7; at < last.size(); ++at) {
        auto changed = last;
        changed[at] = changed[at] == '0' ? '1' : '0';
        CHECK(!verify_branch(changed, key));
    }
    CHECK(!verify_branch("", key));
    CHECK(!verify_branch("z9hG4bK", key));
    CHECK(!verify_branch(last + "00", key));
    CHECK(!branch_leads_to("z9hG4bK", "x", key));
    CHECK(!branch_leads_to("short", "x", key));
}

TEST("HMAC-SHA256 is the one of RFC 4231") {
    CHECK_EQ(to_hex(hmac_sha256(std::string(20, '\x0b'), "Hi There")),
             std::string("b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"));
}
