"""Where the files of a source are: on this machine, or at an address that fsspec knows."""

from __future__ import annotations

import glob
import os
import posixpath
import tempfile
import time
from typing import IO, Any, Dict, Iterator, List, NamedTuple, NoReturn, Optional, Sequence, Tuple

from ..._util import filesystems
from ...errors import UserError

_CHUNK = 1 << 20  # bytes


class File(NamedTuple):
    """A file: its ``name`` in the source, its ``path`` in the store, ``size`` in bytes.

    ``version`` changes with its content.
    """

    name: str
    path: str
    size: int
    version: str


class Store:
    """Files on this machine."""

    def __init__(self, address: str) -> None:
        self.address, self.where = address, os.path.abspath(address)
        self.used = 0.0  # the time of the last sign of life

    def is_folder(self) -> bool:
        """Whether the address is that of a folder."""
        return os.path.isdir(self.address)

    def is_pattern(self) -> bool:
        """Whether the address is a pattern, and not the name of something with brackets in it."""
        return glob.has_magic(self.address) and not os.path.exists(self.address)

    def files(self, suffixes: Tuple[str, ...]) -> List[File]:
        """List the files with one of the suffixes: in and below a folder, those of a pattern, or the one named."""
        if self.is_folder():
            root = self.address
            found = [os.path.join(parent, name) for parent, _, names in os.walk(root) for name in names]
        else:
            root = os.path.dirname(self.address)
            found = glob.glob(self.address) if self.is_pattern() else [self.address]
        found = sorted(path for path in found if path.lower().endswith(suffixes) and os.path.isfile(path))
        return [self._file(path, os.path.relpath(path, root or ".")) for path in found]

    def _file(self, path: str, name: str) -> File:
        facts = os.stat(path)
        return File(name, os.path.abspath(path), facts.st_size, str(facts.st_mtime_ns))

    def contents(self, files: Sequence[File]) -> List[bytes]:
        """Return what is in the files."""
        raise NotImplementedError

    def copy_of(self, file: File) -> str:
        """Return the path of a copy on this machine, which is there until the next is asked for."""
        return file.path

    def opened(self, file: File) -> IO[bytes]:
        """Open a file for reading parts of it, which a remote one fetches as they are asked for.

        :raises UserError: if it cannot be opened.
        """
        try:
            return open(file.path, "rb")
        except OSError as error:
            raise UserError(f"cannot read '{file.path}': {error.strerror or error}") from None


class Remote(Store):
    """Files at an address with a scheme, by fsspec."""

    def __init__(self, address: str) -> None:
        self.address = self.where = address
        self.used = 0.0
        self._fs, self._root = filesystems.open_file_system(address)
        self._copy: Optional[Tuple[File, IO[bytes]]] = None

    def __getstate__(self) -> Dict[str, Any]:
        return {"address": self.address}

    def __setstate__(self, state: Dict[str, Any]) -> None:
        self.__init__(state["address"])  # type: ignore[misc]

    def is_folder(self) -> bool:
        """Whether the address is that of a folder."""
        try:
            return bool(self._fs.isdir(self._root))
        except Exception as error:  # noqa: BLE001 (each file system raises its own)
            self._refuse(self.address, error)

    def is_pattern(self) -> bool:
        """Whether the address is a pattern, as for this machine."""
        try:
            return glob.has_magic(self._root) and not self._fs.exists(self._root)
        except Exception as error:  # noqa: BLE001
            self._refuse(self.address, error)

    def files(self, suffixes: Tuple[str, ...]) -> List[File]:
        """List the files with one of the suffixes, as for a folder of this machine."""
        fs, root = self._fs, self._root
        try:
            fs.invalidate_cache()
            if self.is_pattern():
                found, root = fs.glob(root, detail=True), posixpath.dirname(root[: _first_magic(root)] + "x")
            elif self.is_folder():
                found = fs.find(root, detail=True)
            else:
                found, root = {root: fs.info(root)}, posixpath.dirname(root)
        except UserError:
            raise
        except Exception as error:  # noqa: BLE001
            self._refuse(self.address, error)
        rows = sorted((path, facts) for path, facts in found.items() if path.lower().endswith(suffixes))
        return [
            File(posixpath.relpath(path, root or "/"), path, int(facts["size"]), _version(facts))
            for path, facts in rows
            if facts.get("type") != "directory"
        ]

    def contents(self, files: Sequence[File]) -> List[bytes]:
        """Return what is in the files, read side by side where the file system can."""
        paths = [file.path for file in files]
        try:
            # cat would take a bracket in a name for a pattern
            found: List[bytes] = self._fs.cat_ranges(paths, None, None, on_error="raise")
        except FileNotFoundError as error:
            raise UserError(f"a file of '{self.address}' is gone: {filesystems.reason(error)}") from None
        except Exception as error:  # noqa: BLE001
            self._refuse(self.address, error)
        self.used = time.monotonic()
        return found

    def copy_of(self, file: File) -> str:
        """Return the path of a copy on this machine, which is there until the next is asked for."""
        if self._copy is None or self._copy[0] != file:
            self._copy = None
            self._copy = (file, self._copied(file))
        return f"/proc/self/fd/{self._copy[1].fileno()}"

    def _copied(self, file: File) -> IO[bytes]:
        """Copy a file to a temporary one that has no name, so that no end of the process leaves it behind."""
        target = tempfile.TemporaryFile(prefix="fastalex-")  # noqa: SIM115 - it is kept
        chunks = self._chunks(file)
        try:
            for chunk in chunks:
                target.write(chunk)
            target.flush()
        except OSError as error:
            target.close()
            raise UserError(
                f"there is no room for a copy of '{file.path}' in {tempfile.gettempdir()}: {error.strerror or error}; "
                "set TMPDIR"
            ) from None
        if target.tell() != file.size:
            raise UserError(f"'{file.path}' ended after {target.tell()} of {file.size} bytes; run the command again")
        return target

    def _chunks(self, file: File) -> Iterator[bytes]:
        with self.opened(file) as stream:
            while True:
                try:
                    chunk = stream.read(_CHUNK)
                except Exception as error:  # noqa: BLE001
                    self._refuse(file.path, error)
                self.used = time.monotonic()
                if not chunk:
                    return
                yield chunk

    def opened(self, file: File) -> IO[bytes]:
        """Open a file for reading parts of it, which are fetched as they are asked for."""
        try:
            stream: IO[bytes] = self._fs.open(file.path, "rb")
        except Exception as error:  # noqa: BLE001
            self._refuse(file.path, error)
        return stream

    def _refuse(self, what: str, error: Exception) -> NoReturn:
        if isinstance(error, FileNotFoundError):
            raise UserError(f"there is nothing at '{what}'") from None
        raise UserError(
            f"cannot read '{what}': {filesystems.reason(error)}; what was done is kept, and the same command goes on "
            "with it"
        ) from None


def _version(facts: Dict[str, Any]) -> str:
    keys = ("ETag", "etag", "LastModified", "mtime", "created")
    return next((str(facts[key]) for key in keys if facts.get(key) is not None), "")


def _first_magic(path: str) -> int:
    return min(path.index(mark) for mark in "*?[" if mark in path)
