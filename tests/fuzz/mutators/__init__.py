"""Mutators: functions that damage a file's bytes, each for a format, found by its name and first bytes."""

from __future__ import annotations

from random import Random

from . import compressed, images, json_text, lines, npy, pickles, plain, protobuf, safetensors, tars, zips

_IMAGES = ("png", "gif", "tif", "webp", "jpg", "bmp", "ppm", "jp2", "avif")
_PLAIN = 0.15  # share of the cases in which a file is bytes of no meaning


def mutated(name: str, data: bytes, chance: Random) -> bytes:
    """``data``, the content of a file ``name``, damaged; sometimes without regard to its format."""
    if chance.random() < _PLAIN:
        return plain.mutated(data, chance)
    try:
        return structured(name, data, chance)
    except Exception:  # noqa: BLE001 - what was damaged before may be of no format any more
        return plain.mutated(data, chance)


def structured(name: str, data: bytes, chance: Random) -> bytes:
    """``data`` damaged as its format has it: what it is shows in its first bytes or in its name's suffix.

    :raises Exception: of many kinds, if it is not of this format.
    """
    suffix = name.rsplit(".", 1)[-1]
    if suffix in compressed.KINDS:
        inner = name[: -len(suffix) - 1]
        return compressed.mutated(data, suffix, chance, lambda content, draw: mutated(inner, content, draw))
    if data.startswith(b"PK\3\4"):
        return zips.mutated(data, chance, mutated)
    if data.startswith(b"\x93NUMPY"):
        return npy.mutated(data, chance)
    if data.startswith(b"\x80"):
        return pickles.mutated(data, chance)
    if data[257:262] == b"ustar":
        return tars.mutated(data, chance, mutated)
    if suffix in _IMAGES:
        return images.mutated(name, data, chance)
    if suffix == "safetensors":
        return safetensors.mutated(data, chance)
    if suffix in ("onnx", "caffemodel", "binaryproto"):
        return protobuf.mutated(data, chance)
    if suffix == "json":
        return json_text.mutated(data.decode("utf-8"), chance).encode("utf-8", "surrogatepass")
    if suffix == "txt":
        return lines.mutated(data, chance)
    return pickles.mutated(data, chance)  # the members of the tar container hold pickles among other data
