"""How a command ends that cannot do what it was asked: one clear message, never a traceback."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from .errors import ConfigurationError, PushProxyError

EXIT_FAILED = 1
EXIT_CONFIGURATION = 2


@contextmanager
def clear_errors() -> Iterator[None]:
    """Faults raised on purpose end the program with one message; others are bugs and show."""
    try:
        yield
    except PushProxyError as error:
        print(f"push-proxy: {error}", file=sys.stderr)  # noqa: T201 - a command prints
        status = EXIT_CONFIGURATION if isinstance(error, ConfigurationError) else EXIT_FAILED
        raise typer.Exit(status) from None
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
