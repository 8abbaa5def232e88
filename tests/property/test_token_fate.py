"""Tokens over any history of registrations, pushes and late answers."""

from dataclasses import dataclass, replace

from hypothesis import given
from hypothesis import strategies as st

from push_proxy.core.ids import AccountKey, DeviceId, Instant
from push_proxy.core.model import Device, TokenState
from push_proxy.core.token_fate import TokenNews, is_dead, learned

TOKENS = st.sampled_from(["t1", "t2"])


@dataclass(frozen=True)
class Register:
    """The app names a token: by PUT, or by a REGISTER that is no mere refresh."""

    token: str


@dataclass(frozen=True)
class Refresh:
    """A REGISTER of the same dialog goes on naming a token."""

    token: str


@dataclass(frozen=True)
class Kill:
    """The provider ends a token: the app was removed. It lives again when it is named."""

    token: str


@dataclass(frozen=True)
class Send:
    """A push leaves, if there is a token."""


@dataclass(frozen=True)
class Answer:
    """The provider's answer to one of the pushes on their way arrives, in any order."""

    which: int
    timed: bool
    """It says since when the token is dead."""


STEPS = st.lists(
    st.one_of(
        TOKENS.map(Register),
        TOKENS.map(Refresh),
        TOKENS.map(Kill),
        st.just(Send()),
        st.builds(Answer, st.integers(0, 5), st.booleans()),
    ),
    max_size=40,
)


class World:
    """The provider's truth beside what we know."""

    def __init__(self) -> None:
        self.now = 0.0
        self.device = Device(
            account=AccountKey("acme/alice"),
            device=DeviceId("phone"),
            provider="apns",
            app_id="app",
            token="",
        )
        self.dead_since: dict[str, float] = {}
        self.on_their_way: list[tuple[str, float, float | None]] = []
        self.known_dead: set[str] = set()

    def register(self, token: str) -> None:
        """As `http.device_body` and the registrar do it."""
        self.dead_since.pop(token, None)  # an app that names its token has one that works
        self.known_dead.discard(token)
        self.device = replace(self.device, token=token, token_fault=None, token_at=self.now)

    def refresh(self, token: str) -> None:
        """A dead token that is merely repeated stays dead."""
        if is_dead(self.device, token):
            return
        if token in self.dead_since:
            return  # an app that was removed sends nothing
        self.register(token)

    def send(self) -> None:
        if not self.device.has_target:
            return
        token = self.device.token
        assert token not in self.known_dead, "a dead token was pushed to again"
        # The provider decides when the push reaches it, long before its answer reaches us.
        self.on_their_way.append((token, self.now, self.dead_since.get(token)))

    def answer(self, step: Answer) -> None:
        if not self.on_their_way:
            return
        place = step.which % len(self.on_their_way)
        token, sent_at, dead_since = self.on_their_way.pop(place)
        since = None if dead_since is None or not step.timed else Instant(dead_since)
        news = TokenNews(
            token=token,
            sent_at=Instant(sent_at),
            state=TokenState.GOOD if dead_since is None else TokenState.DEAD,
            reason="Unregistered",
            dead_since=since,
        )
        before = self.device
        after = learned(before, news, Instant(self.now))
        if after.dropped:
            assert before.token in self.dead_since, "a live token was dropped"
            self.known_dead.add(before.token)
        elif dead_since is not None and before.token == token and token in self.dead_since:
            again = self.dead_since[token] != dead_since
            assert again, "the provider's word about a dead token was not believed"
        self.device = after.device


@given(STEPS)
def test_live_tokens_stay_and_dead_ones_are_left_alone(
    steps: list[Register | Refresh | Kill | Send | Answer],
) -> None:
    """However answers cross with rotations: no live token is dropped by an answer about its past,
    and none that we know to be dead is pushed to before the app names it again.
    """
    world = World()
    for step in steps:
        world.now += 1.0
        match step:
            case Register():
                world.register(step.token)
            case Refresh():
                world.refresh(step.token)
            case Kill():
                world.dead_since.setdefault(step.token, world.now)
            case Send():
                world.send()
            case Answer():
                world.answer(step)
