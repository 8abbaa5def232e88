"""Making apps prove who they are; strangers cannot tell a known AOR from an unknown one."""

import hashlib
from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass, field
from itertools import accumulate
from math import ceil

import structlog

from ..core.digest import held_algorithms
from ..core.ids import Instant
from ..core.message import Message
from ..core.model import Account, Algorithm, Credentials
from ..core.nonces import Asker, Nonces, Proof
from ..core.rates import Buckets
from ..core.trust import app_asker
from ..core.uri import MalformedUri, SipUri
from ..ports import Clock
from ..signaling.contract import Signaling
from ..signaling.facts import RequestReceived
from .changes import AccountChanged, Change
from .directory import Directory

GUESSES_PER_MINUTE = 30
"""Wrong passwords from one host for one AOR, known or not; more are refused unseen.

A phone with an old password asks twice a minute at most: others of its account, behind the
same NAT, go on. Only answers to challenges that this host was given count, so that nobody
can shut others out with a forged address.
"""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Form:
    """What a challenge shows of an account."""

    realm: str
    algorithms: tuple[Algorithm, ...]

    @property
    def order(self) -> tuple[str, tuple[Algorithm, ...]]:
        return self.realm, self.algorithms


@dataclass(slots=True)
class _Forms:
    """Forms of a set of accounts, and how many accounts have each."""

    counts: Counter[_Form] = field(default_factory=Counter)
    ordered: list[_Form] | None = None
    """Sorted, with the running totals in ``totals``; None: to be made again."""
    totals: list[int] = field(default_factory=list)

    def count(self, form: _Form, step: int) -> None:
        self.counts[form] += step
        if self.counts[form] <= 0:
            del self.counts[form]
        self.ordered = None

    def pick(self, number: int) -> _Form | None:
        """One of them by ``number``: each as often as accounts have it."""
        if self.ordered is None:
            self.ordered = sorted(self.counts, key=lambda form: form.order)
            self.totals = list(accumulate(self.counts[form] for form in self.ordered))
        if not self.ordered:
            return None
        return self.ordered[bisect_right(self.totals, number % self.totals[-1])]


class Challenger:
    """Judges credentials and sends 401 or 407 where they do not suffice."""

    def __init__(
        self,
        *,
        signaling: Signaling,
        directory: Directory,
        clock: Clock,
        nonces: Nonces,
        key: bytes,
    ) -> None:
        """``key``: secret bytes, the same after a restart: they choose what unknown AORs see."""
        self._signaling = signaling
        self._directory = directory
        self._clock = clock
        self._nonces = nonces
        self._key = key
        self._by_domain: dict[str, _Forms] = {}
        self._all = _Forms()
        self._guesses = Buckets(per_second=GUESSES_PER_MINUTE / 60, burst=GUESSES_PER_MINUTE)

    def start(self) -> None:
        """Learn the accounts known so far, and follow their changes."""
        for account in self._directory.accounts():
            self._count(account, 1)
        self._directory.subscribe(self._on_change)

    def proved(
        self, fact: RequestReceived, message: Message, account: Account | None, *, aor: str
    ) -> bool:
        """Whether the request proves ``account``; if not, the challenge has been sent.

        ``account`` None: an unknown AOR; ``aor`` is what was claimed.
        """
        registering = fact.method == "REGISTER"
        asker = None if account is None else app_asker(account, fact.source.host)
        if asker is None:
            account = None
            form = self._disguise(aor)
            asker = self._nobody(form.realm, aor, fact.source.host)
        else:
            form = _Form(asker.realm, held_algorithms(asker.credentials))
        answers = message.all("authorization" if registering else "proxy-authorization")
        now = self._clock.now()
        guesser = fact.source.host, _canonical(aor)
        if answers and (wait_s := self._guesses.wait_s(guesser, now)) > 0:
            retry = (("Retry-After", str(ceil(wait_s))),)
            self._signaling.reply(fact.txn, 503, "Too Many Wrong Passwords", headers=retry)
            return False
        proof = self._nonces.judge(answers, asker, method=fact.method, now=now)
        if proof is Proof.RIGHT and account is not None:
            return True
        if proof is Proof.WRONG and self._nonces.gave(answers, realm=form.realm, host=guesser[0]):
            self._count_guess(guesser, now)
        values = self._nonces.challenges(
            realm=form.realm,
            host=fact.source.host,
            algorithms=form.algorithms,
            stale=proof is Proof.STALE,
            now=now,
        )
        if registering:
            headers = [("WWW-Authenticate", value) for value in values]
            self._signaling.reply(fact.txn, 401, "Unauthorized", headers=headers)
        else:
            headers = [("Proxy-Authenticate", value) for value in values]
            self._signaling.reply(fact.txn, 407, "Proxy Authentication Required", headers=headers)
        return False

    def _count_guess(self, guesser: tuple[str, str], now: Instant) -> None:
        self._guesses.take(guesser, now)
        if self._guesses.wait_s(guesser, now) > 0:
            _log.warning(
                "too many wrong passwords: refused unseen for a while",
                host=guesser[0],
                aor=guesser[1],
            )

    def _nobody(self, realm: str, aor: str, host: str) -> Asker:
        """Somebody whom no answer can prove, so that the work done is the same."""
        secret = hashlib.sha256(self._key + b"nobody" + aor.encode()).hexdigest()
        return Asker(user=aor, realm=realm, credentials=Credentials(password=secret), host=host)

    def _disguise(self, aor: str) -> _Form:
        """What an unknown AOR is shown: a form that accounts of its domain have.

        Always the same for an AOR, and each form as often as among the accounts there are.
        """
        aor = _canonical(aor)
        number = int.from_bytes(hashlib.sha256(self._key + aor.encode()).digest()[:8], "big")
        domain = _domain(aor)
        forms = self._by_domain.get(domain, self._all)
        return forms.pick(number) or _Form(domain, (Algorithm.MD5, Algorithm.SHA256))

    def _on_change(self, change: Change) -> None:
        if isinstance(change, AccountChanged):
            if change.old is not None:
                self._count(change.old, -1)
            if change.new is not None:
                self._count(change.new, 1)

    def _count(self, account: Account, step: int) -> None:
        asker = app_asker(account, "")
        if asker is None:
            return
        domain = _domain(account.aor)
        form = _Form(asker.realm, held_algorithms(asker.credentials))
        domain = _domain(account.aor)
        forms = self._by_domain.setdefault(domain, _Forms())
        forms.count(form, step)
        self._all.count(form, step)
        if not forms.counts:
            del self._by_domain[domain]


def _canonical(aor: str) -> str:
    try:
        return SipUri.parse(aor).aor
    except MalformedUri:
        return aor


def _domain(aor: str) -> str:
    try:
        return SipUri.parse(aor).host
    except MalformedUri:
        return "sip"
