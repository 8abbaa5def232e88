// The test harness: a test is a claim and the code that proves it; the first failed check ends it.
#pragma once

#include <functional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace check {

struct Test {
    const char* file;
    const char* claim;
    std::function<void()> run;
};

std::vector<Test>& tests();

struct Registration {
    Registration(const char* file, const char* claim, std::function<void()> run) {
        tests().push_back({file, claim, std::move(run)});
    }
};

struct Failure : std::runtime_error {
    using std::runtime_error::runtime_error;
};

[[noreturn]] inline void fail(const char* file, int line, const std::string& what) {
    std::ostringstream out;
    out << file << ':' << line << ": " << what;
    throw Failure(out.str());
}

template <class A, class B>
void equal(const A& got, const B& wanted, const char* text, const char* file, int line) {
    if (got == wanted) return;
    std::ostringstream out;
    out << text << "\n      got:    " << got << "\n      wanted: " << wanted;
    fail(file, line, out.str());
}

}  // namespace check

#define CHECK_JOIN2(a, b) a##b
#define CHECK_JOIN(a, b) CHECK_JOIN2(a, b)
#define TEST(claim)                                                                                    \
    static void CHECK_JOIN(test_, __LINE__)();                                                         \
    static const check::Registration CHECK_JOIN(registration_, __LINE__)(__FILE__, claim,              \
                                                                         CHECK_JOIN(test_, __LINE__)); \
    static void CHECK_JOIN(test_, __LINE__)()
#define CHECK(condition)                                                            \
    do {                                                                            \
        if (!(condition)) check::fail(__FILE__, __LINE__, "not true: " #condition); \
    } while (false)
#define CHECK_EQ(got, wanted) check::equal(got, wanted, #got " == " #wanted, __FILE__, __LINE__)
