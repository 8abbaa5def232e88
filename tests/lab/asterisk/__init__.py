"""Asterisk 22 out of Debian sid, started by the tests without being installed."""

from .options import AsteriskOptions, Extension, Trunk
from .server import Asterisk, AsteriskContact, Channel
from .trace import Packet

__all__ = [
    "Asterisk",
    "AsteriskContact",
    "AsteriskOptions",
    "Channel",
    "Extension",
    "Packet",
    "Trunk",
]
