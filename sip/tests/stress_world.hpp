// Callers (PBXs) and phones of the stress program: one thread, many sockets, everything at random.
#pragma once

#include <functional>
#include <memory>
#include <queue>
#include <random>
#include <unordered_map>

#include "stress_line.hpp"
#include "stress_service.hpp"

namespace stress {

struct Options {
    int seconds = 10;
    double rate = 100;
    unsigned seed = 1;
    unsigned t1_ms = 500;
    int phones = 24;
    int pbxes = 4;
};

struct Ua {
    std::string user;
    bool phone = false;
    std::string transport = "udp";
    std::unique_ptr<Line> line;        // null while a stream is down
    std::unique_ptr<wire::Door> door;  // of a PBX on TCP: the stack connects to it
    int moves = 0;
};

// One side of a call, or a phone's dialog.
struct Dialog {
    Ua* ua = nullptr;
    std::string call_id;
    std::string local;   // From or To with our tag
    std::string remote;  // with theirs, once known
    std::string target;
    std::vector<std::string> routes;
    int cseq = 1;
    bool caller = false;
    bool answered = false;
    bool acked = false;
    bool over = false;
};

class World {
   public:
    // `stack`: where it listens, by UDP, TCP and TLS.
    World(const Options& options, const std::vector<Address>& stack);
    std::vector<Address> pbxes() const;
    void register_phones();
    // Calls for the time given, then until every call has ended or nothing happens any more.
    void run(const std::function<void()>& each_second);

    // Stations answer what still comes.
    void linger() { pump(20); }

    std::size_t open() const { return calls_.size(); }
    std::map<std::string, std::uint64_t> tally;
    std::vector<std::string> faults;

   private:
    using Handler = std::function<void(const Message*)>;  // null: no final response came in time
    struct Client {
        Ua* ua;
        std::string text;
        std::string method;
        Handler handler;
        Clock::time_point deadline;
        int interval_ms;
        bool proceeding = false;
    };
    struct Served {
        std::string response;
        Clock::time_point until;
    };
    struct Call;

    void start_call();
    void cancel(const std::shared_ptr<Call>& call);
    void caller_heard(const std::shared_ptr<Call>& call, const Message* response);
    void talk(const std::shared_ptr<Dialog>& dialog, bool hang_up, const std::function<void(bool)>& ended);
    void phone_calls_out();
    void phone_heard(Ua& ua, const Message& request);
    void ring(Ua& ua, const Message& invite);
    void accept(Ua& ua, const Message& invite, const std::shared_ptr<Dialog>& leg);
    void repeat_2xx(Ua& ua, const std::string& text, const std::shared_ptr<Dialog>& leg, int interval_ms,
                    Clock::time_point until);
    void move(Ua& ua);
    void come_back(Ua& ua);
    void break_pbx_connection();
    const Address& stack_by(const std::string& transport) const;
    void enrol(Ua& ua);

    void request(Ua& ua, const std::string& branch, const std::string& method, std::string text, Handler handler);
    void resend(const std::string& key);
    std::string in_dialog(Dialog& dialog, const std::string& method, const std::string& branch, int cseq);
    void send_in_dialog(const std::shared_ptr<Dialog>& dialog, const std::string& method, Handler handler);
    void answer(Ua& ua, const Message& request, const std::string& text);
    void serve(Ua& ua, const Message& message);
    void say(Ua& ua, const std::string& text);
    void at(int delay_ms, std::function<void()> work);
    void run_due();
    void pump(int wait_ms);
    void hung_up(Ua& ua);
    void expire();

    std::string via(const Ua& ua, const std::string& branch) const;
    std::string unique(const char* prefix) { return prefix + std::to_string(++next_); }
    int timeout_ms() const { return static_cast<int>(options_.t1_ms) * 64; }
    bool chance(double probability) { return std::uniform_real_distribution<>(0, 1)(random_) < probability; }
    int between(int low, int high) { return std::uniform_int_distribution<>(low, high)(random_); }

    struct Task {
        Clock::time_point due;
        std::uint64_t order;
        std::function<void()> work;
        bool operator<(const Task& other) const { return due != other.due ? due > other.due : order > other.order; }
    };

    const Options options_;
    const std::vector<Address> stack_;
    std::vector<std::pair<Clock::time_point, std::unique_ptr<Line>>> silent_;  // half open: nobody reads them
    std::mt19937 random_;
    std::vector<std::unique_ptr<Ua>> pbxes_;
    std::vector<std::unique_ptr<Ua>> phones_;
    std::priority_queue<Task> tasks_;
    std::unordered_map<std::string, Client> clients_;                // by branch and method
    std::unordered_map<std::string, Served> served_;                 // by user, branch and method
    std::unordered_map<std::string, std::shared_ptr<Dialog>> legs_;  // by user and Call-ID
    std::unordered_map<std::string, std::shared_ptr<Call>> calls_;   // by Call-ID, until they end
    std::uint64_t next_ = 0;
};

}  // namespace stress
