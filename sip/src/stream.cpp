#include "stream.hpp"

#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "connections.hpp"

namespace push_proxy {
namespace {

constexpr std::size_t kMaxUnsent = 1 << 20;  // the other side does not read
constexpr std::size_t kPoolSize = 512;

bool would_block(int error) { return error == EAGAIN || error == EWOULDBLOCK || error == EINTR; }

}  // namespace

Stream::Stream(Connections& connections, pjsip_endpoint* endpoint, int socket, const Address& other_end, Listener& at,
               bool opened_by_us)
    : pjsip_transport{},
      Watched(Kind::stream),
      owner(&connections),
      fd(socket),
      listener(&at),
      remote(other_end),
      outgoing(opened_by_us),
      state(opened_by_us ? State::connecting : State::open),
      watched_(opened_by_us ? EPOLLIN | EPOLLOUT : EPOLLIN) {
    pool = pjsip_endpt_create_pool(endpoint, "stream", kPoolSize, kPoolSize);
    check(pj_atomic_create(pool, 0, &ref_cnt), "connection");
    // The SIP thread is the only one.
    check(pj_lock_create_null_mutex(pool, "stream", &lock), "connection");
    pj_ansi_strxcpy(obj_name, "stream", sizeof obj_name);
    const auto type = transport_type(remote);
    const auto address = to_sockaddr(remote);
    key.type = type;
    pj_sockaddr_cp(&key.rem_addr, &address);
    type_name = const_cast<char*>(pjsip_transport_get_type_name(type));
    flag = pjsip_transport_get_flag_from_type(type);
    info = obj_name;
    addr_len = static_cast<int>(pj_sockaddr_get_len(&address));
    const auto own = to_sockaddr(at.bound);
    pj_sockaddr_cp(&local_addr, &own);
    local_name = {pooled(pool, at.bound.host), at.bound.port};
    remote_name = {pooled(pool, remote.host), remote.port};
    dir = outgoing ? PJSIP_TP_DIR_OUTGOING : PJSIP_TP_DIR_INCOMING;
    endpt = endpoint;
    send_msg = &Stream::on_send;
    destroy = &Stream::on_destroy;
    auto* manager = pjsip_endpt_get_tpmgr(endpoint);
    tpmgr = manager;
    check(pjsip_transport_register(manager, this), "connection");
    pjsip_transport_add_ref(this);  // until `Connections` has told that it ended
}

Stream::~Stream() {
    if (fd >= 0) close(fd);
    pj_lock_destroy(lock);
    pj_atomic_destroy(ref_cnt);
    pj_pool_release(pool);
}

pj_status_t Stream::on_destroy(pjsip_transport* transport) {
    delete static_cast<Stream*>(transport);
    return PJ_SUCCESS;
}

// Never an error: pjsip would look for another way to the same place. Who waits for an answer on a
// connection that ends is told by `Connections`.
pj_status_t Stream::on_send(pjsip_transport* transport, pjsip_tx_data* tdata, const pj_sockaddr_t*, int, void*,
                            pjsip_transport_callback) {
    static_cast<Stream*>(transport)->send(tdata->buf.start,
                                          static_cast<std::size_t>(tdata->buf.cur - tdata->buf.start));
    return PJ_SUCCESS;
}

void Stream::start_tls(TlsSession session) {
    tls_.emplace(std::move(session));
    if (!outgoing) state = State::handshaking;
}

void Stream::end(const std::string& why) {
    if (state == State::ended) return;
    const bool was_open = state == State::open;
    state = State::ended;
    why_ended = why;
    is_shutdown = PJ_TRUE;
    if (!owner) return;
    owner->forget(*this);
    if (was_open && tls_) tls_->say_goodbye();
    close(fd);
    fd = -1;
}

void Stream::watch() {
    if (state == State::ended) return;
    const bool write = state == State::connecting || (state == State::open && !unsent_.empty());
    // OpenSSL reads no further before it has written: what lies there would wake the poll again and again.
    const unsigned wanted = tls_wants_write_ ? EPOLLOUT : write ? EPOLLIN | EPOLLOUT : EPOLLIN;
    if (wanted == watched_) return;
    watched_ = wanted;
    owner->watch(*this, wanted);
}

void Stream::ready(unsigned events) {
    if (state == State::connecting) {
        if (events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) connected();
    } else if (state == State::handshaking) {
        shake_hands();
    } else if (state == State::open) {
        if (events & EPOLLOUT || tls_) flush();
        if ((events & (EPOLLIN | EPOLLERR | EPOLLHUP) || tls_wants_write_) && state == State::open) read();
    }
    watch();
}

void Stream::connected() {
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error != 0) return end(std::strerror(error));
    if (!tls_) return opened();
    state = State::handshaking;
    shake_hands();
}

void Stream::shake_hands() {
    const auto progress = tls_->handshake();
    tls_wants_write_ = progress == TlsSession::Progress::want_write;
    if (progress == TlsSession::Progress::failed) return end(tls_->fault());
    if (progress != TlsSession::Progress::done) return;
    if (!outgoing) peer_names = tls_->peer_names();
    opened();
}

void Stream::opened() {
    state = State::open;
    stood = true;
    owner->opened(*this);
    flush();
    // The first message may have come with the end of the handshake.
    if (tls_ && state == State::open) read();
}

// False when there is nothing more to read now.
bool Stream::read_some(char* buffer, std::size_t size, std::size_t& went) {
    if (!tls_) {
        const auto got = recv(fd, buffer, size, 0);
        if (got > 0) {
            went = static_cast<std::size_t>(got);
            return true;
        }
        const int error = errno;
        if (got == 0) {
            end("closed by the other side");
        } else if (!would_block(error)) {
            end(std::strerror(error));
        }
        return false;
    }
    switch (tls_->read(buffer, size, went)) {
        case TlsSession::Progress::done:
            return true;
        case TlsSession::Progress::want_write:
            tls_wants_write_ = true;
            return false;
        case TlsSession::Progress::want_read:
            return false;
        case TlsSession::Progress::closed:
            end("closed by the other side");
            return false;
        case TlsSession::Progress::failed:
            break;
    }
    end(tls_->fault());
    return false;
}

void Stream::read() {
    auto& scratch = owner->scratch();
    std::size_t went = 0;
    tls_wants_write_ = false;
    // Once per event, so that one connection cannot keep the others waiting; but what OpenSSL has read
    // already is announced by no poll.
    do {
        if (!read_some(scratch.data(), scratch.size(), went)) return;
        received({scratch.data(), went});
    } while (state == State::open && tls_ && tls_->buffered());
}

void Stream::received(std::string_view bytes) {
    framer_.add(bytes);
    std::string pongs;  // in one piece: thousands of pings fit into what is read at once
    const auto answer_pings = [&] {
        if (!pongs.empty()) send(pongs.data(), pongs.size());
        pongs.clear();
    };
    for (;;) {
        const auto found = framer_.next();
        if (found == Framer::Found::ping) {
            if (!outgoing) pongs += "\r\n";
            continue;
        }
        answer_pings();
        if (state != State::open || found == Framer::Found::nothing) break;
        if (found == Framer::Found::message) {
            spoke = true;
            partial_since = {};
            owner->deliver(*this, framer_.message());
        } else {
            owner->malformed(*this, framer_.message(), framer_.fault());
            end(std::string("framing lost: ") + framer_.fault());
        }
        if (state != State::open) return;
    }
    if (state != State::open) return;
    if (outgoing) framer_.forget_line_breaks();
    if (!framer_.partial()) {
        if (spoke || outgoing) partial_since = {};
    } else if (partial_since == Clock::time_point{}) {
        partial_since = Clock::now();
    }
}

// How many bytes went; may end the connection.
std::size_t Stream::write_some(const char* bytes, std::size_t size) {
    if (!tls_) {
        const auto sent = ::send(fd, bytes, size, MSG_NOSIGNAL);
        if (sent >= 0) return static_cast<std::size_t>(sent);
        const int error = errno;
        if (!would_block(error)) end(std::strerror(error));
        return 0;
    }
    std::size_t went = 0;
    switch (tls_->write(bytes, size, went)) {
        case TlsSession::Progress::done:
            return went;
        case TlsSession::Progress::want_read:
        case TlsSession::Progress::want_write:
            return 0;
        case TlsSession::Progress::closed:
            end("closed by the other side");
            return 0;
        case TlsSession::Progress::failed:
            break;
    }
    end(tls_->fault());
    return 0;
}

void Stream::send(const char* bytes, std::size_t size) {
    if (state == State::ended) return;
    last_sent = Clock::now();
    if (state == State::open && unsent_.empty()) {
        while (size > 0) {
            const auto went = write_some(bytes, size);
            if (state != State::open) return;
            if (went == 0) break;
            bytes += went;
            size -= went;
        }
    }
    if (size == 0) return;
    if (unsent_.size() + size > kMaxUnsent) return end("the other side does not read");
    unsent_.append(bytes, size);
    watch();
}

void Stream::flush() {
    std::size_t at = 0;
    while (at < unsent_.size()) {
        const auto went = write_some(unsent_.data() + at, unsent_.size() - at);
        if (state != State::open) return;
        if (went == 0) break;
        at += went;
    }
    unsent_.erase(0, at);
    if (unsent_.empty()) unsent_.shrink_to_fit();
}

}  // namespace push_proxy
