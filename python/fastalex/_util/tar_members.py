"""The members of a plain tar file, one header at a time, and whether the file is whole."""

from __future__ import annotations

import os
import tarfile
from typing import IO, Iterator, Tuple

_BLOCK = 512  # bytes of tar's unit


class DamagedError(Exception):
    """A file that is no plain tar file, or not a whole one.

    ``after`` is the name of the last member found, empty if there was none; the text is the reason.
    """

    def __init__(self, after: str, reason: str) -> None:
        super().__init__(reason)
        self.after = after


def members(stream: IO[bytes]) -> Iterator[Tuple[tarfile.TarFile, tarfile.TarInfo]]:
    """Yield the archive with each of its members, none of which it keeps.

    :raises DamagedError: if it is none, is compressed, or ends before its end mark: then members are missing.
    :raises OSError: if it cannot be read.
    """
    name, size = "", stream.seek(0, os.SEEK_END)
    stream.seek(0)
    try:
        with tarfile.open(fileobj=stream, mode="r:") as archive:
            for member in iter(archive.next, None):
                archive.members = []  # type: ignore[attr-defined]  # tarfile keeps them all
                name = member.name
                if member.offset_data + member.size > size:
                    raise tarfile.ReadError("it is truncated")
                yield archive, member
            stream.seek(archive.offset)  # tarfile takes anything that is no header for the end
            if stream.read(_BLOCK) != bytes(_BLOCK):
                raise tarfile.ReadError("it has no end")
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise DamagedError(name, str(error)) from error
