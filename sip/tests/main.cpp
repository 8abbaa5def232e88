// stack_tests [TEXT...]: runs the tests whose claim or file contains one of the texts; all without.
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstring>

#include "check.hpp"

namespace check {

std::vector<Test>& tests() {
    static std::vector<Test> all;
    return all;
}

}  // namespace check

namespace {

constexpr unsigned kLongest_s = 180;  // a hung test ends the run by SIGALRM

bool wanted(const check::Test& test, int argc, char** argv) {
    for (int i = 1; i < argc; ++i)
        if (std::strstr(test.claim, argv[i]) || std::strstr(test.file, argv[i])) return true;
    return argc == 1;
}

}  // namespace

int main(int argc, char** argv) {
    using Clock = std::chrono::steady_clock;
    const auto since = [](Clock::time_point start) {
        return static_cast<long long>(
            std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - start).count());
    };
    const auto began = Clock::now();
    int passed = 0;
    int failed = 0;
    for (const auto& test : check::tests()) {
        if (!wanted(test, argc, argv)) continue;
        alarm(kLongest_s);
        std::printf("  %s", test.claim);
        std::fflush(stdout);
        const auto start = Clock::now();
        try {
            test.run();
            ++passed;
            std::printf("  (%lld ms)\n", since(start));
        } catch (const std::exception& error) {
            ++failed;
            std::printf("\n    FAILED: %s\n", error.what());
        }
        std::fflush(stdout);
    }
    alarm(0);
    std::printf("%d passed, %d failed, %lld ms\n", passed, failed, since(began));
    return failed == 0 && passed > 0 ? 0 : 1;
}
