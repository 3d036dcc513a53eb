"""Servers of the page, in a thread of this process."""

from __future__ import annotations

import asyncio
import contextlib
import io
import threading

from fastalex.serve.access_log import Log
from fastalex.serve.app import build
from fastalex.serve.metrics import Metrics
from fastalex.serve.repository import Repository
from fastalex.serve.server import Server, bind
from fastalex.serve.settings import Settings
from fastalex.serve.specs import ModelSpec
from fastalex.serve.ui import routes
from fastalex.serve.ui.collect import Collection
from fastalex.serve.ui.resources import Resources
from fastalex.serve.ui.settings import PageSettings
from tests.support.service import SPEC, START_S, Service

SMALL = ModelSpec.parse("small=digits,device=cpu,threads=1,fc_weights=int4")


@contextlib.contextmanager
def running(models=(SPEC,), page=PageSettings(), **options):  # noqa: B008 - frozen
    """A server with the page, on a free port, until the block ends or it is stopped by ``page.stop()``.

    Its parts of the page are ``page.resources`` and ``page.collection``.
    """
    settings = Settings(models=tuple(models), port=0, **options)
    metrics, text = Metrics(), io.StringIO()
    repository = Repository(settings, metrics)
    repository.start(wait=True)
    resources = Resources(repository, settings, page)
    collection = Collection(page, settings.models[0].file) if page.collect else None
    bound = bind(settings)
    found = routes.routes(resources, settings, collection)
    front = build(settings, repository, metrics, found, routes.PUBLIC, Log(text))
    server, ready = Server(front, settings, bound), threading.Event()
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(ready.set)))
    thread.start()

    def stop():
        if thread.is_alive():
            server.stop()
            thread.join()
            bound.close()

    try:
        assert ready.wait(START_S)
        service = Service(bound.getsockname()[1], front, repository, text)
        service.resources, service.collection, service.stop = resources, collection, stop
        yield service
    finally:
        stop()
        resources.close()
        repository.close()
