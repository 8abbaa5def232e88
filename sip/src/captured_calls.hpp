// Which captured messages belong to which call, for the recorder of calls. A message belongs to the
// calls with its SIP Call-ID; REGISTERs belong to those calls that they were linked to.
//
// All of it runs in the thread of the recorder, none in that of SIP.
#pragma once

#include <deque>
#include <optional>
#include <unordered_map>

#include "captured_registers.hpp"

namespace push_proxy {

class CapturedCalls {
   public:
    // Somebody whom a call has met, whose name is wanted.
    struct Met {
        std::string call;
        std::size_t hop;
        Address peer;
        bool first;  // nobody else before
        bool sent;   // the message: by us
    };

    // Sorts in what was captured. `now`: on the same clock as the messages' times.
    void take(CaptureBatch batch, double now);
    // A call has begun, maybe a moment ago: what came meanwhile waits for it.
    void open(std::string call, std::string sip_call_id, std::string tenant, double since, CaptureBounds bounds);
    // No message is its any more, and those that were are gone.
    void forget(const std::string& call);
    // A device has registered: this registration's messages, from and to this host, belong to these calls,
    // since they began and for a while to come.
    void link(const std::string& register_call_id, const std::string& host, const std::string& hop,
              const std::vector<std::string>& calls, double until);
    // New ones since the last time.
    std::vector<Met> met() { return std::exchange(met_, {}); }
    void name(const std::string& call, std::size_t hop, std::string name);
    // All that there is of a call; `emptied`: it goes on without that. None: the call is not known.
    std::optional<std::string> text(const std::string& call, bool emptied);
    // Messages of a call that are or were here since it was emptied.
    std::size_t seen(const std::string& call) const;
    std::size_t size(const std::string& call) const;
    // Bytes in memory, of all calls.
    std::size_t size() const { return size_; }
    // Messages that belong to no call yet.
    std::size_t unclaimed() const { return unclaimed_.size(); }
    std::size_t links() const;
    // Every message that belongs to a call is given out, too, from now on or not any more.
    void give_out(bool on);
    std::vector<SharedMessage> given_out() { return std::exchange(given_out_, {}); }
    // Forgets all that does not belong to a call.
    void clear();

   private:
    using Call = std::shared_ptr<CapturedCall>;
    struct SameCallId {
        std::vector<Call> calls;
        bool foreign = false;  // they are of several tenants: nobody may read what is another's
    };
    struct Link {
        double until;
        std::string host;
        std::string hop;
        std::vector<Call> calls;
    };
    struct Waiting {
        double since;
        SharedMessage message;
    };

    void sort_in(const SharedMessage& message, double now);
    void keep(const SharedMessage& message, SameCallId& same);
    void keep_linked(const SharedMessage& message);
    void add(CapturedCall& call, const SharedMessage& message, std::size_t hop);
    void give(const SharedMessage& message);
    void expire_links(double now);

    std::unordered_map<std::string, Call> calls_;
    std::unordered_map<std::string, SameCallId> by_sip_call_id_;
    std::unordered_map<std::string, std::vector<Link>> links_;
    CapturedRegisters registers_;
    std::vector<Waiting> unclaimed_;
    std::vector<Met> met_;
    std::vector<SharedMessage> given_out_;
    bool gives_out_ = false;
    std::size_t size_ = 0;
};

}  // namespace push_proxy
