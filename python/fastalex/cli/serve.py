"""The command ``fastalex serve``."""

from __future__ import annotations

import argparse
import os
from typing import Any, Callable, Dict, List, Optional, Sequence

from .._util import console
from ..errors import UserError
from .common import BROKEN, OK
from .options import add_command, number, positive

TOKEN_VARIABLE = "FASTALEX_TOKEN"
LONGEST_TOKEN = 1000  # characters
LOCAL = ("127.0.0.1", "localhost", "::1")


def add_parser(commands: Any) -> None:
    """Add the command and its options."""
    parser = add_command(commands, "serve", run, "serve networks over HTTP by the Open Inference Protocol")
    parser.formatter_class = _WithDefaults
    parser.add_argument(
        "--model",
        action="append",
        required=True,
        metavar="NAME=FILE[,OPTION=VALUE...]",
        help="network to serve, more than once for several: the name of published weights, 'digits', or a name and a "
        "file, with variant, device, precision, fc_weights, fc_layout, profile, labels or threads as options",
    )
    parser.add_argument(
        "--lpips",
        metavar="WEIGHTS[,OPTION=VALUE...]",
        help="offer the perceptual distance with these weights, and heads, version, device, precision or threads",
    )
    parser.add_argument("--host", help="address to listen on (default: 127.0.0.1, this machine alone)")
    parser.add_argument("--port", type=parse_port, metavar="N", help="port; 0 for any that is free (default: 8000)")
    add_security(parser)
    _add_limits(parser)
    parser.add_argument("--no-access-log", action="store_true", help="do not log each request on standard error")


def add_security(parser: argparse.ArgumentParser) -> None:
    """Add the options of who may ask."""
    parser.add_argument(
        "--token",
        metavar="T",
        help=f"secret that requests must send as 'Authorization: Bearer T'; other users of this machine see it in the "
        f"list of processes, so better set {TOKEN_VARIABLE} or use --token-file",
    )
    parser.add_argument("--token-file", metavar="FILE", help="file with the secret, in its first line")
    parser.add_argument(
        "--allow-control", action="store_true", help="let clients with the token load and unload the models"
    )
    parser.add_argument(
        "--allowed-host",
        dest="allowed_hosts",
        action="append",
        metavar="NAME",
        help="further name by which clients call the server; '*' for any, if something in front checks it",
    )
    parser.add_argument(
        "--allowed-origin",
        dest="allowed_origins",
        action="append",
        metavar="URL",
        help="origin, such as https://example.org, whose pages may use the server from a browser",
    )


def _add_limits(parser: argparse.ArgumentParser) -> None:
    whole = {
        "max_batch": "images in a call of the engine",
        "queue_per_client": "images that a client address may have waiting",
        "queue_total": "images that may wait in all",
        "decoders": "threads that decode images (default: all processors)",
        "threads": "CPU threads of a network, for models that do not say their own (default: all available)",
        "max_body_bytes": "bytes of a request",
        "max_bodies_bytes": "bytes of all requests that are being read or answered",
        "max_pixels": "pixels of an image",
        "max_connections": "connections in all",
        "max_connections_per_client": "connections of a client address",
    }
    for name, text in whole.items():
        parser.add_argument(_flag(name), type=positive, metavar="N", help=text)
    parser.add_argument(
        "--max-delay-us",
        type=_microseconds,
        metavar="N",
        help="microseconds that a call of the engine may wait for more images",
    )
    seconds = {
        "request_timeout_s": "seconds until a request without a nearer deadline is given up",
        "header_timeout_s": "seconds for the head of a request to arrive",
        "body_timeout_s": "seconds for the body of a request to arrive",
        "drain_s": "seconds after SIGTERM for requests to be answered",
    }
    for name, text in seconds.items():
        parser.add_argument(_flag(name)[:-2], dest=name, type=_seconds, metavar="S", help=text)


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


class _WithDefaults(argparse.HelpFormatter):
    """Adds the defaults, which the settings have."""

    def _get_help_string(self, action: argparse.Action) -> Optional[str]:
        from ..serve.settings import Settings

        default = getattr(Settings, action.dest, None)
        known = isinstance(default, (int, float)) and default and not isinstance(default, bool)
        return (
            f"{action.help} (default: {default:g})" if known and "default" not in (action.help or "") else action.help
        )


def parse_port(text: str) -> int:
    """Parse a port."""
    if not text.isascii() or not text.isdigit() or len(text) > 5 or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"must be a whole number from 0 to 65535, not '{text}'")
    return int(text)


def _microseconds(text: str) -> int:
    return int(number(text, 10_000_000, "a number of microseconds, at most 10 seconds"))


def _seconds(text: str) -> float:
    value = number(text, 86400, "a number of seconds above 0, at most a day")
    if not value:
        raise argparse.ArgumentTypeError("must be a number of seconds above 0, at most a day, not 0")
    return value


def run(options: argparse.Namespace) -> int:
    """Serve until SIGTERM or Ctrl-C; return 0 if every request that was accepted has its answer, otherwise 1."""
    check_installed()
    settings = settings_from(options)

    def ready(repository: Any, address: str) -> None:
        _announce(options, settings, repository, address)

    return serve(settings, ready, log_requests=not options.no_access_log)


def serve(
    settings: Any,
    ready: Callable[[Any, str], None],
    routes: Callable[[Any], Sequence[Any]] = lambda repository: (),
    public: Sequence[str] = (),
    log_requests: bool = True,
) -> int:
    """Load the models of ``settings`` and serve them, as :func:`run` says.

    :param ready: called with the repository and the address when connections are taken.
    :param routes: makes further routes for the repository, as :func:`fastalex.serve.app.build` takes them.
    :param public: their paths that need no token.
    """
    from ..serve import server
    from ..serve.access_log import Log
    from ..serve.app import build
    from ..serve.metrics import Metrics
    from ..serve.repository import Repository

    metrics = Metrics()
    bound = server.bind(settings)
    warn_open(settings)
    repository = Repository(settings, metrics)
    patience = 0.0  # while nothing is accepted, and when the time of the drain is over
    try:
        repository.start(wait=True)
        repository.check_loaded()
        front = build(settings, repository, metrics, routes(repository), public, Log(requests=log_requests))
        address = address_of(settings, bound.getsockname()[1])
        whole = server.run(front, settings, bound, lambda: ready(repository, address))
        patience = settings.drain_s if whole else 0.0
    finally:
        bound.close()
        repository.close(patience)
    return OK if whole else BROKEN


def check_installed() -> None:
    """Check that the packages of the service are there.

    :raises UserError: if one is missing.
    """
    from importlib.util import find_spec

    missing = [
        name for name in ("starlette", "uvicorn", "prometheus_client", "python_multipart") if not find_spec(name)
    ]
    if missing:
        raise UserError(f"the service needs {', '.join(missing)}: pip install 'fastalex[serve]'")


def settings_from(options: argparse.Namespace) -> Any:
    """Return the settings that ``options`` say; what they do not say has the settings' own default."""
    from dataclasses import fields

    from ..serve.settings import Settings
    from ..serve.specs import LpipsSpec, ModelSpec

    values: Dict[str, Any] = {}
    for field in fields(Settings):
        value = getattr(options, field.name, None)
        if value is not None:
            values[field.name] = tuple(value) if isinstance(value, list) else value
    values["models"] = tuple(ModelSpec.parse(text) for text in options.model)
    values["lpips"] = None if options.lpips is None else LpipsSpec.parse(options.lpips)
    values["token"] = _token(options)
    settings = Settings(**values)
    if settings.allow_control and not settings.token:
        raise UserError(f"--allow-control needs a token: --token-file FILE, or {TOKEN_VARIABLE}")
    return settings


def _token(options: argparse.Namespace) -> Optional[str]:
    if options.token is not None and options.token_file is not None:
        raise UserError("give --token or --token-file, not both")
    token = options.token if options.token is not None else os.environ.get(TOKEN_VARIABLE)
    if options.token_file is not None:
        try:
            with open(options.token_file, encoding="utf-8") as stream:
                token = stream.readline(2 * LONGEST_TOKEN).strip()
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise UserError(f"the token file '{options.token_file}' cannot be read: {reason}") from None
    if token is None:
        return None
    if not 0 < len(token) <= LONGEST_TOKEN or not token.isascii() or not token.isprintable() or " " in token:
        raise UserError(f"the token must be 1 to {LONGEST_TOKEN} printable ASCII characters without spaces")
    return str(token)


def warn_open(settings: Any) -> None:
    """Say on standard error that everybody can use a server without a token that others reach."""
    if settings.host not in LOCAL and settings.token is None:
        console.error(
            f"everybody who reaches {settings.host} can use this server: set {TOKEN_VARIABLE}, or serve on 127.0.0.1"
        )


def address_of(settings: Any, port: int) -> str:
    """Return the address of the server as others write it."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"http://{host}:{port}"


def _announce(options: argparse.Namespace, settings: Any, repository: Any, address: str) -> None:
    names: List[str] = repository.names()
    if options.json:
        console.write_json_line({"address": address, "models": names, "pid": os.getpid()})
        return
    token = "" if settings.token is None else "-H 'Authorization: Bearer TOKEN' "
    model = "" if len(names) == 1 else f"?model={names[0]}"
    call = f"curl {token}-F image=@x.jpg '{address}/v1/classify{model}'"
    console.write(f"serving {', '.join(names)} on {address}: {call}")
