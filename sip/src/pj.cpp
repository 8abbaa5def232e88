#include "pj.hpp"

#include <charconv>
#include <iterator>

namespace push_proxy {

std::string describe(pj_status_t status) {
    char buffer[PJ_ERR_MSG_SIZE];
    return copy(pj_strerror(status, buffer, sizeof buffer));
}

Address to_address(const pj_sockaddr& socket_address, const std::string& transport) {
    char buffer[PJ_INET6_ADDRSTRLEN];
    if (socket_address.addr.sa_family == pj_AF_INET()) {
        // Twice for every message, and the library's way is printf's.
        const auto* octets = reinterpret_cast<const unsigned char*>(&socket_address.ipv4.sin_addr);
        auto* end = buffer;
        for (int i = 0; i < 4; ++i) {
            if (i) *end++ = '.';
            end = std::to_chars(end, std::end(buffer), octets[i]).ptr;
        }
        return {std::string(buffer, end), pj_sockaddr_get_port(&socket_address), transport};
    }
    pj_sockaddr_print(&socket_address, buffer, sizeof buffer, 0);
    return {buffer, pj_sockaddr_get_port(&socket_address), transport};
}

pj_sockaddr to_sockaddr(const Address& address) {
    pj_sockaddr out;
    const int family = address.host.find(':') == std::string::npos ? pj_AF_INET() : pj_AF_INET6();
    const pj_str_t host = borrow(address.host);
    if (address.port < 0 || address.port > 65535)
        throw std::invalid_argument("not a port: " + std::to_string(address.port));
    in6_addr probe;  // large enough for both families
    if (pj_inet_pton(family, &host, &probe) != PJ_SUCCESS)
        throw std::invalid_argument("not an IP address: '" + address.host + "'");
    check(pj_sockaddr_init(family, &out, &host, static_cast<pj_uint16_t>(address.port)), "address");
    return out;
}

pjsip_transport_type_e transport_type(const Address& address) {
    const auto type = address.transport == "tcp"   ? PJSIP_TRANSPORT_TCP
                      : address.transport == "tls" ? PJSIP_TRANSPORT_TLS
                                                   : PJSIP_TRANSPORT_UDP;
    const bool v6 = address.host.find(':') != std::string::npos;
    return v6 ? static_cast<pjsip_transport_type_e>(type | PJSIP_TRANSPORT_IPV6) : type;
}

}  // namespace push_proxy
