"""The body of PUT /v1/accounts/{account}, and rows of an import."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field
from pydantic.config import JsonDict

from ..settings_types import Transport
from .fields import Body, Name, Quotable, Text
from .policy_body import PolicyBody

Seconds = Annotated[float, Field(allow_inf_nan=False)]
_Uri = Annotated[str, Field(min_length=5, max_length=512)]
Ha1Md5 = Annotated[str, Field(pattern=r"^[0-9a-fA-F]{32}$")]
Ha1Sha256 = Annotated[str, Field(pattern=r"^[0-9a-fA-F]{64}$")]
_Password = Annotated[Text, Field(description="Write-only: omitted keeps it, null removes it.")]


class Ha1Body(Body):
    """HA1 = H(user:realm:password) per algorithm, in hex (RFC 7616 §3.4.2)."""

    md5: Ha1Md5 | None = Field(None, alias="MD5", repr=False)
    sha256: Ha1Sha256 | None = Field(None, alias="SHA-256", repr=False)


class WakeBody(Body):
    """The account's own wake settings; omitted or null takes the service's."""

    deadline_s: Annotated[Seconds, Field(ge=5, le=60)] | None = None
    ringing: Literal["push_accepted", "immediately", "device_rings"] | None = None
    repush_after_s: Annotated[Seconds, Field(gt=0, le=60)] | None = None
    fresh_s: Annotated[Seconds, Field(ge=0, le=3600)] | None = None
    ack_s: Annotated[Seconds, Field(gt=0, le=60)] | None = None
    late_invite_s: Annotated[Seconds, Field(ge=0, le=120)] | None = None
    ring_mode: Literal["all_at_once", "together"] | None = None
    together_s: Annotated[Seconds, Field(gt=0, le=60)] | None = None


class AppAuthBody(Body):
    """What the app proves when it registers with us; one of password and ha1."""

    user: Quotable | None = Field(None, description="Default: the AOR's user.")
    realm: Quotable | None = Field(None, description="Default: the AOR's host.")
    password: _Password | None = Field(None, repr=False)
    ha1: Ha1Body | None = Field(
        None, repr=False, description="Made for exactly this user and realm. Write-only."
    )


_EXAMPLE: JsonDict = {
    "aor": "sip:101@pbx.example.com",
    "registrar": "sip:pbx.example.com",
    "password": "a secret",
}


class AccountBody(Body):
    """An account: one AOR at one PBX. Omitted fields take their defaults, secrets are kept."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    aor: _Uri = Field(description="`sip:user@host`; unique in the service.")
    topology: Literal["hold", "trunk"] = Field(
        "hold",
        description="`hold`: we register at the PBX. `trunk`: the PBX sends calls to us as a peer.",
    )
    pbx: Name | None = Field(
        None, description="Name of a configured PBX (`pbxes`); this or `registrar`."
    )
    registrar: _Uri | None = Field(
        None,
        description="`sip:host[:port]`, with `;transport=` if wanted, or `sips:host`; this or "
        "`pbx`.",
    )
    outbound_proxy: _Uri | None = Field(
        None, description="As `registrar`, and with it: where its requests go instead."
    )
    transport: Transport | None = Field(
        None,
        description="Toward `registrar`. Default: what the URI says, else DNS, else `udp`. A "
        "configured `pbx` has its own.",
    )
    auth_user: Quotable | None = Field(
        None, description="Digest user at the PBX. Default: the AOR's user."
    )
    password: _Password | None = Field(None, repr=False)
    ha1: Ha1Body | None = Field(
        None, repr=False, description="Instead of a password, with `realm`. Write-only."
    )
    realm: Quotable | None = Field(None, description="The realm that `ha1` was made for.")
    app_auth: AppAuthBody | None = Field(
        None,
        description="What the app proves to us: omitted keeps it, null removes it (then it is "
        "the PBX credentials). Needed in `trunk`.",
    )
    register_: Literal["with_device", "always"] = Field(
        "with_device",
        alias="register",
        description="When we are registered at the PBX: from the first device to the last, or "
        "always.",
    )
    enabled: bool = Field(True, description="False: kept, without any SIP.")  # noqa: FBT003
    expires_s: Annotated[int, Field(ge=60, le=86_400)] | None = Field(
        None, description="Asked of the PBX, seconds. Default: the PBX's setting, else 600."
    )
    wake: WakeBody = WakeBody()
    policy: PolicyBody = PolicyBody()
    language: Annotated[
        str | None,
        Field(pattern=r"^[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*$", max_length=35, examples=["de-CH"]),
    ] = None
    region: Annotated[str | None, Field(pattern=r"^[A-Za-z0-9._-]+$", max_length=64)] = None


class ImportRow(AccountBody):
    """One line of an import: an account with its name."""

    account: Name
