"""``recorder`` of the configuration as the recorder takes it, with its password read."""

from pathlib import Path

from ..errors import ConfigurationError
from ..recording_ports import RecordingStore
from ..runtime.calls import Calls
from ..runtime.clock import TimerClock
from ..runtime.directory import Directory
from ..settings_recorder import RecorderSection, parse_collector
from ..signaling.contract import Signaling
from .gathering import Bounds
from .hep_export import HepExport, HepTarget
from .recorder import Recorder, RecorderRules


def open_recorder(
    section: RecorderSection,
    *,
    signaling: Signaling,
    directory: Directory,
    store: RecordingStore,
    calls: Calls,
    clock: TimerClock,
) -> Recorder:
    """A recorder that hears of calls and devices. Raises `errors.ConfigurationError`."""
    recorder = Recorder(
        signaling=signaling,
        directory=directory,
        store=store,
        clock=clock,
        ongoing=calls.ongoing,
    )
    calls.watch_turns(recorder.on_call)
    directory.subscribe(recorder.on_change)
    recorder.configure(recorder_rules(section))
    return recorder


def recorder_rules(section: RecorderSection) -> RecorderRules:
    """The rules. Raises `errors.ConfigurationError`."""
    hep = None
    if section.hep is not None:
        host, port = parse_collector(section.hep.address)
        secret = section.hep.password_file
        password = b"" if secret is None else _read(secret)
        target = HepTarget(
            host=host, port=port, capture_id=section.hep.capture_id, password=password
        )
        hep = HepExport(target)
    return RecorderRules(
        enabled=section.enabled,
        keep_s=section.keep_s,
        bounds=Bounds(messages=section.messages_per_call, bytes=section.bytes_per_call),
        hep=hep,
    )


def _read(path: Path) -> bytes:
    key = "recorder.hep.password_file"
    try:
        password = path.read_bytes().strip()
    except OSError as error:
        raise ConfigurationError(f"{key}: cannot read {path}: {error.strerror}") from None
    if not password:
        raise ConfigurationError(f"{key}: {path} is empty; put the collector's password into it")
    return password
