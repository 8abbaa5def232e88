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

#include "queues.hpp"

namespace push_proxy {

class Stack {
   public:
    Stack() = default;
    ~Stack();
    Stack(const Stack&) = delete;
    Stack& operator=(const Stack&) = delete;

    // Returns the addresses bound, in the order given. Throws std::runtime_error.
    std::vector<Address> start(const Settings& settings);
    void stop();

    int fd() const { return facts_.fd(); }
    std::vector<Fact> drain() { return facts_.drain(); }
    void order(Order order) { orders_.push(std::move(order)); }
    Counters counters() const;

   private:
    void run(Settings settings, std::promise<std::vector<Address>> started);
    void serve(Settings settings, const std::function<void(std::vector<Address>)>& announce);

    FactQueue facts_;
    OrderQueue orders_;
    std::thread thread_;
    mutable std::mutex counters_mutex_;
    Counters counters_;
    std::string failure_;  // written by the SIP thread only
};

}  // namespace push_proxy
