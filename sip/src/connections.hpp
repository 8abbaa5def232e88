// All TCP and TLS connections: who listens, who is connected, who may stay.
#pragma once

#include <functional>
#include <unordered_map>
#include <vector>

#include "stream.hpp"

namespace push_proxy {

// An address that we listen at. UDP has pjsip's transport; TCP and TLS have connections.
struct Listener {
    Address bound;
    pjsip_transport* transport = nullptr;  // null for TCP and TLS
};

struct StreamLimits {
    std::size_t total;
    std::size_t per_source;
    unsigned first_message_ms;  // from accept to the end of the first message; also for any later one
    unsigned connect_ms;        // TCP and TLS together
    unsigned ping_ms;           // at rest, on connections that we opened
    unsigned unacked_ms;        // half-open: with bytes on their way
    unsigned keepalive_s;       // half-open: at rest
};

// Whom `Connections` tells. Called on the SIP thread, from within events.
class StreamUser {
   public:
    virtual void on_malformed(Stream& stream, std::string_view packet, const char* fault) = 0;
    virtual void on_refused(const char* what, const Address& source, const std::string& why) = 0;

   protected:
    ~StreamUser() = default;
};

class Connections {
   public:
    Connections(pjsip_endpoint* endpoint, StreamUser& user, StreamLimits limits,
                std::shared_ptr<const TlsContexts> tls);
    ~Connections();
    Connections(const Connections&) = delete;
    Connections& operator=(const Connections&) = delete;

    // Fills in the port that was bound. Throws std::runtime_error.
    void listen(Listener& listener);
    void renew(std::shared_ptr<const TlsContexts> tls) { tls_ = std::move(tls); }
    // Whether connections are accepted; while they are not, they wait in the kernel.
    void admit_all(bool on);

    // A connection that stands, whoever opened it; null when there is none.
    Stream* standing(const Address& remote) const;
    // Ours to that place with that profile and name, opened when there is none. Null when that is
    // impossible at once: `why` then says so.
    Stream* toward(const Address& remote, Listener& from, const std::string& profile, const std::string& name,
                   std::string& why);

    // Serves connections until one of pjsip's sockets or timers is due, at most that long.
    void wait(unsigned longest_ms);
    // Whether pjsip's own poll is all there is to wait for.
    bool idle() const { return acceptors_.empty() && live_.empty(); }
    std::size_t open_streams() const { return live_.size(); }
    // Closes what has been silent for too long; cheap between its times.
    void sweep();
    // Connections that have ended since the last call. Each holds a reference: release() it.
    std::vector<Stream*> take_ended() { return std::exchange(ended_, {}); }
    static void release(Stream& stream);
    std::size_t count() const { return live_.size(); }

    // For Stream.
    void watch(Stream& stream, unsigned events);
    void opened(Stream& stream);
    void forget(Stream& stream);
    void deliver(Stream& stream, std::string_view message);
    void malformed(Stream& stream, std::string_view packet, const char* fault) {
        user_.on_malformed(stream, packet, fault);
    }
    std::vector<char>& scratch() { return scratch_; }

   private:
    struct Acceptor : Watched {
        Acceptor(int socket, Listener& at) : Watched(Kind::acceptor), fd(socket), listener(&at) {}
        int fd;
        Listener* listener;
        bool paused = false;
    };
    void accept(Acceptor& acceptor);
    void admit(int fd, const Address& remote, Listener& listener);
    void add(Stream& stream);
    void pause(Acceptor& acceptor, bool paused);
    int timer_ms(unsigned longest_ms) const;

    pjsip_endpoint* endpoint_;
    StreamUser& user_;
    StreamLimits limits_;
    std::shared_ptr<const TlsContexts> tls_;
    bool closed_ = false;
    int poll_;
    int spare_;  // a descriptor to give up when there is none left
    Watched pjsip_{Watched::Kind::pjsip};
    std::vector<std::unique_ptr<Acceptor>> acceptors_;
    std::unordered_map<std::string, std::vector<Stream*>> by_remote_;  // open, and outgoing ones to be
    std::unordered_map<std::string, std::size_t> by_source_;           // inbound ones, by host
    std::vector<Stream*> live_;
    std::vector<Stream*> outgoing_;
    std::vector<Stream*> ended_;
    std::vector<char> scratch_;
    std::unique_ptr<pjsip_rx_data> received_;  // one for all: a message is handled before the next is read
    Clock::time_point swept_ = Clock::now();
};

}  // namespace push_proxy
