#include "captured_call.hpp"

#include <algorithm>
#include <charconv>
#include <utility>

namespace push_proxy {
namespace {

// What a message costs in memory beside its text.
constexpr std::size_t kOverhead = 300;
constexpr const char* kUnknown = "pbx";

template <class Number>
void append(std::string& out, Number number) {
    char digits[32];
    const auto end = std::to_chars(std::begin(digits), std::end(digits), number).ptr;
    out.append(digits, end);
}

// A JSON string; what comes in is UTF-8.
void append_quoted(std::string& out, const std::string& text) {
    constexpr auto hex = "0123456789abcdef";
    out += '"';
    for (const char c : text) {
        if (c == '"' || c == '\\') {
            out += '\\';
            out += c;
        } else if (static_cast<unsigned char>(c) < 0x20) {
            out += "\\u00";
            out += hex[static_cast<unsigned char>(c) >> 4];
            out += hex[static_cast<unsigned char>(c) & 15];
        } else {
            out += c;
        }
    }
    out += '"';
}

}  // namespace

CapturedCall::CapturedCall(std::string name, std::string sip_call_id, std::string tenant, double since,
                           CaptureBounds bounds)
    : name_(std::move(name)),
      sip_call_id_(std::move(sip_call_id)),
      tenant_(std::move(tenant)),
      since_(since),
      bounds_(bounds) {}

void CapturedCall::add(SharedMessage message, std::size_t hop) {
    bytes_ += message->raw.size();
    auto place = kept_.end();
    // A REGISTER is known to belong to the call only when it has succeeded.
    while (place != kept_.begin() && std::prev(place)->message->at > message->at) --place;
    kept_.insert(place, {std::move(message), hop});
    while (kept_.size() > bounds_.messages || (kept_.size() > 1 && bytes_ > bounds_.bytes)) {
        const auto gone = kept_.begin() + static_cast<std::ptrdiff_t>(kept_.size() / 2);
        bytes_ -= gone->message->raw.size();
        kept_.erase(gone);
        ++dropped_;
    }
}

std::size_t CapturedCall::hop_at(const Address& peer, bool& is_new) {
    const auto is_there = [&](const Hop& hop) { return !hop.told && hop.peer == peer; };
    const auto found = std::find_if(hops_.begin(), hops_.end(), is_there);
    is_new = found == hops_.end();
    if (!is_new) return static_cast<std::size_t>(found - hops_.begin());
    hops_.push_back({peer, kUnknown, false});
    return hops_.size() - 1;
}

std::size_t CapturedCall::hop_named(const std::string& name) {
    const auto is_it = [&](const Hop& hop) { return hop.told && hop.name == name; };
    const auto found = std::find_if(hops_.begin(), hops_.end(), is_it);
    if (found != hops_.end()) return static_cast<std::size_t>(found - hops_.begin());
    hops_.push_back({{}, name, true});
    return hops_.size() - 1;
}

std::size_t CapturedCall::size() const { return bytes_ + kept_.size() * kOverhead; }

std::string CapturedCall::text() const {
    std::vector<const Address*> addresses;
    const auto place = [&](const Address& address) {
        const auto is_it = [&](const Address* each) { return *each == address; };
        const auto found = std::find_if(addresses.begin(), addresses.end(), is_it);
        if (found != addresses.end()) return found - addresses.begin();
        addresses.push_back(&address);
        return static_cast<std::ptrdiff_t>(addresses.size()) - 1;
    };
    std::string out;
    out.reserve(bytes_ + 256 + kept_.size() * 64);
    out += "{\"v\":1,\"dropped\":";
    append(out, dropped_);
    out += ",\"missed\":";
    append(out, missed_);
    out += ",\"messages\":[";
    for (const auto& [message, hop] : kept_) {
        out += out.back() == '[' ? "[" : ",[";
        append(out, message->at);
        out += message->sent ? ",true," : ",false,";
        append_quoted(out, hops_[hop].name);
        out += ',';
        append(out, place(message->peer));
        out += ',';
        append(out, place(message->local));
        out += ',';
        append(out, message->raw.size());
        out += ']';
    }
    out += "],\"addresses\":[";
    for (const auto* address : addresses) {
        out += out.back() == '[' ? "[" : ",[";
        append_quoted(out, address->host);
        out += ',';
        append(out, address->port);
        out += ',';
        append_quoted(out, address->transport);
        out += ']';
    }
    out += "]}\n";
    for (const auto& each : kept_) out += each.message->raw;
    return out;
}

void CapturedCall::empty() {
    kept_.clear();
    bytes_ = dropped_ = 0;
    missed_ = 0;
}

}  // namespace push_proxy
