// The two queues between the SIP thread and Python's asyncio thread.
#pragma once

#include <mutex>
#include <vector>

#include "values.hpp"

namespace push_proxy {

// Facts out: bounded, announced by an eventfd that asyncio watches.
class FactQueue {
   public:
    FactQueue();
    ~FactQueue();
    FactQueue(const FactQueue&) = delete;
    FactQueue& operator=(const FactQueue&) = delete;

    int fd() const { return fd_; }
    void set_limit(std::size_t limit) { limit_ = limit; }
    // New work is refused while this many facts wait; facts about work in hand always fit.
    bool full() const;
    void push(Fact fact);
    std::vector<Fact> drain();

   private:
    int fd_;
    std::size_t limit_ = 20000;
    mutable std::mutex mutex_;
    std::vector<Fact> facts_;
};

// Orders in: announced by a datagram, because pjsip's ioqueue reads sockets only.
class OrderQueue {
   public:
    OrderQueue();
    ~OrderQueue();
    OrderQueue(const OrderQueue&) = delete;
    OrderQueue& operator=(const OrderQueue&) = delete;

    // A descriptor of its own for pjsip's ioqueue, which closes what it is given.
    int share() const;
    // Forgets orders meant for a stack that has stopped.
    void clear();
    void push(Order order);
    std::vector<Order> drain();

   private:
    int sockets_[2];
    std::mutex mutex_;
    std::vector<Order> orders_;
};

}  // namespace push_proxy
