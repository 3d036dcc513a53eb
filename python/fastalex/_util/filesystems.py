"""File systems at addresses with a scheme, such as ``s3://``, by fsspec."""

from __future__ import annotations

from typing import Any, Tuple

from ..errors import UserError, printable

_SHOWN = 300  # characters of a reason
_INSTALL = "pip install 'fastalex[scale]'"  # the extra with fsspec and what it needs for S3


def open_file_system(address: str) -> Tuple[Any, str]:
    """Return the file system of an address, which fsspec keeps, and the path in it.

    :raises UserError: if a package is missing, or the scheme is unknown.
    """
    try:
        from fsspec.core import url_to_fs
    except ImportError:
        raise UserError(f"'{address}' needs the package fsspec: {_INSTALL}") from None
    try:
        system, root = url_to_fs(address)
    except ImportError as error:  # its words name the package
        raise UserError(f"'{address}' needs another package ({error}): {_INSTALL}") from None
    except ValueError as error:
        raise UserError(f"'{address}' is no address that can be read: {error}") from None
    return system, str(root)


def reason(error: Exception) -> str:
    """Return why a file system failed, short and printable; each raises errors of its own."""
    return printable(" ".join(str(error).split())[:_SHOWN] or type(error).__name__)
