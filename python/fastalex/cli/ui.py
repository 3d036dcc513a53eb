"""The command ``fastalex ui``."""

from __future__ import annotations

import argparse
import os
from typing import Any, List

from .._util import console
from ..errors import UserError
from .common import OK
from .options import add_command
from .serve import add_security, check_installed, parse_port, serve, settings_from

DEFAULT_MODEL = "digits"
TOKEN_BYTES = 16  # as many as a key of AES has


def add_parser(commands: Any) -> None:
    """Add the command and its options."""
    parser = add_command(commands, "ui", run, "look into networks with a browser")
    parser.add_argument(
        "--model",
        action="append",
        metavar="NAME=FILE[,OPTION=VALUE...]",
        help="network to look into, as for 'fastalex serve'; two of them can be compared (default: digits)",
    )
    parser.add_argument("--examples", metavar="DIR", help="folder of pictures to choose from (default: ten digits)")
    parser.add_argument(
        "--folder", metavar="DIR", help="folder whose pictures are searched for neighbors (default: the examples)"
    )
    parser.add_argument("--collect", metavar="DIR", help="save camera frames here, in a folder for each of --classes")
    parser.add_argument("--classes", metavar="A,B", help="names of the classes to collect, such as free,blocked")
    parser.add_argument("--export", metavar="DIR", help="write the page with its data to this folder; serve nothing")
    parser.add_argument("--host", help="address to listen on (default: 127.0.0.1, this machine alone)")
    parser.add_argument("--port", type=parse_port, metavar="N", help="port; 0 for any that is free (default: 8000)")
    add_security(parser)
    parser.add_argument("--access-log", action="store_true", help="log each request on standard error")


def run(options: argparse.Namespace) -> int:
    """Serve the page until SIGTERM or Ctrl-C, or export it."""
    check_installed()
    options.model = options.model or [DEFAULT_MODEL]
    options.lpips = None
    page = _page_settings(options)
    settings = settings_from(options)
    made_token = page.collect is not None and settings.token is None
    if made_token:  # what writes files wants a token, and nobody has to think of one
        settings = _with_token(settings)
    if options.export is not None:
        return _export(options, settings, page)
    from ..serve.ui import routes as page_routes
    from ..serve.ui.collect import Collection
    from ..serve.ui.resources import Resources

    opened: List[Any] = []

    def routes(repository: Any) -> List[Any]:
        resources = Resources(repository, settings, page)
        opened.append(resources)
        collection = Collection(page, settings.models[0].file) if page.collect is not None else None
        found: List[Any] = page_routes.routes(resources, settings, collection)
        return found

    def ready(repository: Any, address: str) -> None:
        if made_token:
            address += f"/#token={settings.token}"  # which the page keeps, and a browser sends to nobody
        if options.json:
            console.write_json_line({"address": address, "models": repository.names(), "pid": os.getpid()})
        else:
            console.write(f"look into {', '.join(repository.names())} at {address}")

    try:
        return serve(settings, ready, routes, page_routes.PUBLIC, log_requests=options.access_log)
    finally:
        for resources in opened:
            resources.close()


def _with_token(settings: Any) -> Any:
    import dataclasses
    import secrets

    return dataclasses.replace(settings, token=secrets.token_urlsafe(TOKEN_BYTES))


def _page_settings(options: argparse.Namespace) -> Any:
    from ..serve.ui.settings import PageSettings, parse_classes

    if (options.collect is None) != (options.classes is None):
        raise UserError("--collect and --classes go together: --collect dataset --classes free,blocked")
    classes = () if options.classes is None else parse_classes(options.classes)
    return PageSettings(options.examples, options.folder, options.collect, classes)


def _export(options: argparse.Namespace, settings: Any, page: Any) -> int:
    from ..serve.metrics import Metrics
    from ..serve.repository import Repository
    from ..serve.ui import export
    from ..serve.ui.resources import Resources

    if page.collect is not None:
        raise UserError("an exported page has no server that could save frames; leave out --collect, or --export")
    repository = Repository(settings, Metrics())
    try:
        repository.start(wait=True)
        repository.check_loaded()
        resources = Resources(repository, settings, page)
        parts = export.plan(resources, repository)
        with console.progress("export", len(parts), options.json) as show:
            written = export.write(resources, parts, options.export, show)
        resources.close()
    finally:
        repository.close(0)
    if options.json:
        console.write_json({"folder": options.export, "files": written.files, "bytes": written.bytes})
    else:
        console.write(f"{options.export}: {written.files} files, {written.bytes:,} bytes; open index.html")
    return OK
