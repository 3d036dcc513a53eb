"""The files that a network was made from, for a pickle that refers to them instead of carrying arrays.

Such a pickle has the absolute path, the size, the modification time and the SHA-256 of each file. The SHA-256 is that
of the bytes that were loaded: it is computed when it is first needed, and only while size, time and inode are those
that the file had when it was loaded.
"""

from __future__ import annotations

import os
import stat
import time
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from ..errors import UserError, printable
from . import Weights, load_network

_BLOCK = 1 << 20  # bytes that are read at once
_ELSE = "pass pickle_by='arrays' where the network is made"  # what always helps


class _Status(NamedTuple):
    """What tells two versions of a file on one machine apart without reading them."""

    size: int
    modified_ns: int
    inode: int
    device: int


class _File:
    """A file, its status when it was loaded, and the SHA-256 of its bytes, empty until it is needed."""

    def __init__(self, path: str, status: _Status, sha256: str = "") -> None:
        self.path, self.status, self.sha256 = path, status, sha256

    def reference(self) -> Dict[str, Any]:
        """Return what a pickle says about the file.

        :raises UserError: if the file is no longer the one that was loaded, or cannot be read.
        """
        try:
            status = _status(os.stat(self.path))
            if status == self.status and not self.sha256:
                self.sha256 = _sha256(self.path, status)
        except FileNotFoundError:
            raise UserError(
                f"the network cannot be pickled by path, since its weights file {printable(self.path)} is gone: put it "
                f"back and make the network anew, or {_ELSE}"
            ) from None
        except OSError as error:
            raise UserError(_unreadable(self.path, error)) from None
        if status != self.status or not self.sha256:
            raise UserError(
                f"the network cannot be pickled by path, since {printable(self.path)} was changed after it was loaded "
                f"(on {_time(status.modified_ns)}): make the network anew, or {_ELSE}"
            )
        size, modified_ns = self.status.size, self.status.modified_ns
        return {"path": self.path, "size": size, "modified_ns": modified_ns, "sha256": self.sha256}


class Origin:
    """The files that a network was made from, and the mean image in them, which need not travel either."""

    def __init__(self, files: Sequence[_File], mean_image: Optional[np.ndarray]) -> None:
        self._files, self._mean_image = files, mean_image

    def references(self) -> List[Dict[str, Any]]:
        """Return what :func:`load_again` needs.

        :raises UserError: if a file is no longer the one that was loaded, or cannot be read.
        """
        return [file.reference() for file in self._files]

    def has_mean_image(self, mean_image: Optional[np.ndarray]) -> bool:
        """Whether ``mean_image`` is the one in the file, rather than one that the caller has set."""
        own = self._mean_image
        if own is None or mean_image is None:
            return own is mean_image
        return np.array_equal(own, mean_image)


def of(loaded: Optional[Weights]) -> Origin:
    """Return the files that ``loaded`` was read from.

    :raises UserError: if it was not read from a file.
    """
    if loaded is None or not loaded.files:
        raise UserError("pickle_by='path' is for weights from a file; these are not: leave pickle_by out")
    files = [_File(os.path.abspath(path), _status(status)) for path, status in loaded.files]
    return Origin(files, loaded.mean_image())


def load_again(references: Sequence[Mapping[str, Any]]) -> Tuple[Weights, Origin]:
    """Load the weights from the files that a pickle refers to.

    :raises UserError: if a file is missing, cannot be read, or is not the one that the pickle is of.
    """
    files = [_verified(reference) for reference in references]
    loaded = load_network(files[0].path)
    present = [(os.path.abspath(path), _status(status)) for path, status in loaded.files]
    if present != [(file.path, file.status) for file in files]:
        raise UserError(f"{printable(files[0].path)} was changed while it was loaded: load the pickle again")
    return loaded, Origin(files, loaded.mean_image())


def _verified(reference: Mapping[str, Any]) -> _File:
    """Return the file here that has the size and the SHA-256 of ``reference``."""
    path = reference["path"]
    try:
        status = _status(os.stat(path))
        same_size = status.size == reference["size"]
        sha256 = _sha256(path, status) if same_size else ""
    except FileNotFoundError:
        raise UserError(
            f"the network was pickled by path, and its weights file {printable(path)} is missing here: copy it there, "
            f"or {_ELSE}"
        ) from None
    except OSError as error:
        raise UserError(_unreadable(path, error)) from None
    if sha256 == reference["sha256"]:
        return _File(path, status, sha256)
    differs = f"has another SHA-256; it was changed on {_time(status.modified_ns)}"
    if not same_size:
        differs = f"has {status.size} bytes instead of {reference['size']}"
    raise UserError(
        f"the network was pickled by path, and {printable(path)} is not the file that it was made from (it {differs}): "
        f"put back the file of {_time(reference['modified_ns'])}, or pickle the network anew"
    )


def _sha256(path: str, status: _Status) -> str:
    """Return the SHA-256 of a file, or an empty string if it does not have ``status`` before and after."""
    import hashlib  # takes 4 MB of memory, and most programs do not need it

    digest = hashlib.sha256()
    block = memoryview(bytearray(_BLOCK))
    with open(path, "rb", buffering=0) as stream:
        same = _status(os.fstat(stream.fileno())) == status
        while same:
            count = stream.readinto(block)
            if not count:
                break
            digest.update(block[:count])
        same = same and _status(os.fstat(stream.fileno())) == status
    return digest.hexdigest() if same else ""


def _status(status: os.stat_result) -> _Status:
    """Return what is kept of ``status``.

    :raises OSError: if it is not that of a file; opening a pipe would wait forever.
    """
    if not stat.S_ISREG(status.st_mode):
        raise OSError("it is not a file")
    return _Status(status.st_size, status.st_mtime_ns, status.st_ino, status.st_dev)


def _unreadable(path: str, error: OSError) -> str:
    return f"{printable(path)}, which the network was made from, cannot be read: {error.strerror or error}"


def _time(modified_ns: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(modified_ns // 10**9))
