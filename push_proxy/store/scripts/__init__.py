"""The Lua scripts: each changes several keys of one hash slot at once."""

from hashlib import sha1
from pathlib import Path

_FOLDER = Path(__file__).parent
_by_sha: dict[str, "Script"] = {}


class Script:
    """One script, known to the server by the hash of its text."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.text = (_FOLDER / f"{name}.lua").read_text()
        # The server's own naming of scripts, not a protection.
        self.sha = sha1(self.text.encode(), usedforsecurity=False).hexdigest()
        _by_sha[self.sha] = self


def by_sha(sha: str) -> Script:
    """The script that the server knows by this hash."""
    return _by_sha[sha]


PUT_ACCOUNT = Script("put_account")
DELETE_ACCOUNT = Script("delete_account")
CLAIM = Script("claim")
UNCLAIM = Script("unclaim")
PUT_DEVICE = Script("put_device")
DELETE_DEVICE = Script("delete_device")
PUT_BINDING = Script("put_binding")
DELETE_BINDING = Script("delete_binding")
HOLD_INVITE = Script("hold_invite")
UPDATE_HELD = Script("update_held")
PUT_CALL = Script("put_call")
INDEX_CALLS = Script("index_calls")
PUT_RECORDING = Script("put_recording")
SHARE = Script("share")
PUT_EVENTS = Script("put_events")
CLAIM_EVENTS = Script("claim_events")
POSTPONE_EVENT = Script("postpone_event")
REMOVE_EVENT = Script("remove_event")
PUT_DEAD_LETTER = Script("put_dead_letter")
DELETE_DEAD_LETTERS = Script("delete_dead_letters")
ERASE_DEAD_LETTERS = Script("erase_dead_letters")
RESEAL_DEAD_LETTER = Script("reseal_dead_letter")
PUT_MISSED_CALL = Script("put_missed_call")
SEE_MISSED_CALLS = Script("see_missed_calls")
PUT_MAILBOX = Script("put_mailbox")
PUT_WAKES = Script("put_wakes")
PUT_APP_LOG = Script("put_app_log")
RESEAL_APP_LOG = Script("reseal_app_log")
KEEP_MESSAGE = Script("keep_message")
DROP_MESSAGE = Script("drop_message")
LEASE_ACQUIRE = Script("lease_acquire")
LEASE_RENEW = Script("lease_renew")
LEASE_RELEASE = Script("lease_release")
LEASE_CLAIM_REGISTRATION = Script("lease_claim_registration")
LEASE_PUT_REGISTRATION = Script("lease_put_registration")
NODE_BEAT = Script("node_beat")
NODE_LEAVE = Script("node_leave")

ALL = (
    PUT_ACCOUNT,
    DELETE_ACCOUNT,
    CLAIM,
    UNCLAIM,
    PUT_DEVICE,
    DELETE_DEVICE,
    PUT_BINDING,
    DELETE_BINDING,
    HOLD_INVITE,
    UPDATE_HELD,
    PUT_CALL,
    INDEX_CALLS,
    PUT_RECORDING,
    SHARE,
    PUT_EVENTS,
    CLAIM_EVENTS,
    POSTPONE_EVENT,
    REMOVE_EVENT,
    PUT_DEAD_LETTER,
    DELETE_DEAD_LETTERS,
    ERASE_DEAD_LETTERS,
    RESEAL_DEAD_LETTER,
    PUT_MISSED_CALL,
    SEE_MISSED_CALLS,
    PUT_MAILBOX,
    PUT_WAKES,
    PUT_APP_LOG,
    RESEAL_APP_LOG,
    KEEP_MESSAGE,
    DROP_MESSAGE,
    LEASE_ACQUIRE,
    LEASE_RENEW,
    LEASE_RELEASE,
    LEASE_CLAIM_REGISTRATION,
    LEASE_PUT_REGISTRATION,
    NODE_BEAT,
    NODE_LEAVE,
)
