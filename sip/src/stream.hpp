// One TCP or TLS connection, as a transport of pjsip's. Ours instead of pjsip's own: see docs/adr/0009.
#pragma once

#include <chrono>

#include "framing.hpp"
#include "pj.hpp"
#include "tls.hpp"

namespace push_proxy {

class Connections;
struct Listener;

using Clock = std::chrono::steady_clock;

// What the poll of `Connections` watches.
struct Watched {
    enum class Kind { pjsip, acceptor, stream };
    explicit Watched(Kind k) : kind(k) {}
    const Kind kind;
};

// pjsip's base comes first: pjsip_transport* and Stream* are cast into one another. pjsip counts the
// references; the last one to go frees it by `destroy`.
struct Stream : pjsip_transport, Watched {
    enum class State { connecting, handshaking, open, ended };

    Stream(Connections& connections, pjsip_endpoint* endpoint, int socket, const Address& other_end, Listener& at,
           bool opened_by_us);
    Stream(const Stream&) = delete;
    Stream& operator=(const Stream&) = delete;

    // Sends, or keeps until the connection stands. What cannot be sent ends the connection.
    void send(const char* bytes, std::size_t size);
    // Closes the socket; who uses this is told later, between events.
    void end(const std::string& why);
    // The poll has found the socket ready.
    void ready(unsigned events);
    void start_tls(TlsSession session);
    unsigned watched() const { return watched_; }
    bool live() const { return state == State::open; }
    bool coming() const { return state == State::connecting || state == State::handshaking; }

    Connections* owner;
    int fd;
    Listener* listener;
    const Address remote;
    const bool outgoing;
    State state;
    std::string tls_profile;  // how an outgoing TLS connection was opened
    std::string server_name;
    std::vector<std::string> peer_names;
    std::string why_ended;
    Clock::time_point born = Clock::now();
    Clock::time_point partial_since{};  // a message has begun, or none has come yet
    Clock::time_point last_sent = born;
    bool stood = false;    // it has been open
    bool spoke = false;    // a whole message has come
    std::size_t slot = 0;  // in the list of `Connections`

   private:
    ~Stream();
    static pj_status_t on_send(pjsip_transport* transport, pjsip_tx_data* tdata, const pj_sockaddr_t*, int, void*,
                               pjsip_transport_callback);
    static pj_status_t on_destroy(pjsip_transport* transport);
    void connected();
    void shake_hands();
    void opened();
    void read();
    bool read_some(char* buffer, std::size_t size, std::size_t& went);
    void received(std::string_view bytes);
    std::size_t write_some(const char* bytes, std::size_t size);
    void flush();
    void watch();

    std::optional<TlsSession> tls_;
    Framer framer_;
    std::string unsent_;
    bool tls_wants_write_ = false;
    unsigned watched_;  // as epoll has it
};

inline bool is_stream(const pjsip_transport* transport) { return (transport->flag & PJSIP_TRANSPORT_RELIABLE) != 0; }
inline Stream* as_stream(pjsip_transport* transport) {
    return is_stream(transport) ? static_cast<Stream*>(transport) : nullptr;
}

}  // namespace push_proxy
