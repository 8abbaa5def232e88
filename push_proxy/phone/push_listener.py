"""The sleeping phone's only ear: an HTTP listener that takes the webhook push (docs/contracts.md).

POST /         a push
POST /hangup   end the running call; likewise /hold and /resume
GET  /status   what the phone is doing
"""

import hashlib
import hmac
import json
import queue
import re
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SIGNATURE_HEADER = "X-Push-Proxy-Signature"
COMMANDS = ("hangup", "hold", "resume")
MAX_BODY_BYTES = 64 * 1024
MAX_SIGNATURE_AGE_S = 300.0
_SIGNATURE = re.compile(r"t=(\d{1,12}),sha256=([0-9a-f]{64})")


def signature_fault(header: str | None, body: bytes, *, key: bytes, now: float) -> str | None:
    """Why the push's signature is not to be believed, or None when it is.

    The header is `t=<unix seconds>,sha256=<hex HMAC-SHA256 of "t.body">`.
    """
    match = _SIGNATURE.fullmatch(header or "")
    if match is None:
        return "no signature" if header is None else "malformed signature"
    sent_at, digest = match.groups()
    expected = hmac.new(key, sent_at.encode() + b"." + body, hashlib.sha256).hexdigest()
    if not hmac.compare_digest(expected, digest):
        return "wrong signature"
    if abs(now - int(sent_at)) > MAX_SIGNATURE_AGE_S:
        return "stale signature"
    return None


class PushListener:
    """Answers HTTP in threads of its own; pushes and commands wait in `inbox`.

    `inbox` holds ("push", payload), one of `COMMANDS` as in ("hangup", {}), and whatever the owner
    adds.
    """

    def __init__(
        self,
        address: tuple[str, int],
        *,
        key: bytes | None,
        status: Callable[[], dict[str, Any]],
        rejected: Callable[[str], None],
    ) -> None:
        """Raises OSError when `address` cannot be bound."""
        self.inbox: queue.SimpleQueue[tuple[str, dict[str, Any]]] = queue.SimpleQueue()
        self._key = key
        self._status = status
        self._rejected = rejected
        listener = self

        class Handler(_Handler):
            owner = listener

        self._server = ThreadingHTTPServer(address, Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        )

    @property
    def url(self) -> str:
        """Where pushes are to be sent."""
        host, port = self._server.server_address[:2]
        name = host if isinstance(host, str) else host.decode()
        return f"http://[{name}]:{port}/" if ":" in name else f"http://{name}:{port}/"

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Close the socket and end the threads."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def take_push(self, signature: str | None, body: bytes) -> tuple[int, str]:
        """Status and text that answer a push; a believed one goes to `inbox`."""
        if self._key is not None:
            fault = signature_fault(signature, body, key=self._key, now=time.time())
            if fault is not None:
                self._rejected(fault)
                return 401, fault
        try:
            payload = json.loads(body)
        except ValueError:
            self._rejected("no JSON")
            return 400, "the body is no JSON"
        if not isinstance(payload, dict):
            self._rejected("no JSON object")
            return 400, "the body is no JSON object"
        self.inbox.put(("push", payload))
        return 204, ""

    def current_status(self) -> dict[str, Any]:
        """What GET /status answers."""
        return self._status()


class _Handler(BaseHTTPRequestHandler):
    owner: PushListener
    protocol_version = "HTTP/1.1"
    timeout = 30

    def do_GET(self) -> None:
        if self.path != "/status":
            self._answer(404, "there is only /status")
            return
        self._answer(200, json.dumps(self.owner.current_status()), kind="application/json")

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "0")
        if not length.isdigit() or int(length) > MAX_BODY_BYTES:
            self.close_connection = True
            self._answer(413, f"send a Content-Length of at most {MAX_BODY_BYTES}")
            return
        body = self.rfile.read(int(length))
        if self.path.removeprefix("/") in COMMANDS:
            self.owner.inbox.put((self.path.removeprefix("/"), {}))
            self._answer(204, "")
            return
        status, text = self.owner.take_push(self.headers.get(SIGNATURE_HEADER), body)
        self._answer(status, text)

    def _answer(self, status: int, text: str, *, kind: str = "text/plain") -> None:
        data = text.encode()
        self.send_response(status)
        if status != 204:
            self.send_header("Content-Type", f"{kind}; charset=utf-8")
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if status != 204:
            self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the base class's name
        """Every request that matters is an event already."""
