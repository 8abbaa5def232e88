#include "captured_registers.hpp"

#include <utility>

namespace push_proxy {
namespace {

constexpr double kRememberS = 40;
constexpr std::size_t kMostBytes = 4 * 1024 * 1024;

}  // namespace

void CapturedRegisters::add(SharedMessage message) {
    const auto now = message->at;
    bytes_ += message->raw.size();
    by_call_id_[message->call_id].push_back(message);
    order_.push_back(std::move(message));
    while (!order_.empty() && (bytes_ > kMostBytes || order_.front()->at < now - kRememberS)) forget_oldest();
}

std::vector<SharedMessage> CapturedRegisters::of(const std::string& call_id, double since,
                                                 const std::string& host) const {
    std::vector<SharedMessage> found;
    const auto same = by_call_id_.find(call_id);
    if (same == by_call_id_.end()) return found;
    for (const auto& message : same->second)
        if (message->at >= since && message->peer.host == host) found.push_back(message);
    return found;
}

void CapturedRegisters::clear() {
    order_.clear();
    by_call_id_.clear();
    bytes_ = 0;
}

void CapturedRegisters::forget_oldest() {
    const auto oldest = std::move(order_.front());
    order_.pop_front();
    bytes_ -= oldest->raw.size();
    const auto same = by_call_id_.find(oldest->call_id);
    same->second.pop_front();
    if (same->second.empty()) by_call_id_.erase(same);
}

}  // namespace push_proxy
