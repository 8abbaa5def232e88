"""The configuration files of one Asterisk.

Dialplan, context `phones`, which every extension calls and transfers in:

| called | what happens |
|---|---|
| `101` | `Dial(PJSIP/101)`: one contact rings |
| `7101` | all contacts of 101 ring |
| `8101` | 101 rings for `impatient_s` |
| `echo` | answers and returns the sound, 30 s at most |
| `hold` | answers and is silent, 30 s at most |
| `ring` | rings for 30 s |
| `away-101` | 302 to `101` |
| a user of the trunk | `Dial(PJSIP/user@trunk)` |

A MESSAGE outside a call goes to the extension that it names; every extension has a hint.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from . import installation
from .options import AsteriskOptions, Extension, Trunk

CONTEXT = "phones"
MESSAGES = "messages"
RTP_PORTS = 64

_MODULES = """
    res_pjproject res_sorcery_config res_sorcery_memory res_sorcery_astdb res_timing_timerfd
    res_rtp_asterisk res_pjsip res_pjsip_session res_pjsip_acl res_pjsip_authenticator_digest
    res_pjsip_caller_id res_pjsip_dialog_info_body_generator res_pjsip_diversion
    res_pjsip_dlg_options res_pjsip_dtmf_info res_pjsip_empty_info
    res_pjsip_endpoint_identifier_ip res_pjsip_endpoint_identifier_user res_pjsip_exten_state
    res_pjsip_header_funcs res_pjsip_logger res_pjsip_messaging res_pjsip_mwi
    res_pjsip_mwi_body_generator res_pjsip_nat res_pjsip_outbound_authenticator_digest
    res_pjsip_outbound_publish
    res_pjsip_path res_pjsip_pidf_body_generator res_pjsip_pubsub res_pjsip_refer
    res_pjsip_registrar res_pjsip_rfc3326 res_pjsip_sdp_rtp res_pjsip_xpidf_body_generator
    chan_pjsip func_pjsip_aor func_pjsip_contact func_pjsip_endpoint func_callerid func_channel
    func_hangupcause func_timeout pbx_config app_dial app_echo app_stack app_transfer app_voicemail
    bridge_builtin_features bridge_builtin_interval_features bridge_holding bridge_native_rtp
    bridge_simple bridge_softmix codec_alaw codec_ulaw format_pcm format_wav
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where one Asterisk has its files and ports."""

    directory: Path
    root: Path
    port: int
    """UDP and TCP."""
    tls_port: int
    rtp_port: int
    """The first of `RTP_PORTS`."""
    log: Path


def write(options: AsteriskOptions, places: Places) -> None:
    """Write all files into `places.directory`."""
    for name in ("etc", "lib", "spool", "run", "log", "keys"):
        (places.directory / name).mkdir(parents=True, exist_ok=True)
    etc = places.directory / "etc"
    files = {
        "asterisk.conf": _asterisk(places),
        "modules.conf": _modules(),
        "logger.conf": f"[general]\ndateformat=%T.%3q\n[logfiles]\n{places.log} => "
        "notice,warning,error,verbose\n",
        "rtp.conf": _section(
            "general", rtpstart=places.rtp_port, rtpend=places.rtp_port + RTP_PORTS - 1
        ),
        "pjsip.conf": _pjsip(options, places),
        "extensions.conf": _dialplan(options),
        "voicemail.conf": _voicemail(options),
    }
    for name, text in files.items():
        (etc / name).write_text(text)


def _section(name: str, settings: Mapping[str, object] | None = None, **more: object) -> str:
    lines = [f"{key}={_value(value)}" for key, value in {**(settings or {}), **more}.items()]
    return "\n".join([f"[{name}]", *lines, "", ""])


def _value(value: object) -> object:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else value


def _asterisk(places: Places) -> str:
    here, share = places.directory, places.root / "usr/share/asterisk"
    directories = {
        "astetcdir": here / "etc",
        "astmoddir": installation.modules(places.root),
        "astvarlibdir": here / "lib",
        "astdbdir": here / "lib",
        "astkeydir": here / "keys",
        "astdatadir": share,
        "astagidir": share / "agi-bin",
        "astspooldir": here / "spool",
        "astrundir": here / "run",
        "astlogdir": here / "log",
    }
    return _section("directories", directories) + _section("options", verbose=3)


def _modules() -> str:
    lines = ["[modules]", "autoload=no"]
    return "\n".join([*lines, *(f"load={name}.so" for name in _MODULES.split()), ""])


def _pjsip(options: AsteriskOptions, places: Places) -> str:
    text = _section(
        "global",
        type="global",
        default_realm=options.realm,
        debug=True,
        contact_expiration_check_interval=1,
        endpoint_identifier_order=_identified_by(options.trunk),
    )
    for kind in ("udp", "tcp"):
        bind = f"{options.host}:{places.port}"
        text += _section(f"transport-{kind}", type="transport", protocol=kind, bind=bind)
    if (tls := options.tls) is not None:
        text += _section(
            "transport-tls",
            type="transport",
            protocol="tls",
            bind=f"{options.host}:{places.tls_port}",
            cert_file=tls.certificate,
            priv_key_file=tls.key,
            ca_list_file=tls.ca,
            method="tlsv1_2",
            verify_server=True,
        )
    for extension in options.extensions:
        text += _extension(extension, options)
    if options.trunk is not None:
        text += _trunk(options.trunk, options)
    return text + options.pjsip


def _identified_by(trunk: Trunk | None) -> str:
    # A peer's connection has a port that nobody knows, and everybody here has the same address.
    by_address_alone = trunk is not None and trunk.transport != "udp"
    return "username,ip,anonymous" if by_address_alone else "ip,username,anonymous"


def _media(options: AsteriskOptions) -> dict[str, object]:
    return {
        "context": CONTEXT,
        "message_context": MESSAGES,
        "disallow": "all",
        "allow": "ulaw,alaw",
        "media_address": options.host,
        "bind_rtp_to_media_address": True,
    }


def _extension(extension: Extension, options: AsteriskOptions) -> str:
    user = extension.user
    mailbox = {"mailboxes": f"{user}@default"}
    aor = _section(
        user,
        mailbox if extension.mailbox == "subscribers" else {},
        type="aor",
        max_contacts=extension.max_contacts,
        remove_existing=extension.remove_existing,
        qualify_frequency=extension.qualify_s,
        qualify_timeout=extension.qualify_timeout_s,
        minimum_expiration=extension.min_expires_s,
        maximum_expiration=extension.max_expires_s,
        support_path=True,
    )
    endpoint = _section(
        user,
        _media(options),
        type="endpoint",
        aors=user,
        auth=user,
        callerid=f"Extension {user} <{user}>",
        direct_media=extension.direct_media,
        rewrite_contact=extension.rewrite_contact,
        timers_sess_expires=extension.session_expires_s,
        **{"100rel": extension.rel100},
        **(mailbox if extension.mailbox == "unsolicited" else {}),
    )
    password = f"pw-{user}"
    auth = _section(user, type="auth", auth_type="userpass", username=user, password=password)
    return aor + endpoint + auth


def _trunk(trunk: Trunk, options: AsteriskOptions) -> str:
    parameter = "" if trunk.transport == "udp" else f";transport={trunk.transport}"
    contact = f"sip:{trunk.host}:{trunk.port}{parameter}"
    endpoint = _section(
        "trunk",
        _media(options),
        type="endpoint",
        aors="trunk",
        direct_media=False,
        transport=f"transport-{trunk.transport}",
    )
    match = f"{trunk.host}:{trunk.port}" if trunk.transport == "udp" else trunk.host
    identify = _section("trunk", type="identify", endpoint="trunk", match=match)
    return endpoint + _section("trunk", type="aor", contact=contact) + identify


def _dialplan(options: AsteriskOptions) -> str:
    lines = [
        "[general]",
        f"[{CONTEXT}]",
    ]
    trunk = options.trunk
    peers = {} if trunk is None else {trunk.users: ["Dial(PJSIP/${EXTEN}@trunk,60)"]}
    answered = ["Answer()", "Set(TIMEOUT(absolute)=30)"]
    for name, steps in {
        "_XXX": ["Dial(PJSIP/${EXTEN},60)"],
        "_7XXX": ["Dial(${PJSIP_DIAL_CONTACTS(${EXTEN:1})},60)"],
        "_8XXX": [f"Dial(PJSIP/${{EXTEN:1}},{options.impatient_s})"],
        **peers,
        "echo": [*answered, "Echo()"],
        "hold": [*answered, "Wait(30)"],
        "ring": ["Ringing()", "Wait(30)"],
        "_away-XXX": ["Transfer(PJSIP/sip:${EXTEN:5}@" + options.realm + ")"],
    }.items():
        lines += [f"exten => {name},{number},{step}" for number, step in enumerate(steps, 1)]
        # Else Asterisk makes up its own answer to what Dial() came to.
        lines.append(f"exten => {name},{len(steps) + 1},Hangup()")
    lines += [options.dialplan, "exten => _XXX,hint,PJSIP/${EXTEN}", f"[{MESSAGES}]"]
    lines.append("exten => _XXX,1,MessageSend(pjsip:${EXTEN},${MESSAGE(from)})")
    return "\n".join([*lines, ""])


def _voicemail(options: AsteriskOptions) -> str:
    general = _section("general", format="wav", pollmailboxes=True, pollfreq=1)
    boxes = {each.user: f"1234,{each.user}" for each in options.extensions if each.mailbox}
    return general + _section("default", dict[str, object](boxes))
