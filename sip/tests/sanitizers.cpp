// What the sanitizers find in pjproject itself and we leave there, each with its reason.
//
// (Our own code is compiled so that any finding ends the run.)
extern "C" const char* __ubsan_default_options() { return "print_stacktrace=1:suppressions=" SUPPRESSIONS; }
