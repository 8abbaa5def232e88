"""The phone's sound: a tone that it plays, and the RTP that it receives."""

from dataclasses import asdict, dataclass

import pjsua2 as pj

CLOCK_HZ = 8000
"""Everything runs at G.711's rate, as this pjproject is built without a resampler."""
CODECS = ("PCMU/8000", "PCMA/8000")


@dataclass(frozen=True, slots=True, kw_only=True)
class RtpCount:
    """RTP of one call so far."""

    received_packets: int = 0
    received_bytes: int = 0
    received_lost: int = 0
    sent_packets: int = 0
    sent_bytes: int = 0
    loudest: int = 0
    """Highest level heard after decoding, 0 (silence) to 100: packets alone may carry nothing."""

    def as_json(self) -> dict[str, int]:
        """For an event."""
        return asdict(self)


class Tone:
    """An endless tone. Must be dropped before the endpoint is destroyed."""

    def __init__(self, *, hz: int) -> None:
        self._generator = pj.ToneGenerator()
        self._generator.createToneGenerator(CLOCK_HZ, 1)
        tone = pj.ToneDesc()
        tone.freq1, tone.freq2, tone.on_msec, tone.off_msec = hz, 0, 1000, 0
        tones = pj.ToneDescVector()
        tones.append(tone)
        self._generator.play(tones, True)

    def play_to(self, media: pj.AudioMedia) -> None:
        """Let `media` send it."""
        self._generator.startTransmit(media)


class RtpMeter:
    """Reads a call's stream statistics while they exist, and keeps the last ones."""

    def __init__(self) -> None:
        self.count = RtpCount()
        self._loudest = 0

    def read(self, call: pj.Call) -> None:
        """Take the current numbers; raises pj.Error when the call has no stream any more."""
        stat = call.getStreamStat(0)  # kept in a name: its parts point into it
        rtcp = stat.rtcp
        # "Tx" is the bridge's view: what this port, the far end, sends into it.
        self._loudest = max(self._loudest, call.getAudioMedia(-1).getTxLevel())
        self.count = RtpCount(
            received_packets=rtcp.rxStat.pkt,
            received_bytes=rtcp.rxStat.bytes,
            received_lost=rtcp.rxStat.loss,
            sent_packets=rtcp.txStat.pkt,
            sent_bytes=rtcp.txStat.bytes,
            loudest=self._loudest,
        )


def prefer_g711(endpoint: pj.Endpoint) -> None:
    """Switch every codec off that would need a resampler."""
    for codec in endpoint.codecEnum2():
        wanted = codec.codecId.startswith(CODECS)
        endpoint.codecSetPriority(codec.codecId, 128 if wanted else 0)
