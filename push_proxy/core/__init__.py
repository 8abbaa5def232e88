"""The pure core: values, decisions and state machines. No I/O, no clock, no logger."""
