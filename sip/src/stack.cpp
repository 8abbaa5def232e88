#include "stack.hpp"

#include <signal.h>

#include <chrono>
#include <pjsua2.hpp>

#include "capture_tap.hpp"
#include "engine.hpp"

namespace push_proxy {
namespace {

constexpr unsigned kPollMs = 500;  // orders and packets wake the poll at once

// pjsip's log lines become facts; level 2 (warning) and worse. A flood of bad packets must neither
// fill the fact queue nor the log, and a whole packet (credentials included) belongs in neither.
class LogFacts : public pj::LogWriter {
   public:
    explicit LogFacts(FactQueue& facts) : facts_(facts) {}
    void write(const pj::LogEntry& entry) override {
        const auto now = std::chrono::steady_clock::now();
        if (now - window_ >= std::chrono::seconds(1)) {
            window_ = now;
            written_ = 0;
        }
        if (++written_ > kLinesPerSecond || facts_.full()) return;
        Fact fact = make_fact(FactKind::log);
        fact.status = entry.level;
        fact.text = entry.msg.substr(0, entry.msg.find_first_of("\r\n"));
        facts_.push(std::move(fact));
    }

   private:
    static constexpr int kLinesPerSecond = 20;
    FactQueue& facts_;
    std::chrono::steady_clock::time_point window_{};
    int written_ = 0;
};

// The datagram that announces orders, as pjsip's ioqueue sees it.
struct Doorbell {
    Engine& engine;
    pj_ioqueue_key_t* key = nullptr;
    pj_ioqueue_op_key_t operation{};
    char buffer[16];

    void listen() {
        for (;;) {
            pj_ssize_t size = sizeof buffer;
            if (pj_ioqueue_recv(key, &operation, buffer, &size, 0) != PJ_SUCCESS) return;  // pending
        }
    }
    static void on_read(pj_ioqueue_key_t* key, pj_ioqueue_op_key_t*, pj_ssize_t) {
        auto* bell = static_cast<Doorbell*>(pj_ioqueue_get_user_data(key));
        bell->listen();
        bell->engine.serve_orders();
    }
};

// Construction throws when this process has a stack already.
struct Library {
    pj::Endpoint endpoint;
    ~Library() {
        try {
            // Nothing to unregister. With reception on, pjsua would swallow packets for another second.
            endpoint.libDestroy(PJSUA_DESTROY_NO_NETWORK);
        } catch (const pj::Error&) {
            // Thrown when the library was never created, and then the first error says why.
        }
    }
};

pj::EpConfig endpoint_config(LogFacts* log) {
    pj::EpConfig config;
    config.uaConfig.threadCnt = 0;  // ours is the only thread
    config.uaConfig.maxCalls = 1;
    config.uaConfig.mwiUnsolicitedEnabled = false;
    config.medConfig.threadCnt = 0;  // media never passes here
    config.medConfig.hasIoqueue = false;
    config.logConfig.level = 2;
    config.logConfig.consoleLevel = 0;
    config.logConfig.msgLogging = 0;
    config.logConfig.writer = log;
    return config;
}

}  // namespace

Stack::~Stack() { stop(); }

std::vector<Address> Stack::start(const Settings& settings) {
    if (thread_.joinable()) throw std::runtime_error("the SIP stack has been started already");
    auto tls = std::make_shared<TlsContexts>(settings.tls, settings.tls_clients);
    facts_.set_limit(settings.queue_limit);
    orders_.clear();
    std::promise<std::vector<Address>> started;
    auto bound = started.get_future();
    thread_ = std::thread(&Stack::run, this, settings, std::move(tls), std::move(started));
    try {
        return bound.get();
    } catch (...) {
        thread_.join();
        throw;
    }
}

void Stack::stop() {
    if (!thread_.joinable()) return;
    order(StopOrder{});
    thread_.join();
}

Counters Stack::counters() const {
    std::lock_guard lock(counters_mutex_);
    return counters_;
}

void Stack::renew_tls(const std::optional<TlsFiles>& tls, const std::map<std::string, TlsFiles>& tls_clients) {
    order(RenewTlsOrder{std::make_shared<TlsContexts>(tls, tls_clients)});
}

void Stack::run(Settings settings, Tls tls, std::promise<std::vector<Address>> started) {
    // OpenSSL writes to sockets that may have been closed; signals are the main thread's.
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, nullptr);
    bool announced = false;
    try {
        serve(std::move(settings), std::move(tls), [&](std::vector<Address> bound) {
            started.set_value(std::move(bound));
            announced = true;
        });
        return;
    } catch (const pj::Error& error) {
        failure_ = error.info();
    } catch (const std::exception& error) {
        failure_ = error.what();
    }
    if (!announced) return started.set_exception(std::make_exception_ptr(std::runtime_error(failure_)));
    Fact fact = make_fact(FactKind::log);
    fact.status = 0;
    fact.text = "the SIP thread has ended by an error: " + failure_;
    facts_.push(std::move(fact));
}

void Stack::serve(Settings settings, Tls tls, const std::function<void(std::vector<Address>)>& announce) {
    pj_log_set_level(0);  // until libInit hands us the log, pjlib prints to standard output
    Library library;
    auto& endpoint = library.endpoint;
    endpoint.libCreate();
    // pjsua2 owns the writer and deletes it with the library.
    endpoint.libInit(endpoint_config(new LogFacts(facts_)));
    endpoint.libStart();
    auto* pjsip = pjsua_get_pjsip_endpt();
    // RFC 3261 18.1.1 would move requests above 1,300 bytes to TCP: a UDP phone behind NAT has none.
    pjsip_cfg()->endpt.disable_tcp_switch = PJ_TRUE;
    {
        CaptureTap tap(pjsip, capture_);
        Engine engine(std::move(settings), pjsip, std::move(tls), facts_, orders_, counters_mutex_, counters_);
        auto bound = engine.listen();
        auto* pool = pjsip_endpt_create_pool(pjsip, "orders", 512, 512);
        Doorbell bell{.engine = engine, .buffer = {}};
        pj_ioqueue_callback callback{};
        callback.on_read_complete = &Doorbell::on_read;
        check(pj_ioqueue_register_sock(pool, pjsip_endpt_get_ioqueue(pjsip), orders_.share(), &bell, &callback,
                                       &bell.key),
              "order queue");
        pj_ioqueue_op_key_init(&bell.operation, sizeof bell.operation);
        bell.listen();
        announce(std::move(bound));
        while (!engine.stopping()) {
            bool waited = false;
            guarded("connection", [&] { waited = engine.wait(kPollMs); });
            endpoint.libHandleEvents(waited ? 0 : kPollMs);
            guarded("pause", [&] { engine.tidy(); });
        }
        pj_ioqueue_unregister(bell.key);
        pjsip_endpt_release_pool(pjsip, pool);
    }
}

}  // namespace push_proxy
