"""Child processes with a log file that are stopped for sure."""

from push_proxy.demo.process import Process, ProcessError, poll_until

__all__ = ["Process", "ProcessError", "poll_until"]
