// The whole SIP stack as Python sees it: start it, watch its descriptor, drain facts, give orders.
//
// One native thread owns pjsip: it creates the library, polls it, carries out every order and
// destroys it. No other thread ever calls pjsip, so there is no lock order to get wrong, and no
// lock of ours is held while pjsip runs. (docs/adr: one SIP thread.)
#pragma once

#include <functional>
#include <future>
#include <memory>
#include <thread>

#include "message_capture.hpp"
#include "queues.hpp"

namespace push_proxy {

class Stack {
   public:
    Stack() = default;
    ~Stack();
    Stack(const Stack&) = delete;
    Stack& operator=(const Stack&) = delete;

    // Returns the addresses bound, in the order given. Throws std::runtime_error, and std::invalid_argument
    // when a certificate cannot be used.
    std::vector<Address> start(const Settings& settings);
    void stop();

    int fd() const { return facts_.fd(); }
    std::vector<Fact> drain() { return facts_.drain(); }
    void order(Order order) { orders_.push(std::move(order)); }
    Counters counters() const;
    // Copies of messages for the recorder of calls: see MessageCapture.
    void capture(std::size_t most_messages, std::size_t most_bytes, double now) {
        capture_.start(most_messages, most_bytes, now);
    }
    void stop_capture() { capture_.stop(); }
    CaptureBatch take_captured() { return capture_.take(); }
    // Reads certificates again, for connections to come. Throws std::invalid_argument when a file cannot
    // be used; then nothing changes.
    void renew_tls(const std::optional<TlsFiles>& tls, const std::map<std::string, TlsFiles>& tls_clients);

   private:
    using Tls = std::shared_ptr<const TlsContexts>;
    void run(Settings settings, Tls tls, std::promise<std::vector<Address>> started);
    void serve(Settings settings, Tls tls, const std::function<void(std::vector<Address>)>& announce);

    FactQueue facts_;
    OrderQueue orders_;
    MessageCapture capture_;
    std::thread thread_;
    mutable std::mutex counters_mutex_;
    Counters counters_;
    std::string failure_;  // written by the SIP thread only
};

}  // namespace push_proxy
