"""Downloads that resume where they broke off, are checked against a hash, and appear whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import stat
import sys
import time
from typing import Any, BinaryIO, Callable, Iterator, Optional, Sequence, Tuple

from .._util.files import locked
from ..errors import UserError
from . import transfer
from .transfer import BrokenOffError, UnreachableError

CHUNK = 1 << 20  # bytes
ATTEMPTS = 3  # broken connections to one address before it is given up

Report = Callable[[int], None]


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
        lock = _open_own(path + ".lock", "ab")
    with lock, locked(lock):
        if os.path.isfile(path) and is_verified(path, algorithm, digest):
            return
        _check_room(path, size)
        reasons = []
        for url in urls:
            try:
                _from(url, path, size, (algorithm, digest), quiet)
            except (UnreachableError, _WrongHashError) as error:
                reasons.append(f"{url}: {error}")
            else:
                _remember(path, algorithm, digest)
                return
        raise UserError(
            f"{os.path.basename(path)} cannot be downloaded ({'; '.join(reasons)}); where there is no network, put it "
            f"into {os.path.dirname(path)}"
        )


def is_verified(path: str, algorithm: str, digest: str, note: str = "") -> bool:
    """Whether the file has this hash.

    A hash that was right is noted with the file's size and time, and not computed again until those change.

    :param note: the file with the note; ``path + ".verified"`` by default.
    :raises UserError: if the file cannot be read.
    """
    expected = _note(path, algorithm, digest)
    with contextlib.suppress(OSError, UserError), _open_own(note or path + ".verified", "rb") as stream:
        if stream.read(1000) == expected.encode("ascii"):
            return True
    if not has_hash(path, algorithm, digest):
        return False
    _remember(path, algorithm, digest, note)
    return True


def has_hash(path: str, algorithm: str, digest: str) -> bool:
    """Whether the file has this hash, which is computed.

    :raises UserError: if the file cannot be read.
    """
    try:
        with open(path, "rb") as stream:
            actual: str = _hash_of(stream, algorithm).hexdigest()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from None
    return actual == digest


def _note(path: str, algorithm: str, digest: str) -> str:
    status = os.stat(path)
    return f"{algorithm} {digest} {status.st_size} {status.st_mtime_ns}\n"


def _remember(path: str, algorithm: str, digest: str, note: str = "") -> None:
    with contextlib.suppress(OSError), _open_own(note or path + ".verified", "wb") as stream:
        stream.write(_note(path, algorithm, digest).encode("ascii"))


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
    resumed = os.path.lexists(part)
    deadline = time.monotonic() + transfer.MAX_SECONDS
    broken = 0
    while True:
        try:
            _transfer(url, path, size, checksum, quiet, deadline)
            return
        except BrokenOffError as error:
            broken += 1
            if broken == ATTEMPTS or time.monotonic() >= deadline:
                raise UnreachableError(f"{error}; run it again to resume from there") from None
            resumed = True
        except _WrongHashError:
            _remove(part)
            if not resumed:
                raise
            resumed = False


def _transfer(
    url: str, path: str, size: Optional[int], checksum: Tuple[str, str], quiet: bool, deadline: float
) -> None:
    """Download over one connection, resuming an earlier part if the server allows it."""
    algorithm, digest = checksum
    part, tag_file = path + ".part", path + ".part.tag"
    have, tag = _part_of(part, tag_file, url)
    state = hashlib.new(algorithm)
    if have:
        with _cache_errors(path), _open_own(part, "rb") as stream:
            state = _hash_of(stream, algorithm)
            have = stream.tell()
    with transfer.answer(url, have, tag, size, deadline) as answer:
        if answer.start != have:
            state = hashlib.new(algorithm)
        with _cache_errors(path):
            with _open_own(tag_file, "wb") as stream:
                stream.write(f"{url}\n{answer.tag}".encode())
            out = _open_own(part, "r+b" if answer.start else "wb")
        with out, _progress(os.path.basename(path), answer.total, quiet) as report:
            done = answer.start
            report(done)

            def write(chunk: bytes) -> None:
                nonlocal done
                with _cache_errors(path):
                    out.write(chunk)
                state.update(chunk)
                done += len(chunk)
                report(done)

            with _cache_errors(path):
                out.seek(done)
            transfer.copy(answer, write)
            with _cache_errors(path):
                out.flush()
                os.fsync(out.fileno())
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
        with _open_own(tag_file, "rb") as stream:
            source, _, tag = stream.read(4000).decode("utf-8").partition("\n")
        return (os.lstat(part).st_size, tag) if source == url else (0, "")
    except (OSError, UnicodeDecodeError):
        return 0, ""


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


def _open_own(path: str, mode: str) -> Any:
    """Open a file beside the download, in a binary ``mode``: a plain file that has no other name.

    :raises UserError: for a symbolic link, a pipe or the like, through which another file would be changed.
    """
    return open(path, mode, opener=_own)


def _own(path: str, flags: int) -> int:
    try:
        descriptor = os.open(path, (flags & ~os.O_TRUNC) | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
    except OSError:
        if os.path.lexists(path) and not stat.S_ISREG(os.lstat(path).st_mode):
            raise _not_own(path) from None
        raise
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
            raise _not_own(path)
        if flags & os.O_TRUNC:
            os.ftruncate(descriptor, 0)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _not_own(path: str) -> UserError:
    return UserError(f"{path} is a link to another file, or no file at all; delete it")


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
