"""The main job end to end on one machine, beside a real PBX (`push-proxy demo`)."""

from .main import main

__all__ = ["main"]
