"""One call of the simulated phone, incoming or outgoing."""

import time
from typing import Any

import pjsua2 as pj

from .callbacks import guarded, header, received_message
from .events import EventWriter
from .media import RtpMeter, Tone
from .settings import PhoneSettings

METER_EVERY_S = 0.1
_HELD_BY = {pj.PJSUA_CALL_MEDIA_LOCAL_HOLD: "local", pj.PJSUA_CALL_MEDIA_REMOTE_HOLD: "remote"}


class PhoneCall(pj.Call):  # type: ignore[misc]  # pjsua2 has no types
    """Lives from the INVITE until `ended`; the owner drops it then, outside any callback."""

    def __init__(
        self,
        account: pj.Account,
        call_id: int,
        *,
        settings: PhoneSettings,
        events: EventWriter,
        failures: list[Exception],
    ) -> None:
        super().__init__(account, call_id)
        self.failures = failures
        self.ended = False
        self.answered = False
        self.meter = RtpMeter()
        self._settings = settings
        self._events = events
        self._tone: Tone | None = None
        self._answer_at: float | None = None
        self._hangup_at: float | None = None
        self._hung_up = False
        self._held_by: str | None = None
        self._media_seen = False
        self._meter_at = 0.0

    # ---- what the owner says ----

    def take(self) -> None:
        """Ring now (if told to) and answer later, from `tick`."""
        if self._settings.ring and self._settings.answer_code == 200:
            self._respond(180)
            self._events.emit("ringing", sip_call_id=self.sip_call_id)
        self._answer_at = time.monotonic() + self._settings.answer_after_s

    def place(self, uri: str) -> None:
        """Send the INVITE."""
        self.makeCall(uri, _audio_only())
        self._events.emit("calling", to=uri, sip_call_id=self.sip_call_id)

    def end(self) -> None:
        """Hang up, cancel or decline, whichever the state asks for. Idempotent."""
        if not self.ended and not self._hung_up:
            self._hung_up = True
            self.hangup(pj.CallOpParam())

    def hold(self) -> None:
        """Put the other side on hold with a re-INVITE."""
        self.setHold(_audio_only())

    def resume(self) -> None:
        """Take the other side off hold with a re-INVITE."""
        prm = _audio_only()
        prm.opt.flag = pj.PJSUA_CALL_UNHOLD
        self.reinvite(prm)

    def tick(self) -> None:
        """Do what is due, and read the meter."""
        now = time.monotonic()
        if self.ended:
            return
        if self._answer_at is not None and now >= self._answer_at:
            self._answer_at = None
            self._respond(self._settings.answer_code)
        if self._hangup_at is not None and now >= self._hangup_at:
            self._hangup_at = None
            self.end()
        elif self.answered and now >= self._meter_at:
            self._meter_at = now + METER_EVERY_S
            self._read_meter()

    @property
    def sip_call_id(self) -> str:
        """The dialog's Call-ID."""
        return str(self.getInfo().callIdString)

    # ---- what pjsip says ----

    @guarded
    def onCallState(self, prm: Any) -> None:
        """The dialog moved on."""
        info = self.getInfo()
        common = {"sip_call_id": info.callIdString}
        if info.state == pj.PJSIP_INV_STATE_EARLY:
            self._events.emit("progress", code=info.lastStatusCode, **common)
        elif info.state == pj.PJSIP_INV_STATE_CONFIRMED:
            self.answered = True
            if self._settings.hangup_after_s is not None:
                self._hangup_at = time.monotonic() + self._settings.hangup_after_s
            self._events.emit("answered", remote=info.remoteUri, **common)
        elif info.state == pj.PJSIP_INV_STATE_DISCONNECTED:
            if self.answered:
                self._read_meter()
            self.ended = True
            self._events.emit(
                "bye" if self.answered else "ended",
                by="local" if self._hung_up else "remote",
                code=info.lastStatusCode,
                reason=info.lastReason,
                reason_header=header(received_message(prm.e), "Reason"),
                rtp=self.meter.count.as_json(),
                **common,
            )

    @guarded
    def onCallMediaState(self, _prm: Any) -> None:
        """SDP was agreed on: play the tone and listen."""
        # Kept in a name: pjsua2's containers point into their owner and do not keep it alive.
        info = self.getInfo()
        for media in info.media:
            if media.type != pj.PJMEDIA_TYPE_AUDIO:
                continue
            self._tell_hold(_HELD_BY.get(media.status))
            if media.status == pj.PJSUA_CALL_MEDIA_ACTIVE:
                audio = self.getAudioMedia(media.index)
                if self._tone is None:
                    self._tone = Tone(hz=self._settings.tone_hz)
                self._tone.play_to(audio)
                # Decoded only when somebody listens: the null device does.
                audio.startTransmit(pj.Endpoint.instance().audDevManager().getPlaybackDevMedia())

    def _tell_hold(self, held_by: str | None) -> None:
        if held_by == self._held_by:
            return
        self._held_by = held_by
        if held_by is None:
            self._events.emit("resumed", sip_call_id=self.sip_call_id)
        else:
            self._events.emit("held", by=held_by, sip_call_id=self.sip_call_id)

    def _respond(self, code: int) -> None:
        prm = _audio_only()
        prm.statusCode = code
        self.answer(prm)

    def _read_meter(self) -> None:
        if not self.hasMedia():
            return
        self.meter.read(self)
        count = self.meter.count
        if count.received_packets and not self._media_seen:
            self._media_seen = True
            self._events.emit("media", rtp=count.as_json(), sip_call_id=self.sip_call_id)


def _audio_only() -> pj.CallOpParam:
    """Parameters for a call with one audio stream; pjsua would offer real-time text as well."""
    prm = pj.CallOpParam(True)
    prm.opt.audioCount, prm.opt.videoCount, prm.opt.textCount = 1, 0, 0
    return prm
