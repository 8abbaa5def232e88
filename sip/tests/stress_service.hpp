// What Python is to the stack, as a thread of its own: facts drained, orders given at any time.
#pragma once

#include <atomic>
#include <chrono>
#include <map>
#include <random>
#include <thread>

#include "stack.hpp"

namespace stress {

using push_proxy::Address;
using push_proxy::Fact;
using Clock = std::chrono::steady_clock;

inline const std::string kCall = "12345678-1234-1234-1234-123456789abc";

// The device's route key, from its user part.
std::string route_key(const std::string& user);

class Service {
   public:
    // `pbxes`: where a phone's own requests are forwarded to.
    Service(push_proxy::Stack& stack, std::vector<Address> pbxes, unsigned seed);
    // Begins nothing by itself any more.
    void rest() { rest_ = true; }
    // Ends the thread; the stack may be stopped afterwards.
    void finish();

    std::vector<std::string> faults();
    std::size_t held() const { return open_; }
    std::map<std::string, std::uint64_t> tally();

   private:
    struct Branch {
        std::string phone;
        int status = 0;
        std::uint64_t response = 0;
        bool final = false;
    };
    struct Held {
        std::vector<std::string> phones;
        std::map<int, Branch> branches;
        bool cancelled = false;
        bool answered = false;
        bool over = false;
        Clock::time_point fork_at;
        bool forked = false;
        Clock::time_point give_up;
    };
    struct Flow {
        Address source;
        Address local;
    };

    void run();
    void on_fact(const Fact& fact);
    void on_request(const Fact& fact);
    void on_response(const Fact& fact);
    void on_register(const Fact& fact, const std::string& user);
    void look_at_clock();
    void give_up(std::uint64_t txn, Held& held);
    void fork(std::uint64_t txn, Held& held);
    void finish_call(std::uint64_t txn, Held& held, int status);
    void give(push_proxy::Order order) { stack_.order(std::move(order)); }
    bool chance(double probability) { return std::uniform_real_distribution<>(0, 1)(random_) < probability; }
    void count(const std::string& what);

    push_proxy::Stack& stack_;
    const std::vector<Address> pbxes_;
    std::mt19937 random_;
    std::map<std::uint64_t, Held> calls_;
    std::map<std::string, Flow> flows_;  // by phone
    std::mutex mutex_;                   // the two below, read by the main thread
    std::map<std::string, std::uint64_t> tally_;
    std::vector<std::string> faults_;
    std::atomic<std::size_t> open_ = 0;
    std::uint64_t next_request_ = 1;
    std::atomic<bool> rest_ = false;
    std::atomic<bool> finish_ = false;
    std::thread thread_;
};

}  // namespace stress
