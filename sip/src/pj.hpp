// pjsip's C headers, and the few conversions between its strings and ours.
#pragma once

extern "C" {
#include <pjlib.h>
#include <pjsip.h>
}

#include <stdexcept>
#include <string>
#include <string_view>

#include "values.hpp"

namespace push_proxy {

inline std::string_view view(const pj_str_t& text) { return {text.ptr, static_cast<std::size_t>(text.slen)}; }
inline std::string copy(const pj_str_t& text) { return std::string(view(text)); }

// A pj_str_t that borrows: valid as long as `text` is.
inline pj_str_t borrow(std::string_view text) {
    return {const_cast<char*>(text.data()), static_cast<pj_ssize_t>(text.size())};
}

inline pj_str_t pooled(pj_pool_t* pool, std::string_view text) {
    pj_str_t out;
    const pj_str_t in = borrow(text);
    pj_strdup(pool, &out, &in);
    return out;
}

std::string describe(pj_status_t status);

inline void check(pj_status_t status, const char* what) {
    if (status != PJ_SUCCESS) throw std::runtime_error(std::string(what) + ": " + describe(status));
}

Address to_address(const pj_sockaddr& socket_address, const std::string& transport);
// Throws std::invalid_argument when the host is not an IP literal.
pj_sockaddr to_sockaddr(const Address& address);
pjsip_transport_type_e transport_type(const Address& address);

}  // namespace push_proxy
