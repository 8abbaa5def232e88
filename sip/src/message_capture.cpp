#include "message_capture.hpp"

#include <chrono>
#include <utility>

namespace push_proxy {
namespace {

// What the buffer accounts for each message beside its text.
constexpr std::size_t kOverhead = 256;

double monotonic() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace

void MessageCapture::start(std::size_t most_messages, std::size_t most_bytes, double now) {
    std::lock_guard lock(mutex_);
    clock_offset_ = now - monotonic();
    most_messages_ = most_messages;
    most_bytes_ = most_bytes;
    on_ = true;
}

void MessageCapture::stop() {
    std::lock_guard lock(mutex_);
    on_ = false;
    messages_ = {};
    bytes_ = 0;
    lost_ = 0;
}

void MessageCapture::push(std::shared_ptr<CapturedMessage> message) {
    const auto size = message->raw.size() + kOverhead;
    std::lock_guard lock(mutex_);
    if (!on_) return;  // switched off meanwhile
    if (messages_.size() >= most_messages_ || bytes_ + size > most_bytes_) {
        ++lost_;
        return;
    }
    bytes_ += size;
    message->at = clock_offset_ + monotonic();
    messages_.push_back(std::move(message));
}

void MessageCapture::lose() {
    std::lock_guard lock(mutex_);
    ++lost_;
}

CaptureBatch MessageCapture::take() {
    CaptureBatch batch;
    std::lock_guard lock(mutex_);
    batch.messages.swap(messages_);
    messages_.reserve(batch.messages.size());
    batch.lost = std::exchange(lost_, 0);
    bytes_ = 0;
    return batch;
}

}  // namespace push_proxy
