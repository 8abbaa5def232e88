"""What the phone did, as one JSON object per line, for whoever follows it."""

import json
import os
import threading
import time
from typing import IO, Any


class EventWriter:
    """Writes `{"event": name, "at": unix seconds, …}` lines, from any thread."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def emit(self, event: str, **detail: Any) -> None:
        """Write one line at once; `detail` must be JSON."""
        line = json.dumps({"event": event, "at": round(time.time(), 6), **detail})
        with self._lock:
            self._stream.write(line + "\n")
            self._stream.flush()


def claim_stdout(*, keep_chatter: bool) -> IO[str]:
    """The process's standard output, for events alone.

    pjlib prints to file descriptor 1 before its log level can be set; from here on that goes
    to standard error, or nowhere.
    """
    events = os.fdopen(os.dup(1), "w", encoding="utf-8")
    if keep_chatter:
        os.dup2(2, 1)
    else:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.close(nowhere)
    return events
