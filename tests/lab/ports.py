"""Free loopback ports that two runs beside each other never share."""

from push_proxy.demo.ports import NoFreePortError, free_block, free_port

__all__ = ["NoFreePortError", "free_block", "free_port"]
