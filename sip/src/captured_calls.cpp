#include "captured_calls.hpp"

#include <algorithm>
#include <utility>

namespace push_proxy {
namespace {

// A call is known a moment before or after its INVITE was copied.
constexpr double kUnclaimedS = 0.5;
constexpr std::size_t kMostUnclaimed = 1000;
constexpr std::size_t kMostGivenOut = 20'000;

bool is_foreign(const std::vector<std::shared_ptr<CapturedCall>>& calls) {
    return std::any_of(calls.begin(), calls.end(),
                       [&](const auto& each) { return each->tenant() != calls.front()->tenant(); });
}

}  // namespace

void CapturedCalls::take(CaptureBatch batch, double now) {
    if (batch.lost)
        for (auto& [sip_call_id, same] : by_sip_call_id_)
            for (auto& call : same.calls) call->miss(batch.lost);
    for (auto& waiting : std::exchange(unclaimed_, {})) {
        const auto same = by_sip_call_id_.find(waiting.message->call_id);
        if (same != by_sip_call_id_.end())
            keep(waiting.message, same->second);
        else if (waiting.since > now - kUnclaimedS)
            unclaimed_.push_back(std::move(waiting));
    }
    for (const auto& message : batch.messages) sort_in(message, now);
    expire_links(now);
}

void CapturedCalls::sort_in(const SharedMessage& message, double now) {
    if (message->device_register) {
        registers_.add(message);
        keep_linked(message);
        return;
    }
    const auto same = by_sip_call_id_.find(message->call_id);
    if (same != by_sip_call_id_.end())
        keep(message, same->second);
    else if (unclaimed_.size() < kMostUnclaimed)
        unclaimed_.push_back({now, message});  // its call may be opened by a fact that is still to be read
}

void CapturedCalls::keep(const SharedMessage& message, SameCallId& same) {
    give(message);
    for (auto& call : same.calls) {
        if (same.foreign) {
            call->drop();
            continue;
        }
        bool is_new = false;
        const auto hop = call->hop_at(message->peer, is_new);
        if (is_new) {
            const auto& hops = call->hops();
            const auto known = std::count_if(hops.begin(), hops.end(), [](const auto& each) { return !each.told; });
            met_.push_back({call->name(), hop, message->peer, known == 1, message->sent});
        }
        add(*call, message, hop);
    }
}

void CapturedCalls::keep_linked(const SharedMessage& message) {
    const auto found = links_.find(message->call_id);
    if (found == links_.end()) return;
    bool given = false;
    for (auto& link : found->second) {
        if (link.host != message->peer.host) continue;
        for (auto& call : link.calls) {
            const auto open = calls_.find(call->name());
            if (open == calls_.end() || open->second != call) continue;
            if (!std::exchange(given, true)) give(message);
            add(*call, message, call->hop_named(link.hop));
        }
    }
}

void CapturedCalls::add(CapturedCall& call, const SharedMessage& message, std::size_t hop) {
    size_ -= call.size();
    call.add(message, hop);
    size_ += call.size();
}

void CapturedCalls::open(std::string call, std::string sip_call_id, std::string tenant, double since,
                         CaptureBounds bounds) {
    auto made =
        std::make_shared<CapturedCall>(std::move(call), std::move(sip_call_id), std::move(tenant), since, bounds);
    if (!calls_.emplace(made->name(), made).second) return;
    auto& same = by_sip_call_id_[made->sip_call_id()];
    same.calls.push_back(std::move(made));
    same.foreign = is_foreign(same.calls);
}

void CapturedCalls::forget(const std::string& call) {
    const auto found = calls_.find(call);
    if (found == calls_.end()) return;
    const auto same = by_sip_call_id_.find(found->second->sip_call_id());
    auto& calls = same->second.calls;
    calls.erase(std::remove(calls.begin(), calls.end(), found->second), calls.end());
    same->second.foreign = is_foreign(calls);
    if (calls.empty()) by_sip_call_id_.erase(same);
    size_ -= found->second->size();
    calls_.erase(found);
}

void CapturedCalls::link(const std::string& register_call_id, const std::string& host, const std::string& hop,
                         const std::vector<std::string>& calls, double until) {
    auto& links = links_[register_call_id];
    const auto is_linked = [&](const Call& call) {
        return std::any_of(links.begin(), links.end(), [&](const Link& link) {
            return std::find(link.calls.begin(), link.calls.end(), call) != link.calls.end();
        });
    };
    Link made{until, host, hop, {}};
    for (const auto& name : calls) {
        const auto found = calls_.find(name);
        if (found != calls_.end() && !is_linked(found->second)) made.calls.push_back(found->second);
    }
    for (auto& call : made.calls) {
        for (const auto& message : registers_.of(register_call_id, call->since(), host)) {
            give(message);
            add(*call, message, call->hop_named(hop));
        }
    }
    if (!made.calls.empty()) links.push_back(std::move(made));
    if (links.empty()) links_.erase(register_call_id);
}

void CapturedCalls::expire_links(double now) {
    for (auto each = links_.begin(); each != links_.end();) {
        // A phone with a call every few seconds must not keep all of them in memory.
        auto& links = each->second;
        links.erase(std::remove_if(links.begin(), links.end(), [&](const Link& link) { return link.until <= now; }),
                    links.end());
        each = links.empty() ? links_.erase(each) : std::next(each);
    }
}

void CapturedCalls::name(const std::string& call, std::size_t hop, std::string name) {
    const auto found = calls_.find(call);
    if (found != calls_.end() && hop < found->second->hops().size()) found->second->hops()[hop].name = std::move(name);
}

std::optional<std::string> CapturedCalls::text(const std::string& call, bool emptied) {
    const auto found = calls_.find(call);
    if (found == calls_.end()) return std::nullopt;
    auto text = found->second->text();
    if (emptied) {
        size_ -= found->second->size();
        found->second->empty();
    }
    return text;
}

std::size_t CapturedCalls::seen(const std::string& call) const {
    const auto found = calls_.find(call);
    return found == calls_.end() ? 0 : found->second->messages() + found->second->dropped();
}

std::size_t CapturedCalls::size(const std::string& call) const {
    const auto found = calls_.find(call);
    return found == calls_.end() ? 0 : found->second->size();
}

std::size_t CapturedCalls::links() const {
    std::size_t count = 0;
    for (const auto& [call_id, links] : links_) count += links.size();
    return count;
}

void CapturedCalls::give(const SharedMessage& message) {
    if (gives_out_ && given_out_.size() < kMostGivenOut) given_out_.push_back(message);
}

void CapturedCalls::give_out(bool on) {
    gives_out_ = on;
    if (!on) given_out_.clear();
}

void CapturedCalls::clear() {
    unclaimed_.clear();
    registers_.clear();
    links_.clear();
    met_.clear();
}

}  // namespace push_proxy
