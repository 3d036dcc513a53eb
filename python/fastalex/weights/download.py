"""Downloads that resume where they broke off, are checked against a hash, and appear whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import shutil
import sys
import urllib.error
import urllib.request
from typing import Any, BinaryIO, Callable, Iterator, Optional, Sequence, Tuple

from .._version import __version__
from ..errors import UserError

TIMEOUT_S = 30.0  # seconds without a byte
CHUNK = 1 << 20  # bytes
ATTEMPTS = 3  # broken connections to one address before it is given up
MAX_BYTES = 2 << 30  # limit for a file whose size is not registered

Report = Callable[[int], None]


class _UnreachableError(Exception):
    """An address does not provide the file; the message is the reason."""


class _BrokenOffError(Exception):
    """The connection ended before the file did."""


class _WrongHashError(Exception):
    """The whole file arrived, but it is another one."""


def download(
    urls: Sequence[str], path: str, size: Optional[int], algorithm: str, digest: str, quiet: bool = False
) -> None:
    """Download the file with this hash to ``path``, from the first of ``urls`` that provides it.

    An incomplete download stays in ``path + ".part"`` and is resumed by the next call. Other processes that need the
    same file wait until it is there.

    :param size: the registered number of bytes, if it is known.
    :param algorithm: name of the hash in hashlib; ``digest`` is in hexadecimal.
    :param quiet: show no progress bar.
    :raises UserError: if no address provides the file, or the folder cannot be written.
    """
    with _cache_errors(path):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        lock = open(path + ".lock", "ab")  # noqa: SIM115 - closed below
    with lock:
        _wait_for(lock)
        if os.path.isfile(path) and is_verified(path, algorithm, digest):
            return
        _check_room(path, size)
        reasons = []
        for url in urls:
            try:
                _from(url, path, size, (algorithm, digest), quiet)
            except (_UnreachableError, _WrongHashError) as error:
                reasons.append(f"{url}: {error}")
            else:
                _remember(path, algorithm, digest)
                return
        raise UserError(
            f"{os.path.basename(path)} cannot be downloaded ({'; '.join(reasons)}); where there is no network, put it "
            f"into {os.path.dirname(path)}"
        )


def is_verified(path: str, algorithm: str, digest: str) -> bool:
    """Whether the file has this hash.

    A hash that was right is noted in ``path + ".verified"`` with the file's size and time, and not computed again
    until those change.

    :raises UserError: if the file cannot be read.
    """
    note = _note(path, algorithm, digest)
    with contextlib.suppress(OSError, ValueError), open(path + ".verified", encoding="ascii") as stream:
        if stream.read(1000) == note:
            return True
    try:
        with open(path, "rb") as stream:
            actual = _hash_of(stream, algorithm).hexdigest()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from None
    if actual != digest:
        return False
    _remember(path, algorithm, digest)
    return True


def _note(path: str, algorithm: str, digest: str) -> str:
    status = os.stat(path)
    return f"{algorithm} {digest} {status.st_size} {status.st_mtime_ns}\n"


def _remember(path: str, algorithm: str, digest: str) -> None:
    with contextlib.suppress(OSError), open(path + ".verified", "w", encoding="ascii") as stream:
        stream.write(_note(path, algorithm, digest))


def _hash_of(stream: BinaryIO, algorithm: str) -> Any:
    state = hashlib.new(algorithm)
    for chunk in iter(lambda: stream.read(CHUNK), b""):
        state.update(chunk)
    return state


# One address --------------------------------------------------------------------------------------------------------


def _from(url: str, path: str, size: Optional[int], checksum: Tuple[str, str], quiet: bool) -> None:
    """Download from ``url``; ``checksum`` is the algorithm and the digest.

    If the hash of a resumed download is wrong, the old part may be to blame: the download starts over once.
    """
    part = path + ".part"
    resumed = os.path.exists(part)
    broken = 0
    while True:
        try:
            _transfer(url, path, size, checksum, quiet)
            return
        except _BrokenOffError as error:
            broken += 1
            if broken == ATTEMPTS:
                raise _UnreachableError(f"{error}; run it again to resume from there") from None
            resumed = True
        except _WrongHashError:
            _remove(part)
            if not resumed:
                raise
            resumed = False


def _transfer(url: str, path: str, size: Optional[int], checksum: Tuple[str, str], quiet: bool) -> None:
    """Download over one connection, resuming an earlier part if the server allows it."""
    algorithm, digest = checksum
    part, tag_file = path + ".part", path + ".part.tag"
    have, tag = _part_of(part, tag_file, url)
    response, have = _open(url, have, tag)
    with response:
        total = _total(response, have, size)
        with _cache_errors(path):
            with open(tag_file, "w", encoding="utf-8") as stream:
                stream.write(f"{url}\n{response.headers.get('ETag', '')}")
            out = open(part, "r+b" if have else "wb")  # noqa: SIM115 - closed below
        with out, _progress(os.path.basename(path), total, quiet) as report:
            state = hashlib.new(algorithm)
            if have:
                state = _hash_of(out, algorithm)
                have = out.tell()
            done = _copy(response, out, state, have, total or MAX_BYTES, report, path)
            with _cache_errors(path):
                out.flush()
                os.fsync(out.fileno())
    if total is not None and done < total:
        raise _BrokenOffError(f"the connection broke off after {done} of {total} bytes")
    if state.hexdigest() != digest:
        raise _WrongHashError(
            f"the file that it sends has the {algorithm} {state.hexdigest()}, not {digest}, and was deleted"
        )
    with _cache_errors(path):
        os.replace(part, path)
    _remove(tag_file)


def _part_of(part: str, tag_file: str, url: str) -> Tuple[int, str]:
    """Return the number of bytes that an earlier download from ``url`` left, and their entity tag."""
    try:
        with open(tag_file, encoding="utf-8") as stream:
            source, _, tag = stream.read(4000).partition("\n")
        return (os.path.getsize(part), tag) if source == url else (0, "")
    except (OSError, ValueError):
        return 0, ""


def _open(url: str, have: int, tag: str) -> Tuple[Any, int]:
    """Request ``url`` from byte ``have`` on; return the response, and the byte from which it sends the file."""
    headers = {"User-Agent": "fastalex/" + __version__, "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
        if tag and not tag.startswith("W/"):  # RFC 9110, 13.1.5: not with a weak tag
            headers["If-Range"] = tag
    try:
        response = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        error.close()
        if have and error.code == 416:  # range not satisfiable: the part is as long as the file, or longer
            return _open(url, 0, "")
        raise _UnreachableError(f"{error.code} {error.reason}") from None
    except urllib.error.URLError as error:
        raise _UnreachableError(_reason(error.reason)) from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _UnreachableError(_reason(error)) from None
    if response.status == 206:
        if response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            return response, have
        response.close()
        return _open(url, 0, "")
    return response, 0


def _reason(error: Any) -> str:
    if isinstance(error, TimeoutError) or "timed out" in str(error):
        return f"no answer within {TIMEOUT_S:g} s"
    return str(getattr(error, "strerror", None) or error or type(error).__name__)


def _total(response: Any, have: int, size: Optional[int]) -> Optional[int]:
    """Return the number of bytes of the whole file, or None if it is neither registered nor sent.

    :raises _UnreachableError: if the server sends a file of another size, or one that is too large.
    """
    length = response.headers.get("Content-Length", "")
    total = have + int(length) if length.isdigit() else None
    if size is not None and total is not None and total != size:
        raise _UnreachableError(f"it has a file of {total} bytes, the registered one has {size}")
    if total is not None and total > MAX_BYTES:
        raise _UnreachableError(f"it has a file of {total} bytes, which is more than weights take")
    return total if size is None else size


def _copy(response: Any, out: BinaryIO, state: Any, done: int, limit: int, report: Report, path: str) -> int:
    report(done)
    while True:
        try:
            chunk = response.read(CHUNK)
        except http.client.IncompleteRead as error:
            chunk = error.partial
        except (OSError, http.client.HTTPException) as error:
            raise _BrokenOffError(f"{_reason(error)} after {done} bytes") from None
        if not chunk:
            return done
        done += len(chunk)
        if done > limit:
            raise _UnreachableError(f"it sends more than the {limit} bytes of the file")
        with _cache_errors(path):
            out.write(chunk)
        state.update(chunk)
        report(done)


# Files --------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _cache_errors(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{path} cannot be written: {error.strerror or error}; set FASTALEX_WEIGHTS_DIR to a folder that can"
        ) from None


def _check_room(path: str, size: Optional[int]) -> None:
    if size is None:
        return
    with contextlib.suppress(OSError):
        have = os.path.getsize(path + ".part") if os.path.exists(path + ".part") else 0
        free = shutil.disk_usage(os.path.dirname(path)).free
        if free < size - have:
            raise UserError(
                f"{path} needs {(size - have) // 10**6} MB, but its disk has {free // 10**6} MB left; "
                "set FASTALEX_WEIGHTS_DIR to a folder with more room"
            )


def _wait_for(lock: BinaryIO) -> None:
    """Wait for the lock file and hold it until it is closed, at the latest by the end of the process."""
    try:
        import fcntl
    except ImportError:  # not a POSIX system
        return
    with contextlib.suppress(OSError):  # a file system without locks
        fcntl.flock(lock.fileno(), fcntl.LOCK_EX)


def _remove(path: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(path)


# Progress -----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _progress(name: str, total: Optional[int], quiet: bool) -> Iterator[Report]:
    """Yield the function to call with the number of bytes so far.

    On a terminal it draws a progress bar, with rich if that is installed; elsewhere it does nothing.
    """
    if quiet or sys.stderr is None or not sys.stderr.isatty():
        yield lambda done: None
        return
    try:
        from rich import progress
        from rich.console import Console
    except ImportError:
        yield lambda done: _plain_bar(name, done, total)
        sys.stderr.write("\n")
        return
    columns = (
        progress.TextColumn("{task.description}", markup=False),
        progress.BarColumn(),
        progress.DownloadColumn(),
        progress.TransferSpeedColumn(),
        progress.TimeRemainingColumn(),
    )
    with progress.Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(name, total=total)
        yield lambda done: bar.update(task, completed=done)


def _plain_bar(name: str, done: int, total: Optional[int]) -> None:
    of = f" of {total / 1000000.0:.1f}" if total else ""
    sys.stderr.write(f"\r{name}: {done / 1e6:.1f}{of} MB")
    sys.stderr.flush()
