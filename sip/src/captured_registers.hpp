// REGISTERs of devices, remembered for a moment: it shows later which ones woke for a call.
#pragma once

#include <deque>
#include <string>
#include <unordered_map>
#include <vector>

#include "captured_call.hpp"

namespace push_proxy {

// The newest messages of all devices' registrations, bounded in time and bytes.
class CapturedRegisters {
   public:
    // The oldest are forgotten.
    void add(SharedMessage message);
    // Those of one registration since then, from and to this host: whoever else uses its Call-ID has
    // proved nothing.
    std::vector<SharedMessage> of(const std::string& call_id, double since, const std::string& host) const;
    void clear();

   private:
    void forget_oldest();

    std::deque<SharedMessage> order_;
    std::unordered_map<std::string, std::deque<SharedMessage>> by_call_id_;
    std::size_t bytes_ = 0;
};

}  // namespace push_proxy
