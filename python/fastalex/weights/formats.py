"""The format of a weights file, by its first bytes where they are unmistakable, else by its suffix.

Formats are named by the modules of :mod:`fastalex.weights.readers` that read them; :data:`CONTAINERS` are those that
:mod:`fastalex.weights.containers` unpacks.
"""

from __future__ import annotations

import codecs
import os
from typing import BinaryIO, Dict, Optional

from .._util.files import GIT_LFS
from .errors import FormatError
from .graph import shown

FORMATS = {".safetensors": "safetensors", ".npz": "npz"}  # suffix -> module of readers/; these can be written as well
READ_ONLY = {".caffemodel": "caffe", ".npy": "npy", ".onnx": "onnx"}
SUFFIXES = (*FORMATS, *READ_ONLY, ".pth", ".pt", ".pth.tar")  # of all that can be read
CONTAINERS = ("gz", "bz2", "xz", "zip", "tar")
READABLE = f"{', '.join(SUFFIXES[:-1])} and {SUFFIXES[-1]}, and one of these in a .gz, .bz2, .xz, .zip or .tar"
START = 512  # bytes at the start of a file that are looked at; a header of tar has as many

_ZIP_STARTS = (b"PK\x03\x04", b"PK\x05\x06")  # the second is that of an archive without members
_TAR_CHECKSUM = slice(148, 156)  # octal digits in a header of tar
_BZ2_BLOCKS = (b"1AY&SY", b"\x17rE8P\x90")  # the magic numbers of a block and of the end, pi and its square root
_BOMS = (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_CONVERT = "save its arrays as .npz or .safetensors with the program that wrote it, or export the network as .onnx"
_ENGINE = "it is a TensorRT engine, which holds no weights that can be read; give the file that it was built from"
_UNPACK = "it is a {} archive, which is not read; unpack it and give the file of weights"

# First bytes -> what is said of such a file.
_FOREIGN = {
    GIT_LFS: "it is a Git LFS pointer, not the file itself; run 'git lfs pull' in its repository",
    b"\x89HDF\r\n\x1a\n": "it is an HDF5 file (of Keras, for example), which is not read; " + _CONVERT,
    b"MATLAB 5.0 MAT-file": "it is a MATLAB file, which is not read; " + _CONVERT,
    b"MATLAB 7.3 MAT-file": "it is a MATLAB file, which is not read; " + _CONVERT,
    b"ptrt": _ENGINE,  # TensorRT's magic number, of older versions and of those since 8.6
    b"ftrt": _ENGINE,
    b"7z\xbc\xaf\x27\x1c": _UNPACK.format("7-Zip"),
    b"Rar!\x1a\x07": _UNPACK.format("RAR"),
    b"\x28\xb5\x2f\xfd": _UNPACK.format("Zstandard"),
}
_ENGINE_SUFFIXES = (".engine", ".plan", ".trt")
_HTML = (b"<!doctype html", b"<html", b"<head", b"<body")
_WEB_PAGE = (
    "it is a web page; download it again from the address of the file itself (behind a 'Download' or 'Raw' button)"
)
_SHOWN_TEXT = 40  # characters of a file of text

# The fields of a file, by number, with protobuf's wire types: 0 is a number, 2 are bytes.
_ONNX_FIELDS = {1: 0, 2: 2, 3: 2, 4: 2, 5: 0, 6: 2, 7: 2, 8: 2, 14: 2, 20: 2, 25: 2, 26: 2}  # ModelProto
_CAFFE_FIELDS = {1: 2, 2: 2, 3: 2, 4: 0, 5: 0, 6: 2, 7: 0, 8: 2, 100: 2}  # NetParameter
_MAX_FIELDS = 10_000  # of a file whose format is not known; a network has one for each layer


def recognized(name: str, stream: BinaryIO) -> str:
    """Return the module of readers/ for the open file ``stream``, or one of :data:`CONTAINERS`.

    The earliest files of torch.save are tar archives, and ``"tar"`` here (:func:`.containers.is_torch`).

    :param name: its suffix decides where the first bytes do not.
    :raises FormatError: if it is in none of the formats that can be read; the message says what it is, if that is
        known, and what to do.
    """
    size = os.fstat(stream.fileno()).st_size
    start = stream.read(START)
    stream.seek(0)
    if not start:
        raise FormatError("it is empty, so it is in none of the formats that can be read; copy or download it again")
    suffix = os.path.splitext(name)[1].lower()
    kind = by_start(start, size)
    if kind == "zip":
        return _zip_kind(stream, suffix)
    if kind:
        return kind
    refuse_foreign(start)
    kind = {**FORMATS, **READ_ONLY}.get(suffix) or _protobuf_kind(stream, size)
    if kind is None:
        raise FormatError(_ENGINE if suffix in _ENGINE_SUFFIXES else _none_of_them("it"))
    return kind


def by_start(start: bytes, size: int) -> Optional[str]:
    """Return the format that begins with ``start``, if that is unmistakable, of a file of ``size`` bytes.

    A zip or tar archive, which may be a format of its own, is ``"zip"`` or ``"tar"`` here.
    """
    length = int.from_bytes(start[:8], "little")  # of the header of safetensors, JSON that may be padded with spaces
    if start[8:9] == b"{" and 8 + length <= size:
        return "safetensors"
    if start.startswith(_ZIP_STARTS):
        return "zip"
    if start.startswith(b"\x93NUMPY"):
        return "npy"
    if start.startswith(b"\x1f\x8b\x08"):
        return "gz"
    if start.startswith(b"BZh") and start[4:10] in _BZ2_BLOCKS:
        return "bz2"
    if start.startswith(b"\xfd7zXZ\0"):
        return "xz"
    return _torch_start(start)


def refuse_foreign(start: bytes) -> None:
    """Refuse a file that begins with ``start`` if that shows what it is.

    :raises FormatError: for a web page, another text, and the files of other programs.
    """
    text = refuse_stand_in(start)
    if _is_text(text):
        begin = shown(" ".join(text.decode("utf-8", "ignore").split()), _SHOWN_TEXT)
        raise FormatError(_none_of_them(f"it is text, which begins with {begin!r}, and"))


def refuse_stand_in(start: bytes) -> bytes:
    """Refuse what is often in the place of a file: a pointer of Git LFS, a web page, a file of another program.

    :returns: ``start`` without the mark of its encoding.
    :raises FormatError: if the file that begins with ``start`` is one.
    """
    for magic, sentence in _FOREIGN.items():
        if start.startswith(magic):
            raise FormatError(sentence)
    text = start
    for bom in _BOMS:
        text = text[len(bom) :] if text.startswith(bom) else text
    if text.replace(b"\0", b"").lstrip().lower().startswith(_HTML):  # UTF-16 has a zero in each character
        raise FormatError(_WEB_PAGE)
    return text


def _none_of_them(subject: str) -> str:
    return f"{subject} is in none of the formats that can be read: {READABLE}"


def _torch_start(start: bytes) -> Optional[str]:
    """Recognize the stream container of torch.save, and tar archives. The modules are imported only if need be."""
    if start.startswith(b"\x80"):
        from .readers.pytorch import stream_container

        return "pytorch" if stream_container.recognizes(start[:32]) else None
    if start[_TAR_CHECKSUM].strip(b" \0").isdigit():
        from .readers.pytorch import tar_container

        return "tar" if tar_container.recognizes(memoryview(start)) else None
    return None


def _zip_kind(stream: BinaryIO, suffix: str) -> str:
    """Tell a file of torch.save and an .npz, which are zip archives, from an archive that holds a file of weights."""
    from .readers.pytorch import zip_container

    names = [info.filename for info in zip_container.directory(stream)]
    if any(name.endswith("/data.pkl") for name in names):
        return "pytorch"
    arrays = [name.endswith(".npy") for name in names]
    return "npz" if suffix == ".npz" or (arrays and all(arrays)) else "zip"


def _protobuf_kind(stream: BinaryIO, size: int) -> Optional[str]:
    """Recognize ONNX and Caffe files, which have no magic number: by all their fields, which must fill the file."""
    from .readers import mapped
    from .readers import protobuf_wire as wire

    found: Dict[int, int] = {}
    try:
        for number, wire_type, _ in wire.fields(mapped.view_of(stream, size), wire.Budget(_MAX_FIELDS)):
            if found.setdefault(number, wire_type) != wire_type:
                return None
            if number not in _ONNX_FIELDS and number not in _CAFFE_FIELDS:
                return None
    except FormatError:
        return None
    if {1, 7} <= set(found) and found.items() <= _ONNX_FIELDS.items():  # a version and a graph
        return "onnx"
    return "caffe" if {2, 100} & set(found) and found.items() <= _CAFFE_FIELDS.items() else None  # layers


def _is_text(start: bytes) -> bool:
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(start)  # the last character may be cut
    except UnicodeDecodeError:
        return False
    return all(character.isprintable() or character in "\t\n\r\f" for character in text)
