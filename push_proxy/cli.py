"""The program ``push-proxy``: one command each; errors are one clear line, never a traceback."""

import asyncio
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

import typer
import uvloop

from .cli_call import find_call
from .cli_call_text import call_text, candidates_text
from .cli_errors import EXIT_FAILED, clear_errors
from .cli_events import events
from .cli_import import api_key, run_import
from .cli_push import all_taken, pushes_json, pushes_text, send_pushes
from .settings import Settings
from .settings_file import FILE_VARIABLE, load
from .settings_sip_checks import certificates_end
from .store.redis_topology import parse_topology
from .version import VERSION

_HELP = f"""A SIP push-proxy: holds calls for sleeping softphones, wakes them, relays the call.

The configuration is a YAML file at {FILE_VARIABLE}; every key may also come from the
environment, like PUSH_PROXY_HTTP__LISTEN. Without any, the service starts with defaults and a
store of its own.
"""
_IMPORT_HELP = """Create or replace many accounts from a file, and show how it goes.

Each line of FILE is a JSON object: the account's name, and what PUT /v1/accounts/NAME takes:

{"account": "101", "aor": "sip:101@pbx.example", "pbx": "office", "password": "x"}

A row that cannot be taken is told with its number and stops no other; no row is taken in part.

The same file again changes nothing and sends no SIP: repeat an import that was interrupted.

What GET /v1/accounts:export gives can be imported: a secret that a row leaves out is kept.

Exit status: 0 every row was taken, 1 some were not, 2 wrong options.
"""
_DOCTOR_HELP = f"""Examine what the configuration names, hop by hop, and say what to do about each
fault: store, running service, addresses, certificates, PBXs, clock, push providers, events.

Run it on the service's machine as the service's user, with the same {FILE_VARIABLE} and
environment, while the service runs or before. It changes nothing, and no phone notices.

Exit status: 0 nothing failed (hints may be there), 1 something did.
"""
_PUSH_HELP = """Send a test push to an account's devices; show what their providers say, and advice.

It is sent by the running service, so it is the real thing: its credentials, its connections, and
a token that the provider calls dead is dropped.

Exit status: 0 every provider took it, 1 some did not, 2 wrong options.
"""
_CALL_HELP = """Show what happened in a call, step by step: who called, how it ended and whose fault
that was, what to do about it, and the timeline.

A SIP Call-ID may fit several calls (a PBX that calls two accounts at once, say): they are
listed, newest first.

Exit status: 0 the call was shown, 1 there is none or the service cannot be asked, 2 wrong
options, 3 several fit.
"""
_EXIT_SEVERAL = 3
_PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}

app = typer.Typer(
    help=_HELP, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False
)
app.add_typer(events, name="events")


def _show_version(wanted: bool) -> None:  # noqa: FBT001 - typer calls it like that
    if wanted:
        typer.echo(f"push-proxy {VERSION}")
        raise typer.Exit


@app.callback()
def options(
    *,
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Options of all commands."""


@app.command()
def serve() -> None:
    """Run the service until SIGTERM or SIGINT."""
    with clear_errors():
        settings = _loaded()
        from .app import serve as run

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            raise typer.Exit(runner.run(run(settings)))


@app.command("check-config")
def check_config() -> None:
    """Check the configuration and show what it comes to, without starting anything."""
    with clear_errors():
        settings = _loaded()
        # Reads their keys, which nobody else has looked into.
        from .configured_providers import configured_providers
        from .events.configured import configured_webhooks
        from .runtime.clock import SystemClock

        configured_providers(settings, SystemClock())
        configured_webhooks(settings.events)
        for line in _outline(settings):
            typer.echo(line)


@app.command(help=_DOCTOR_HELP)
def doctor(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, for programs.")] = False,
) -> None:
    """Examine a live set-up."""
    with clear_errors():
        from .cli_doctor import run_doctor

        good = run_doctor(as_json=as_json, out=sys.stdout, progress=sys.stderr)
        raise typer.Exit(0 if good else EXIT_FAILED)


@app.command(context_settings=_PASS_ON, add_help_option=False)
def health(context: typer.Context) -> None:
    """Ask a running service whether it is alive, or --ready for calls (health --help)."""
    from .health_probe import main as run

    _run_with(context, run)


@app.command(context_settings=_PASS_ON, add_help_option=False)
def demo(context: typer.Context) -> None:
    """Show the main job end to end on this machine: a call wakes a phone (demo --help)."""
    from .demo import main as run

    _run_with(context, run)


@app.command(context_settings=_PASS_ON, add_help_option=False)
def phone(context: typer.Context) -> None:
    """Run a simulated softphone that sleeps until its push arrives (phone --help)."""
    from .phone import main as run

    _run_with(context, run)


@app.command(help=_CALL_HELP)
def call(
    name: Annotated[
        str,
        typer.Argument(metavar="ID", help="The call's id (X-Push-ID), or its SIP Call-ID."),
    ],
    url: Annotated[
        str, typer.Option(envvar="PUSH_PROXY_URL", help="Where the service's HTTP API is.")
    ] = "http://127.0.0.1:8080",
    key: Annotated[
        str,
        typer.Option(envvar="PUSH_PROXY_API_KEY", help="An API key with the scope calls."),
    ] = "",
    language: Annotated[
        str | None, typer.Option(help="Of the advice, like it. Default: the account's.")
    ] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, for programs.")] = False,
) -> None:
    """Show what happened in a call."""
    with clear_errors():
        found = asyncio.run(find_call(url, key, name, language=language))
        width = shutil.get_terminal_size().columns
        if as_json:
            typer.echo(json.dumps(found.call or {"candidates": found.candidates}))
        elif found.call is not None:
            typer.echo(call_text(found.call, width=width))
        else:
            typer.echo(candidates_text(found.candidates, width=width))
        if found.call is None:
            typer.echo(
                "push-proxy: these calls have that SIP Call-ID; name one by its id", err=True
            )
            raise typer.Exit(_EXIT_SEVERAL)


@app.command(help=_PUSH_HELP)
def push(
    account: Annotated[str, typer.Option(help="Whose devices.")],
    device: Annotated[str | None, typer.Option(help="Only this one. Default: all.")] = None,
    kind: Annotated[
        Literal["refresh", "call"],
        typer.Option("--type", help="refresh: nobody notices; call: the phone may ring briefly."),
    ] = "refresh",
    url: Annotated[
        str, typer.Option(envvar="PUSH_PROXY_URL", help="Where the service's HTTP API is.")
    ] = "http://127.0.0.1:8080",
    key: Annotated[
        str,
        typer.Option(envvar="PUSH_PROXY_API_KEY", help="An API key with the scope devices."),
    ] = "",
    *,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, for programs.")] = False,
) -> None:
    """Send a test push."""
    with clear_errors():
        told = asyncio.run(send_pushes(url, key, account=account, device=device, kind=kind))
        typer.echo(pushes_json(told) if as_json else pushes_text(told))
        raise typer.Exit(0 if all_taken(told) else EXIT_FAILED)


@app.command("import", help=_IMPORT_HELP)
def import_accounts(
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE", help="NDJSON: an account per line, as the API takes it. - reads stdin."
        ),
    ],
    url: Annotated[
        str, typer.Option(envvar="PUSH_PROXY_URL", help="Where the service's HTTP API is.")
    ] = "http://127.0.0.1:8080",
    key: Annotated[
        str,
        typer.Option(envvar="PUSH_PROXY_API_KEY", help="An API key with the scope accounts."),
    ] = "",
    api_key_file: Annotated[
        Path | None, typer.Option(help="Read the API key from this file instead.")
    ] = None,
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check every row, change nothing.")
    ] = False,
) -> None:
    """Create or replace many accounts."""
    with clear_errors():
        found = api_key(key, api_key_file)
        taken = asyncio.run(run_import(file, url=url, key=found, dry_run=dry_run, out=sys.stderr))
        raise typer.Exit(0 if taken else EXIT_FAILED)


def main() -> None:
    """Entry point of the installed program."""
    app()


def _run_with(context: typer.Context, run: Callable[[list[str]], int]) -> None:
    with clear_errors():
        raise typer.Exit(run(list(context.args)))


def _loaded() -> Settings:
    settings = load()
    for warning in settings.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    return settings


def _outline(settings: Settings) -> Iterator[str]:
    yield "The configuration can be used."
    yield f"  node     {settings.node.id}, data in {settings.node.data_dir}"
    listen = ", ".join(settings.sip.listen)
    yield f"  sip      {listen}; phones use {settings.public_address}, PBXs {settings.node_address}"
    for section, at in certificates_end(settings).items():
        yield f"  tls      {section} until {datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M} UTC"
    admin = settings.http.admin_listen
    apart = f", console and metrics on {admin}" if admin else ""
    yield f"  http     {settings.http.listen}{apart}"
    keys = ", ".join(f"{key.name} ({key.tenant})" for key in settings.http.api_keys)
    yield f"  api keys {keys or 'none configured: stored ones, or one made at the first start'}"
    url = settings.redis.url
    yield f"  store    {f'Redis at {parse_topology(url).shown}' if url else 'embedded Valkey'}"
    yield f"  pbxes    {', '.join(settings.pbxes) or 'none configured'}"
    providers = dict(settings.providers)
    for name, entries in providers.items():
        if entries:
            yield f"  {name:<8} {', '.join(entry.app_id for entry in entries)}"
    if not any(providers.values()):
        yield "  push     no app configured: nothing can be pushed"
    for webhook in settings.events.webhooks:
        yield f"  events   {', '.join(sorted(webhook.types))} to {webhook.url.host}"
