"""Structured logs: one JSON object per line, on standard error.

A call's lines carry its ``call_id``: given by name, or bound around its pushes (whatever a
provider says then is about that call). The SIP stack's own lines come through `StackLogs`, sampled.
"""

import logging
import sys
import time
from typing import TextIO

import structlog
from structlog.types import Processor

from ..errors import ConfigurationError
from ..signaling.facts import StackLog
from . import redaction
from .sampling import Sampler, kind_of

LEVELS = ("debug", "info", "warning", "error")
_told = logging.NOTSET
_STACK_LEVELS = {0: logging.ERROR, 1: logging.ERROR, 2: logging.WARNING, 3: logging.INFO}


def configure_logs(level: str = "info", *, stream: TextIO | None = None, json: bool = True) -> None:
    """Set up logging for the whole process; other libraries' warnings get the same form.

    ``json`` false is for people at a terminal. Raises `errors.ConfigurationError` for an
    unknown level.
    """
    if level not in LEVELS:
        raise ConfigurationError(f"log level {level!r} is unknown: use one of {', '.join(LEVELS)}")
    global _told  # noqa: PLW0603 - logging is the process's
    _told = number = logging.getLevelNamesMapping()[level.upper()]
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
        structlog.processors.StackInfoRenderer(),
        redaction.processor,
    ]
    rendering: list[Processor] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
        if json
        else [
            # Not rich's tracebacks, which show variables: tokens and keys are among them.
            structlog.dev.ConsoleRenderer(
                colors=False, exception_formatter=structlog.dev.plain_traceback
            )
        ]
    )
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    # Below a warning libraries tell each request, and HTTP clients its headers with our keys.
    root.setLevel(max(number, logging.WARNING))
    target = stream or sys.stderr
    structlog.configure(
        # Our own lines skip the standard library: they are written in the call path.
        processors=[*(p for p in shared if not isinstance(p, structlog.stdlib.ExtraAdder)),
                    *rendering],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(file=target),
        cache_logger_on_first_use=False,
    )  # fmt: skip


def are_told(level: int) -> bool:
    """Whether lines of this level are written: worth asking before one is made for each call."""
    return level >= _told


class StackLogs:
    """Logs what the SIP stack says about itself, without letting strangers fill the disk."""

    def __init__(self, *, burst: int = 5, window_s: float = 10.0) -> None:
        self._sampler = Sampler(burst=burst, window_s=window_s)
        self._log = structlog.get_logger("push_proxy.sip_stack")

    def take(self, fact: StackLog) -> None:
        """Log it, unless too many of its kind came lately; the next one says how many."""
        left_out = self._sampler.admit(kind_of(fact.text), time.monotonic())
        if left_out is None:
            return
        more = {"left_out": left_out} if left_out else {}
        level = _STACK_LEVELS.get(fact.level, logging.DEBUG)
        self._log.log(level, redaction.uri(redaction.message(fact.text.strip())), **more)
