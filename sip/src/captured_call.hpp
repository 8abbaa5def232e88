// What has been seen of one call for the recorder: bounded, and written out as one text.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "message_capture.hpp"

namespace push_proxy {

// How much is kept of one call.
struct CaptureBounds {
    std::size_t messages = 200;
    std::size_t bytes = 262'144;
};

class CapturedCall {
   public:
    // Who is at the other end of messages: the PBX, or a device.
    struct Hop {
        Address peer;
        std::string name;
        bool told = false;  // by the one who knew already when it gave the messages
    };

    // `since`: a moment before it began.
    CapturedCall(std::string name, std::string sip_call_id, std::string tenant, double since, CaptureBounds bounds);

    // Keeps one more. How a call began and how it ended says more than what is between: that goes first
    // when there is too much.
    void add(SharedMessage message, std::size_t hop);
    // One that may not be kept.
    void drop() { ++dropped_; }
    void miss(std::uint64_t count) { missed_ += count; }
    // The place of a hop; a new one has no name.
    std::size_t hop_at(const Address& peer, bool& is_new);
    std::size_t hop_named(const std::string& name);
    // All that there is, as push_proxy/recorder/recording.py describes it.
    std::string text() const;
    // Goes on without what there is.
    void empty();

    const std::string& name() const { return name_; }
    const std::string& sip_call_id() const { return sip_call_id_; }
    const std::string& tenant() const { return tenant_; }
    double since() const { return since_; }
    std::size_t messages() const { return kept_.size(); }
    std::size_t dropped() const { return dropped_; }
    std::vector<Hop>& hops() { return hops_; }
    // Bytes in memory.
    std::size_t size() const;

   private:
    struct Kept {
        SharedMessage message;
        std::size_t hop;
    };

    std::string name_;
    std::string sip_call_id_;
    std::string tenant_;
    double since_;
    CaptureBounds bounds_;
    std::vector<Kept> kept_;
    std::vector<Hop> hops_;
    std::size_t bytes_ = 0;  // of texts
    std::size_t dropped_ = 0;
    std::uint64_t missed_ = 0;
};

}  // namespace push_proxy
