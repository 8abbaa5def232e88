// stack_stress --seconds N --rate R [--seed S] [--t1-ms T]: calls at random against the real stack, to be run
// under ThreadSanitizer and AddressSanitizer. Exits with 0 when every call ended and nothing is left.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>

#include "authority.hpp"
#include "pj.hpp"
#include "stress_world.hpp"

namespace {

using namespace stress;

Options parse(int argc, char** argv) {
    Options options;
    for (int i = 1; i + 1 < argc; i += 2) {
        const std::string name = argv[i];
        const double value = std::atof(argv[i + 1]);
        if (name == "--seconds") {
            options.seconds = static_cast<int>(value);
        } else if (name == "--rate") {
            options.rate = value;
        } else if (name == "--seed") {
            options.seed = static_cast<unsigned>(value);
        } else if (name == "--t1-ms") {
            options.t1_ms = static_cast<unsigned>(value);
        } else {
            std::fprintf(stderr, "unknown option %s\n", argv[i]);
            std::exit(2);
        }
    }
    return options;
}

double resident_mb() {
    std::ifstream statm("/proc/self/statm");
    long size = 0;
    long resident = 0;
    statm >> size >> resident;
    return static_cast<double>(resident) * 4096 / 1e6;
}

// RFC 3261's timers, all scaled like T1 (table 4 of its annex A).
void set_timers(unsigned t1) {
    auto& tsx = pjsip_cfg()->tsx;
    tsx.t1 = t1;
    tsx.t2 = 8 * t1;
    tsx.t4 = 10 * t1;
    tsx.td = 64 * t1;
}

std::uint64_t live(const push_proxy::Stack& stack) {
    const auto counters = stack.counters();
    const auto found = counters.find("live.transactions");
    return found == counters.end() ? 0 : found->second;
}

void print(const char* title, const std::map<std::string, std::uint64_t>& numbers) {
    std::printf("%s:\n", title);
    for (const auto& [name, number] : numbers) std::printf("  %-32s %llu\n", name.c_str(), (unsigned long long)number);
}

}  // namespace

int main(int argc, char** argv) {
    const auto options = parse(argc, argv);
    set_timers(options.t1_ms);
    push_proxy::Settings settings;
    const wire::Authority authority;
    const auto shown = authority.issue({"IP:127.0.0.1"});
    settings.listen = {{"127.0.0.1", 0, "udp"}, {"127.0.0.1", 0, "tcp"}, {"127.0.0.1", 0, "tls"}};
    settings.tls = {shown.certificate, shown.key, "", false};
    settings.public_host = "127.0.0.1";
    settings.token_key = std::string(32, 'k');
    settings.timer_c_ms = 5000;
    push_proxy::Stack stack;
    const auto bound = stack.start(settings);

    World world(options, bound);
    Service service(stack, world.pbxes(), options.seed);
    world.register_phones();
    const auto began = Clock::now();
    int second = 0;
    double half_mb = 0;
    std::uint64_t most_live = 0;
    double took = 0;
    world.run([&] {
        most_live = std::max(most_live, live(stack));
        if (second == options.seconds) took = std::chrono::duration<double>(Clock::now() - began).count();
        if (second == options.seconds / 2) half_mb = resident_mb();
        if (second % 30 == 0) {
            std::printf("%4d s: %llu calls, %zu open, %llu transactions, %.0f MB\n", second,
                        (unsigned long long)world.tally["calls"], world.open(), (unsigned long long)live(stack),
                        resident_mb());
            std::fflush(stdout);
        }
        ++second;
    });
    service.rest();
    const double end_mb = resident_mb();
    // The last transactions live 64*T1 after their final response.
    const auto limit = Clock::now() + std::chrono::milliseconds(options.t1_ms * 64 * 2 + 10000);
    while ((live(stack) != 0 || service.held() != 0) && Clock::now() < limit) world.linger();
    auto faults = world.faults;
    if (live(stack) != 0) faults.push_back(std::to_string(live(stack)) + " transactions are left");
    if (service.held() != 0)
        faults.push_back(std::to_string(service.held()) + " calls are left in the service's hands");
    service.finish();
    const auto counters = stack.counters();
    stack.stop();
    for (const auto& fault : service.faults()) faults.push_back(fault);
    // Steady from the first half of a run that is longer than a transaction lives.
    if (options.seconds > 0.3 * options.t1_ms && end_mb > 1.25 * half_mb + 100)
        faults.push_back("memory grows: " + std::to_string(half_mb) + " MB at half time, " + std::to_string(end_mb));

    print("calls", world.tally);
    print("service", service.tally());
    print("stack", {counters.begin(), counters.end()});
    const auto calls = static_cast<double>(world.tally["calls"] + world.tally["outgoing"]);
    std::printf(
        "%.0f calls in %.1f s: %.1f/s (wanted %.1f/s); at most %llu transactions; %.0f MB at half time, %.0f "
        "MB at the end\n",
        calls, took, took > 0 ? calls / took : 0, options.rate, (unsigned long long)most_live, half_mb, end_mb);
    for (std::size_t i = 0; i < faults.size() && i < 20; ++i) std::printf("FAULT: %s\n", faults[i].c_str());
    std::printf("%zu faults\n", faults.size());
    return faults.empty() ? 0 : 1;
}
