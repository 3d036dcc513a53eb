"""Servers of the tests that run in a thread of this process, and a cache of weights for what they serve."""

from __future__ import annotations

import contextlib
import threading


@contextlib.contextmanager
def serving(server):
    """Run a server until the block ends; wait for its thread then."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def use_cache(monkeypatch, tmp_path):
    """Let downloads go to a folder, which is returned, and straight to servers on this machine."""
    monkeypatch.setenv("FASTALEX_WEIGHTS_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return tmp_path / "cache"
