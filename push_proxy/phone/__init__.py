"""A simulated softphone on the official pjsua2 binding, in a process of its own.

While it sleeps it owns no SIP socket: only a small HTTP listener, which takes the push.
"""

from .main import main

__all__ = ["main"]
