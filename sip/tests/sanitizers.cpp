// What the sanitizers find in pjproject itself and we leave there, each with its reason.
//
// (Our own code is compiled so that any finding ends the run.)
extern "C" const char* __ubsan_default_options() { return "print_stacktrace=1:suppressions=" UBSAN_SUPPRESSIONS; }
// A report is an exit status of 66, whatever the tests say.
extern "C" const char* __tsan_default_options() { return "second_deadlock_stack=1:suppressions=" TSAN_SUPPRESSIONS; }
