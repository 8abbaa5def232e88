#include "connections.hpp"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <stdexcept>

namespace push_proxy {
namespace {

constexpr rlim_t kOtherDescriptors = 256;  // for HTTP, Redis, files
constexpr int kBacklog = 1024;
constexpr int kAcceptsPerEvent = 64;
constexpr std::size_t kScratch = 64 * 1024;
constexpr auto kSweepEvery = std::chrono::milliseconds(250);

std::string key_of(const Address& address) { return address.transport + " " + address.text(); }

void set(int fd, int level, int option, int value) { setsockopt(fd, level, option, &value, sizeof value); }

// So that the other end is found gone, when no FIN has said so.
void keep_honest(int fd, const StreamLimits& limits) {
    constexpr int kProbes = 3;
    set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    set(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    set(fd, IPPROTO_TCP, TCP_KEEPIDLE, static_cast<int>(limits.keepalive_s));
    set(fd, IPPROTO_TCP, TCP_KEEPINTVL, std::max(1, static_cast<int>(limits.keepalive_s / (2 * kProbes))));
    set(fd, IPPROTO_TCP, TCP_KEEPCNT, kProbes);
    set(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, static_cast<int>(limits.unacked_ms));
}

int new_socket(const pj_sockaddr& like) {
    return socket(like.addr.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}

// How many connections the process's descriptors allow: the soft limit is raised as far as it may go.
std::size_t descriptors() {
    rlimit limit{};
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return 1024 - kOtherDescriptors;
    if (limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
        getrlimit(RLIMIT_NOFILE, &limit);
    }
    return limit.rlim_cur > 2 * kOtherDescriptors ? limit.rlim_cur - kOtherDescriptors : kOtherDescriptors;
}

const sockaddr* plain(const pj_sockaddr& address) { return reinterpret_cast<const sockaddr*>(&address); }

socklen_t size_of(const pj_sockaddr& address) { return static_cast<socklen_t>(pj_sockaddr_get_len(&address)); }

}  // namespace

Connections::Connections(pjsip_endpoint* endpoint, StreamUser& user, StreamLimits limits,
                         std::shared_ptr<const TlsContexts> tls)
    : endpoint_(endpoint),
      user_(user),
      limits_(limits),
      tls_(std::move(tls)),
      poll_(epoll_create1(EPOLL_CLOEXEC)),
      spare_(open("/dev/null", O_RDONLY | O_CLOEXEC)),
      scratch_(kScratch),
      received_(std::make_unique<pjsip_rx_data>()) {
    if (poll_ < 0) throw std::runtime_error(std::string("epoll: ") + std::strerror(errno));
    limits_.total = std::min(limits_.total, descriptors());
    received_->tp_info.pool = pjsip_endpt_create_pool(endpoint, "received", PJSIP_POOL_RDATA_LEN, PJSIP_POOL_RDATA_INC);
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.ptr = &pjsip_;
    // Where pjsip polls by epoll, its handle is the address of the descriptor.
    const auto* handle = static_cast<const int*>(pj_ioqueue_get_os_handle(pjsip_endpt_get_ioqueue(endpoint)));
    if (epoll_ctl(poll_, EPOLL_CTL_ADD, *handle, &event) != 0)
        throw std::runtime_error(std::string("epoll of pjsip: ") + std::strerror(errno));
}

Connections::~Connections() {
    while (!live_.empty()) live_.back()->end("the service stops");
    for (auto* stream : take_ended()) {
        stream->owner = nullptr;  // transactions may hold it until pjsip ends
        release(*stream);
    }
    for (const auto& acceptor : acceptors_) close(acceptor->fd);
    pjsip_endpt_release_pool(endpoint_, received_->tp_info.pool);
    close(spare_);
    close(poll_);
}

void Connections::listen(Listener& listener) {
    if (listener.bound.transport == "tls" && !tls_->server())
        throw std::runtime_error("a tls listener needs a certificate and a key");
    auto address = to_sockaddr(listener.bound);
    const int fd = new_socket(address);
    auto acceptor = std::make_unique<Acceptor>(fd, listener);
    const auto fail = [&](const char* what) {
        const std::string reason = std::strerror(errno);
        if (fd >= 0) close(fd);
        throw std::runtime_error(std::string(what) + ": " + reason);
    };
    if (fd < 0) fail("socket");
    set(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    if (address.addr.sa_family == AF_INET6) set(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
    if (bind(fd, plain(address), size_of(address)) != 0) fail("bind");
    if (::listen(fd, kBacklog) != 0) fail("listen");
    socklen_t size = sizeof address;
    getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size);
    listener.bound.port = pj_sockaddr_get_port(&address);
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.ptr = static_cast<Watched*>(acceptor.get());
    if (epoll_ctl(poll_, EPOLL_CTL_ADD, fd, &event) != 0) fail("epoll");
    acceptors_.push_back(std::move(acceptor));
}

void Connections::accept(Acceptor& acceptor) {
    for (int i = 0; i < kAcceptsPerEvent; ++i) {
        pj_sockaddr address{};
        socklen_t size = sizeof address;
        const int fd = accept4(acceptor.fd, reinterpret_cast<sockaddr*>(&address), &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            admit(fd, to_address(address, acceptor.listener->bound.transport), *acceptor.listener);
            continue;
        }
        if (errno == ECONNABORTED || errno == EINTR) continue;
        if (errno == ENOBUFS || errno == ENOMEM) return pause(acceptor, true);
        if (errno != EMFILE && errno != ENFILE) return;
        if (spare_ < 0) return pause(acceptor, true);
        // Who waits is turned away, or the poll would announce it for ever. Another thread may be faster to
        // take the spare one: then nobody is accepted until the next sweep.
        close(spare_);
        const int turned_away = accept4(acceptor.fd, nullptr, nullptr, SOCK_CLOEXEC);
        if (turned_away >= 0) close(turned_away);
        spare_ = open("/dev/null", O_RDONLY | O_CLOEXEC);
        user_.on_refused("connection", acceptor.listener->bound, "out of file descriptors");
        return;
    }
}

void Connections::pause(Acceptor& acceptor, bool paused) {
    acceptor.paused = paused;
    epoll_event event{};
    event.events = paused ? 0U : static_cast<unsigned>(EPOLLIN);
    event.data.ptr = static_cast<Watched*>(&acceptor);
    epoll_ctl(poll_, EPOLL_CTL_MOD, acceptor.fd, &event);
}

void Connections::admit_all(bool on) {
    closed_ = !on;
    for (const auto& acceptor : acceptors_) pause(*acceptor, closed_);
}

void Connections::admit(int fd, const Address& remote, Listener& listener) {
    const auto refuse = [&](const char* why) {
        user_.on_refused("connection", remote, why);
        close(fd);
    };
    if (live_.size() >= limits_.total) return refuse("too many connections");
    const auto from_there = by_source_.find(remote.host);
    if (from_there != by_source_.end() && from_there->second >= limits_.per_source)
        return refuse("too many connections from there");
    const auto* context = remote.transport == "tls" ? tls_->server() : nullptr;
    if (remote.transport == "tls" && !context) return refuse("there is no certificate any more");
    keep_honest(fd, limits_);
    auto* stream = new Stream(*this, endpoint_, fd, remote, listener, false);
    ++by_source_[remote.host];
    add(*stream);
    if (stream->state == Stream::State::ended) return;  // it cannot be watched
    stream->partial_since = stream->born;               // the first message is due
    if (context) {
        stream->start_tls(TlsSession::accept(*context, fd));
    } else {
        opened(*stream);
    }
}

void Connections::add(Stream& stream) {
    stream.slot = live_.size();
    live_.push_back(&stream);
    if (stream.outgoing) outgoing_.push_back(&stream);
    epoll_event event{};
    event.events = stream.watched();
    event.data.ptr = static_cast<Watched*>(&stream);
    if (epoll_ctl(poll_, EPOLL_CTL_ADD, stream.fd, &event) != 0) stream.end(std::strerror(errno));
}

void Connections::watch(Stream& stream, unsigned events) {
    epoll_event event{};
    event.events = events;
    event.data.ptr = static_cast<Watched*>(&stream);
    epoll_ctl(poll_, EPOLL_CTL_MOD, stream.fd, &event);
}

void Connections::opened(Stream& stream) {
    if (!stream.outgoing) by_remote_[key_of(stream.remote)].push_back(&stream);
}

void Connections::forget(Stream& stream) {
    // Its socket is closed by the caller, which ends the watch.
    live_[stream.slot] = live_.back();
    live_[stream.slot]->slot = stream.slot;
    live_.pop_back();
    if (stream.outgoing) std::erase(outgoing_, &stream);
    if (const auto found = by_remote_.find(key_of(stream.remote)); found != by_remote_.end()) {
        std::erase(found->second, &stream);
        if (found->second.empty()) by_remote_.erase(found);
    }
    if (!stream.outgoing) {
        const auto source = by_source_.find(stream.remote.host);
        if (source != by_source_.end() && --source->second == 0) by_source_.erase(source);
        if (stream.why_ended.starts_with("TLS: ") && !stream.spoke)
            user_.on_refused("tls", stream.remote, stream.why_ended);
    }
    ended_.push_back(&stream);
}

void Connections::release(Stream& stream) { pjsip_transport_dec_ref(&stream); }

Stream* Connections::standing(const Address& remote) const {
    const auto found = by_remote_.find(key_of(remote));
    if (found == by_remote_.end()) return nullptr;
    for (auto stream = found->second.rbegin(); stream != found->second.rend(); ++stream)
        if ((*stream)->live()) return *stream;
    return nullptr;
}

Stream* Connections::toward(const Address& remote, Listener& from, const std::string& profile, const std::string& name,
                            std::string& why) {
    const bool secure = remote.transport == "tls";
    const std::string& expected = name.empty() ? remote.host : name;
    if (const auto found = by_remote_.find(key_of(remote)); found != by_remote_.end())
        for (auto* stream : found->second)
            if (stream->outgoing && (!secure || (stream->tls_profile == profile && stream->server_name == expected)))
                return stream;
    const auto* context = secure ? tls_->client(profile) : nullptr;
    if (secure && !context) {
        why = "TLS: there is no profile '" + profile + "'";
        return nullptr;
    }
    if (live_.size() >= limits_.total) {
        why = "too many connections";
        return nullptr;
    }
    const auto target = to_sockaddr(remote);
    const int fd = new_socket(target);
    if (fd < 0) {
        why = std::strerror(errno);
        return nullptr;
    }
    keep_honest(fd, limits_);
    // From the address that we are known by.
    auto own = to_sockaddr(from.bound);
    if (own.addr.sa_family == target.addr.sa_family && pj_sockaddr_has_addr(&own)) {
        pj_sockaddr_set_port(&own, 0);
        set(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1);
        if (bind(fd, plain(own), size_of(own)) != 0) why = std::strerror(errno);
    }
    if (why.empty() && connect(fd, plain(target), size_of(target)) != 0 && errno != EINPROGRESS)
        why = std::strerror(errno);
    if (!why.empty()) {
        close(fd);
        return nullptr;
    }
    auto* stream = new Stream(*this, endpoint_, fd, remote, from, true);
    stream->tls_profile = profile;
    stream->server_name = expected;
    if (secure) stream->start_tls(TlsSession::connect(*context, fd, expected));
    by_remote_[key_of(remote)].push_back(stream);
    add(*stream);
    return stream;
}

int Connections::timer_ms(unsigned longest_ms) const {
    auto* timers = pjsip_endpt_get_timer_heap(endpoint_);
    if (pj_timer_heap_count(timers) == 0) return static_cast<int>(longest_ms);
    pj_time_val due;
    pj_time_val now;
    pj_timer_heap_earliest_time(timers, &due);
    pj_gettickcount(&now);
    PJ_TIME_VAL_SUB(due, now);
    const auto left = PJ_TIME_VAL_MSEC(due);
    return static_cast<int>(std::clamp<long>(left, 0, static_cast<long>(longest_ms)));
}

void Connections::wait(unsigned longest_ms) {
    epoll_event events[64];
    const int longest = ended_.empty() ? timer_ms(longest_ms) : 0;
    const int found = epoll_wait(poll_, events, std::size(events), longest);
    for (int i = 0; i < found; ++i) {
        auto* watched = static_cast<Watched*>(events[i].data.ptr);
        if (watched->kind == Watched::Kind::acceptor) accept(static_cast<Acceptor&>(*watched));
        // One that has ended by what another one brought is freed later, between events.
        if (watched->kind == Watched::Kind::stream) static_cast<Stream&>(*watched).ready(events[i].events);
    }
}

void Connections::deliver(Stream& stream, std::string_view message) {
    auto& rdata = *received_;
    rdata.tp_info.transport = &stream;
    auto& packet = rdata.pkt_info;
    pj_gettimeofday(&packet.timestamp);
    std::memcpy(packet.packet, message.data(), message.size());
    packet.zero = 0;
    packet.len = static_cast<pj_ssize_t>(message.size());
    pj_sockaddr_cp(&packet.src_addr, &stream.key.rem_addr);
    packet.src_addr_len = stream.addr_len;
    pj_ansi_strxcpy(packet.src_name, stream.remote.host.c_str(), sizeof packet.src_name);
    packet.src_port = stream.remote.port;
    const auto handled = pjsip_tpmgr_receive_packet(stream.tpmgr, &rdata);
    pj_pool_reset(rdata.tp_info.pool);
    // pjsip and we do not agree where the message ends: nothing after it can be believed.
    if (handled != static_cast<pj_ssize_t>(message.size())) stream.end("framing lost");
}

void Connections::sweep() {
    const auto now = Clock::now();
    if (now - swept_ < kSweepEvery) return;
    swept_ = now;
    if (spare_ < 0) spare_ = open("/dev/null", O_RDONLY | O_CLOEXEC);
    for (const auto& acceptor : acceptors_)
        if (acceptor->paused && !closed_) pause(*acceptor, false);
    using std::chrono::milliseconds;
    std::vector<std::pair<Stream*, std::string>> late;
    std::vector<Stream*> quiet;
    for (auto* stream : live_) {
        if (stream->coming() && stream->outgoing) {
            if (now - stream->born > milliseconds(limits_.connect_ms))
                late.emplace_back(stream,
                                  stream->state == Stream::State::connecting
                                      ? "no connection within " + std::to_string(limits_.connect_ms) + " ms"
                                      : "TLS: no handshake within " + std::to_string(limits_.connect_ms) + " ms");
        } else if (stream->partial_since != Clock::time_point{} &&
                   now - stream->partial_since > milliseconds(limits_.first_message_ms)) {
            late.emplace_back(stream, "no whole message in time");
        } else if (stream->outgoing && stream->live() && now - stream->last_sent > milliseconds(limits_.ping_ms)) {
            quiet.push_back(stream);
        }
    }
    // Both may end a connection, and change the list of those that live.
    for (auto& [stream, why] : late) stream->end(why);
    for (auto* stream : quiet) stream->send("\r\n\r\n", 4);
}

}  // namespace push_proxy
