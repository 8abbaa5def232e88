// Copies of the SIP messages that really came and left, for the recorder of calls: only while it is
// switched on, in a bounded buffer of its own that Python empties. Nothing waits for it, and no fact
// is ever displaced by it.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "values.hpp"

namespace push_proxy {

// One message, as it was on the wire but for its secrets (masking.hpp). Over TLS: as it was before encryption.
struct CapturedMessage {
    double at = 0;  // on the caller's clock: see MessageCapture::start
    bool sent = false;
    bool device_register = false;  // a REGISTER that a device sent, or our response to it
    Address peer;
    Address local;
    std::string call_id;
    std::string raw;
};

using SharedMessage = std::shared_ptr<const CapturedMessage>;

struct CaptureBatch {
    std::vector<SharedMessage> messages;  // in the order in which they came and left
    std::uint64_t lost = 0;               // since the last batch: there was no room for them
};

class MessageCapture {
   public:
    // `now`: the caller's clock, which messages' times are given on.
    void start(std::size_t most_messages, std::size_t most_bytes, double now);
    // Forgets what waits.
    void stop();
    bool on() const { return on_.load(std::memory_order_relaxed); }
    void push(std::shared_ptr<CapturedMessage> message);
    // For a message that could not even be copied.
    void lose();
    CaptureBatch take();

   private:
    std::atomic<bool> on_{false};
    std::mutex mutex_;
    std::size_t most_messages_ = 0;
    std::size_t most_bytes_ = 0;
    std::size_t bytes_ = 0;
    double clock_offset_ = 0;
    std::uint64_t lost_ = 0;
    std::vector<SharedMessage> messages_;
};

}  // namespace push_proxy
