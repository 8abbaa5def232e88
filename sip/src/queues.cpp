#include "queues.hpp"

#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

namespace push_proxy {

FactQueue::FactQueue() : fd_(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {
    if (fd_ < 0) throw std::system_error(errno, std::generic_category(), "eventfd");
}

FactQueue::~FactQueue() { close(fd_); }

bool FactQueue::full() const {
    std::lock_guard lock(mutex_);
    return facts_.size() >= limit_;
}

void FactQueue::push(Fact fact) {
    bool announce;
    {
        std::lock_guard lock(mutex_);
        announce = facts_.empty();
        facts_.push_back(std::move(fact));
    }
    if (announce) {
        // Fails only when the counter is full, and then the reader is awake anyway.
        [[maybe_unused]] auto written = eventfd_write(fd_, 1);
    }
}

std::vector<Fact> FactQueue::drain() {
    eventfd_t ignored;
    [[maybe_unused]] auto read = eventfd_read(fd_, &ignored);
    std::vector<Fact> facts;
    std::lock_guard lock(mutex_);
    facts.swap(facts_);
    return facts;
}

OrderQueue::OrderQueue() {
    if (socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, sockets_) != 0)
        throw std::system_error(errno, std::generic_category(), "socketpair");
}

OrderQueue::~OrderQueue() {
    close(sockets_[0]);
    close(sockets_[1]);
}

int OrderQueue::share() const {
    const int fd = dup(sockets_[0]);
    if (fd < 0) throw std::system_error(errno, std::generic_category(), "dup");
    return fd;
}

void OrderQueue::clear() {
    std::lock_guard lock(mutex_);
    orders_.clear();
    char knock;
    while (recv(sockets_[0], &knock, 1, MSG_DONTWAIT) >= 0) {
    }
}

void OrderQueue::push(Order order) {
    bool announce;
    {
        std::lock_guard lock(mutex_);
        announce = orders_.empty();
        orders_.push_back(std::move(order));
    }
    if (announce) {
        // Fails only when datagrams already wait, and then the SIP thread is awake anyway.
        const char knock = 'k';
        [[maybe_unused]] auto sent = send(sockets_[1], &knock, 1, MSG_DONTWAIT);
    }
}

std::vector<Order> OrderQueue::drain() {
    std::vector<Order> orders;
    std::lock_guard lock(mutex_);
    orders.swap(orders_);
    return orders;
}

}  // namespace push_proxy
