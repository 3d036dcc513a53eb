"""Reader of what ``torch.save`` wrote, in its three containers, without PyTorch.

* zip (PyTorch 1.6 and later): ``<folder>/data.pkl`` and a member ``<folder>/data/<key>`` for each storage;
* stream (0.1.10 to 1.5): four pickles (magic number, protocol, system, object), a list of the storage keys, then for
  each its count and its raw numbers;
* tar (before): members ``storages``, ``tensors`` and ``pickle``.

The layouts are those of github.com/pytorch/pytorch, ``torch/serialization.py`` (``_load``, ``_legacy_load`` and its
inner ``legacy_load``). Pickles go through :mod:`fastalex.weights.pickle_reader`, which can build tensors and nothing
else. Arrays are views of the mapped file, except bfloat16 ones. The checksums of a zip's data are not verified, as that
would read all of it: :mod:`fastalex.weights.registry` compares the hash of what it downloads.
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from typing import Any, BinaryIO, Callable, Dict, List, NamedTuple, Optional, Tuple

import numpy as np

from . import mapped, pickle_reader
from .pickle_reader import Function, Name
from .safetensors_file import FormatError

ZIP_MAGIC = b"PK\x03\x04"
STREAM_MAGIC = 0x1950A86A20F9469CFC6C  # torch/serialization.py MAGIC_NUMBER
STREAM_START = b"\x8a\x0a" + STREAM_MAGIC.to_bytes(10, "little")  # the number as an instruction
STREAM_PROTOCOL = 1001

# A name under which a checkpoint keeps its state dict, the first that is found first.
WRAPPERS = ("state_dict", "model_state_dict", "model_state", "model", "net", "network", "weights", "params")
MAX_WRAPPERS = 3  # one inside the other
MAX_PICKLE = 64 << 20  # bytes of the pickle in a zip
MAX_MEMBERS = 100_000  # of an archive
MAX_REPEATED = 1 << 16  # elements of a tensor that repeats those of its storage (stride 0)
MAX_TENSORS = 100_000
CONVERTED = 2  # times the size of the file: what bfloat16 tensors may grow to

_DTYPES = {
    "Float": "f4",
    "Double": "f8",
    "Half": "f2",
    "BFloat16": "bf16",
    "Long": "i8",
    "Int": "i4",
    "Short": "i2",
    "Char": "i1",
    "Byte": "u1",
    "Bool": "?",
}
_NEW_DTYPES = {  # torch.<name> of an untyped storage
    "float32": "f4",
    "float64": "f8",
    "float16": "f2",
    "bfloat16": "bf16",
    "int64": "i8",
    "int32": "i4",
    "int16": "i2",
    "int8": "i1",
    "uint8": "u1",
    "uint16": "u2",
    "uint32": "u4",
    "uint64": "u8",
    "bool": "?",
}
_UNTYPED = "u1"


def read(stream: BinaryIO, size: int) -> Tuple[Dict[str, np.ndarray], Dict[str, str]]:
    """The arrays of a state dict, and no metadata.

    A state dict inside a checkpoint (``state_dict``, ``model``, ...) is found, and the prefixes ``module.`` of
    DataParallel (``features.module.`` too) are taken off.

    :raises FormatError: if anything is wrong.
    """
    data = mapped.view_of(stream, size)
    if bytes(data[:4]) == ZIP_MAGIC:
        found = _read_zip(data)
    elif is_stream(bytes(data[:32])):
        found = _read_stream(data)
    elif is_tar(data):
        found = _read_tar(data)
    else:
        raise FormatError("it is none of the three containers of torch.save")
    arrays = _Arrays(size)
    return {_bare(name): arrays.make(name, tensor) for name, tensor in _tensors(found).items()}, {}


def recognises(start: bytes) -> bool:
    """Whether a file with these first 512 bytes is one of the three containers."""
    return start.startswith(ZIP_MAGIC) or is_stream(start[:32]) or is_tar(memoryview(start))


def is_stream(start: bytes) -> bool:
    """Whether a pickle of the magic number, in any protocol, begins with ``start``."""
    return start.startswith(b"\x80") and STREAM_START in start


def is_tar(data: memoryview) -> bool:
    """Whether ``data`` starts with the header of a tar member: its checksum counts the rest of it."""
    header = bytes(data[:512])
    if len(header) < 512 or not header[0]:
        return False
    return _octal(header[148:156]) == sum(header) - sum(header[148:156]) + 8 * ord(" ")


# Tensors ------------------------------------------------------------------------------------------------------------


class Storage(NamedTuple):
    """Numbers in a row: where they are is asked for when the whole pickle is read."""

    dtype: str
    count: int
    key: Any
    offset: int = 0  # in elements, of a view in the storage ``key``
    locate: Optional[Callable[[Any], Tuple[memoryview, str]]] = None  # key -> bytes, byte order


class Tensor(NamedTuple):
    storage: Storage
    offset: int
    shape: Tuple[int, ...]
    stride: Tuple[int, ...]


class _Arrays:
    """Makes the arrays of one file and counts what they cost."""

    def __init__(self, size: int) -> None:
        self.converted = CONVERTED * size + (1 << 20)

    def make(self, name: str, tensor: Tensor) -> np.ndarray:
        storage = tensor.storage
        kind = storage.dtype
        raw, order = storage.locate(storage.key)
        dtype = np.dtype("u2" if kind == "bf16" else kind).newbyteorder(order)
        if (storage.offset + storage.count) * dtype.itemsize > len(raw):
            raise FormatError("%.100r needs more than the %d bytes of its storage" % (name, len(raw)))
        flat = np.frombuffer(raw, dtype, storage.count, storage.offset * dtype.itemsize)
        array = self._strided(name, flat, tensor)
        if kind != "bf16":
            return array
        self.converted -= 4 * array.size
        if self.converted < 0:
            raise FormatError("its bfloat16 tensors overlap too much")
        return _read_only(mapped.widened(array.astype(np.uint16)))

    @staticmethod
    def _strided(name: str, flat: np.ndarray, tensor: Tensor) -> np.ndarray:
        shape = mapped.checked_shape(name, tensor.shape)
        stride, offset = tensor.stride, tensor.offset
        if len(stride) != len(shape) or any(type(step) is not int or step < 0 for step in (offset, *stride)):
            raise FormatError("%.100r has strides or an offset that do not fit its shape" % name)
        count = 1
        for side in shape:
            count *= side
        if count == 0:
            return _read_only(np.zeros(shape, flat.dtype))
        last = offset + sum((side - 1) * step for side, step in zip(shape, stride))
        if last >= flat.size:
            raise FormatError("%.100r reaches element %d of a storage of %d" % (name, last, flat.size))
        if count > max(flat.size, MAX_REPEATED):
            raise FormatError("%.100r has %d elements of a storage of %d" % (name, count, flat.size))
        steps = [step * flat.itemsize for step in stride]
        return np.lib.stride_tricks.as_strided(flat[offset:], shape, steps, writeable=False)


def _read_only(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array


def _tensors(found: Any) -> Dict[str, Tensor]:
    """Name -> tensor of the state dict that ``found`` is, or has inside."""
    for _ in range(MAX_WRAPPERS):
        inner = [found[key] for key in WRAPPERS if isinstance(found, dict) and isinstance(found.get(key), dict)]
        if not inner:
            break
        found = inner[0]
    if not isinstance(found, dict):
        raise FormatError("it holds a %s, not a state dict" % type(found).__name__)
    tensors = {name: value for name, value in found.items() if isinstance(name, str) and type(value) is Tensor}
    if not tensors:
        raise FormatError("it holds no state dict with tensors")
    if len(tensors) > MAX_TENSORS:
        raise FormatError("it has more than %d tensors" % MAX_TENSORS)
    if len({_bare(name) for name in tensors}) != len(tensors):
        raise FormatError("it has a tensor with and without the prefix 'module.'")
    return tensors


def _bare(name: str) -> str:
    """``name`` without the prefixes of DataParallel."""
    return ".".join(part for part in name.split(".") if part != "module") or name


# Globals ------------------------------------------------------------------------------------------------------------


def _rebuild(storage: Any, offset: Any, shape: Any, stride: Any, *_: Any) -> Tensor:
    if type(storage) is not Storage or type(shape) is not tuple or type(stride) is not tuple:
        raise FormatError("its pickle makes a tensor of something else")
    return Tensor(storage, offset, shape, stride)


def _rebuild_typed(
    storage: Any, offset: Any, shape: Any, stride: Any, grad: Any, hooks: Any, dtype: Any, *_: Any
) -> Any:
    """The tensor of an untyped storage; the offset counts elements of ``dtype``."""
    tensor = _rebuild(storage, offset, shape, stride)
    if type(dtype) is not Name or dtype.name not in _NEW_DTYPES or storage.dtype != _UNTYPED:
        raise FormatError("its pickle makes a tensor of an unknown type")
    kind = _NEW_DTYPES[dtype.name]
    width = 2 if kind == "bf16" else np.dtype(kind).itemsize
    return tensor._replace(storage=storage._replace(dtype=kind, count=storage.count // width))


def _parameter(data: Any = None, *_: Any) -> Tensor:
    if type(data) is not Tensor:
        raise FormatError("its pickle makes a parameter of something else")
    return data


def _ordered(pairs: Any = (), *rest: Any) -> Dict[Any, Any]:
    """``OrderedDict()``; Python 2 gives the pairs as its argument."""
    result: Dict[Any, Any] = OrderedDict()
    if rest or type(pairs) not in (tuple, list):
        raise FormatError("its pickle makes a dict of something else")
    for pair in pairs:
        if type(pair) not in (tuple, list) or len(pair) != 2 or type(pair[0]) not in (str, int):
            raise FormatError("its pickle makes a dict of something else")
        result[pair[0]] = pair[1]
    return result


def _default_dict(*factory: Any) -> Dict[Any, Any]:
    """``defaultdict(dict)``, as optimizers have it, as a plain dict."""
    if factory not in ((), (Name("dict"),)):
        raise FormatError("its pickle makes a dict of something else")
    return {}


def _size(sides: Any = (), *rest: Any) -> Tuple[Any, ...]:
    if rest or type(sides) is not tuple:
        raise FormatError("its pickle makes a size of something else")
    return sides


def _device(kind: Any = "", *_: Any) -> str:
    return kind if type(kind) is str else ""


def _guarded(name: str, function: Callable[..., Any]) -> Function:
    def call(*arguments: Any) -> Any:
        try:
            return function(*arguments)
        except TypeError:
            raise FormatError("its pickle calls %s with %d arguments" % (name, len(arguments))) from None

    return Function(name, call)


_FUNCTIONS = {
    "torch._utils._rebuild_tensor": _rebuild,
    "torch._utils._rebuild_tensor_v2": _rebuild,
    "torch._utils._rebuild_tensor_v3": _rebuild_typed,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "collections.OrderedDict": _ordered,
    "collections.defaultdict": _default_dict,
    "torch.Size": _size,
    "torch.device": _device,
}
NAMES: Dict[str, Any] = {name: _guarded(name, function) for name, function in _FUNCTIONS.items()}
NAMES.update({"torch.%sStorage" % kind: Name(kind) for kind in _DTYPES})
NAMES.update({"torch.cuda.%sStorage" % kind: Name(kind) for kind in _DTYPES})
NAMES.update({"torch.%s" % kind: Name(kind) for kind in _NEW_DTYPES})
NAMES["torch.storage.UntypedStorage"] = Name("Untyped")
NAMES["builtins.dict"] = NAMES["__builtin__.dict"] = Name("dict")


def _storage_type(name: Any) -> str:
    if type(name) is Name and name.name == "Untyped":
        return _UNTYPED
    if type(name) is not Name or name.name not in _DTYPES:
        raise FormatError("its pickle has a storage of an unknown type")
    return _DTYPES[name.name]


def _counted(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise FormatError("its pickle has a size that is no whole number from 0 up")
    return value


# Zip ----------------------------------------------------------------------------------------------------------------


def _read_zip(data: memoryview) -> Any:
    members = zip_members(data)
    heads = [name for name in members if name.endswith("/data.pkl")]
    if len(heads) != 1:
        raise FormatError("the archive has %d members data.pkl, a file of torch.save has one" % len(heads))
    folder = heads[0][: -len("data.pkl")]
    order = "<"
    if folder + "byteorder" in members:
        order = {b"little": "<", b"big": ">"}.get(bytes(members[folder + "byteorder"][:16]), "")
        if not order:
            raise FormatError("its byte order is neither little nor big")
    if len(members[heads[0]]) > MAX_PICKLE:
        raise FormatError("its pickle has more than %d bytes" % MAX_PICKLE)

    def locate(key: str) -> Tuple[memoryview, str]:
        name = "%sdata/%s" % (folder, key)
        if name not in members:
            raise FormatError("the archive lacks the storage %.100r" % key)
        return members[name], order

    def persistent(given: Any) -> Storage:
        if type(given) is not tuple or len(given) != 5 or given[0] != "storage" or type(given[2]) is not str:
            raise FormatError("its pickle refers to something that is no storage")
        return Storage(_storage_type(given[1]), _counted(given[4]), given[2], 0, locate)

    return pickle_reader.load(members[heads[0]], 0, NAMES, persistent)[0]


def zip_members(data: memoryview) -> Dict[str, memoryview]:
    """Name -> bytes of the members of a zip archive that are stored as they are; folders are left out.

    Records and their numbers are those of PKWARE's APPNOTE.TXT, 4.3.

    :raises FormatError: for a compressed or encrypted member, or a directory that does not fit the file.
    """
    count, position = _zip_directory(data)
    members: Dict[str, memoryview] = {}
    for _ in range(count):
        if position + 46 > len(data) or data[position : position + 4] != b"PK\x01\x02":
            raise FormatError("its directory is damaged")
        record = struct.unpack("<4x4xHH8xIIHHH8xI", data[position : position + 46])
        flags, method, stored, size, name_length, extra_length, comment_length, offset = record
        position += 46
        name = bytes(data[position : position + name_length]).decode("utf-8", "replace")
        extra = data[position + name_length : position + name_length + extra_length]
        size, stored, offset = _zip64(extra, size, stored, offset)
        position += name_length + extra_length + comment_length
        if name.endswith("/"):
            continue
        if method != 0 or flags & 1 or size != stored:
            raise FormatError("its member %.100r is compressed or encrypted, which torch.save does not do" % name)
        if name in members:
            raise FormatError("it has the member %.100r twice" % name)
        members[name] = _zip_data(data, name, offset, size)
    return members


def _zip_directory(data: memoryview) -> Tuple[int, int]:
    """Count and offset of the records of the directory."""
    tail = bytes(data[-(22 + 65535) :])
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) - at < 22:
        raise FormatError("it has no directory (is the file cut short?)")
    count, offset = struct.unpack("<10xH4xI2x", tail[at : at + 22])
    start = len(data) - len(tail) + at
    locator = bytes(data[max(0, start - 20) : start])
    if len(locator) == 20 and locator[:4] == b"PK\x06\x07":
        (where,) = struct.unpack("<8xQ4x", locator)
        if where + 56 > len(data) or data[where : where + 4] != b"PK\x06\x06":
            raise FormatError("its zip64 directory is damaged")
        count, offset = struct.unpack("<32xQ8xQ", data[where : where + 56])
    if count > MAX_MEMBERS or offset > len(data):
        raise FormatError("its directory is damaged")
    return count, offset


def _zip64(extra: memoryview, size: int, stored: int, offset: int) -> Tuple[int, int, int]:
    """The three numbers, those that are too large for 32 bits taken from the extra field 1."""
    values: List[int] = []
    position = 0
    while position + 4 <= len(extra):
        kind, length = struct.unpack("<HH", extra[position : position + 4])
        body = extra[position + 4 : position + 4 + length]
        if kind == 1:
            values = list(struct.unpack("<%dQ" % (len(body) // 8), body[: len(body) // 8 * 8]))
        position += 4 + length
    result = []
    for number in (size, stored, offset):
        if number == 0xFFFFFFFF:
            if not values:
                raise FormatError("its zip64 numbers are missing")
            number = values.pop(0)
        result.append(number)
    return result[0], result[1], result[2]


def _zip_data(data: memoryview, name: str, offset: int, size: int) -> memoryview:
    if offset + 30 > len(data) or data[offset : offset + 4] != ZIP_MAGIC:
        raise FormatError("its member %.100r is not where the directory says" % name)
    name_length, extra_length = struct.unpack("<26xHH", data[offset : offset + 30])
    start = offset + 30 + name_length + extra_length
    if start + size > len(data):
        raise FormatError("its member %.100r ends past the end of the file" % name)
    return data[start : start + size]


# Stream -------------------------------------------------------------------------------------------------------------


def _read_stream(data: memoryview) -> Any:
    _, position = pickle_reader.load(data)
    protocol, position = pickle_reader.load(data, position)
    system, position = pickle_reader.load(data, position)
    if protocol != STREAM_PROTOCOL:
        raise FormatError("its protocol is not %d" % STREAM_PROTOCOL)
    order = "<" if not isinstance(system, dict) or system.get("little_endian", True) else ">"
    roots: Dict[str, Tuple[str, int]] = {}
    places: Dict[str, memoryview] = {}

    def persistent(given: Any) -> Storage:
        if type(given) is tuple and given and given[0] == "module":
            raise FormatError("it holds a whole network; load it where it comes from and save model.state_dict()")
        if type(given) is not tuple or len(given) not in (5, 6) or given[0] != "storage" or type(given[2]) is not str:
            raise FormatError("its pickle refers to something that is no storage")
        kind, key, count = _storage_type(given[1]), given[2], _counted(given[4])
        if roots.setdefault(key, (kind, count)) != (kind, count):
            raise FormatError("its storage %.100r has two sizes" % key)
        view = given[5] if len(given) == 6 else None
        if view is None:
            return Storage(kind, count, key, 0, lambda key: (places[key], order))
        if type(view) is not tuple or len(view) != 3:
            raise FormatError("its pickle refers to something that is no storage")
        return Storage(kind, _counted(view[2]), key, _counted(view[1]), lambda key: (places[key], order))

    found, position = pickle_reader.load(data, position, NAMES, persistent)
    keys, position = pickle_reader.load(data, position)
    if type(keys) is not list or any(type(key) is not str for key in keys) or set(keys) != set(roots):
        raise FormatError("its storages are not those of its tensors")
    for key in keys:
        places[key], position = _counted_bytes(data, position, order, *roots[key])
    return found


def _counted_bytes(data: memoryview, position: int, order: str, kind: str, count: int) -> Tuple[memoryview, int]:
    """The bytes of a storage that follow its count, and the position after them."""
    if position + 8 > len(data):
        raise FormatError("it ends before its storages do (is the file cut short?)")
    (stored,) = struct.unpack(order + "q", data[position : position + 8])
    if stored != count:
        raise FormatError("a storage has %d numbers where its tensor says %d" % (stored, count))
    width = 2 if kind == "bf16" else np.dtype(kind).itemsize
    end = position + 8 + count * width
    if end > len(data):
        raise FormatError("it ends before its storages do (is the file cut short?)")
    return data[position + 8 : end], end


# Tar ----------------------------------------------------------------------------------------------------------------


def _read_tar(data: memoryview) -> Any:
    members = tar_members(data)
    for name in ("storages", "tensors", "pickle"):
        if name not in members:
            raise FormatError("the archive lacks the member '%s'" % name)
    tensors = _tar_tensors(members["tensors"], _tar_storages(members["storages"]))

    def persistent(given: Any) -> Tensor:
        key = given if type(given) is int else int(given) if type(given) is str and given.isdigit() else None
        if key not in tensors:
            raise FormatError("its pickle refers to something that is no tensor")
        return tensors[key]

    return pickle_reader.load(members["pickle"], 0, NAMES, persistent)[0]


def _tar_storages(data: memoryview) -> Dict[Any, Storage]:
    count, position = pickle_reader.load(data)
    storages: Dict[Any, Storage] = {}
    for _ in range(min(_counted(count), MAX_TENSORS)):
        entry, position = pickle_reader.load(data, position, NAMES)
        if type(entry) is not tuple or len(entry) != 3 or type(entry[0]) is not int:
            raise FormatError("it has a storage without a key and a type")
        kind = _storage_type(entry[2])
        if position + 8 > len(data):
            raise FormatError("it ends before its storages do (is the file cut short?)")
        (numbers,) = struct.unpack("<q", data[position : position + 8])
        place, position = _counted_bytes(data, position, "<", kind, _counted(numbers))
        storages[entry[0]] = Storage(kind, numbers, entry[0], 0, lambda key, place=place: (place, "<"))
    views, _ = pickle_reader.load(data, position)
    for view in views if type(views) is list else ():
        if type(view) is not tuple or len(view) != 4 or any(type(part) is not int for part in view):
            raise FormatError("it has a view that is none")
        target, root, offset, numbers = view
        if root not in storages:
            raise FormatError("it has a view of a storage that is missing")
        storages[target] = storages[root]._replace(offset=_counted(offset), count=_counted(numbers))
    return storages


def _tar_tensors(data: memoryview, storages: Dict[Any, Storage]) -> Dict[int, Tensor]:
    count, position = pickle_reader.load(data)
    tensors: Dict[int, Tensor] = {}
    for _ in range(min(_counted(count), MAX_TENSORS)):
        entry, position = pickle_reader.load(data, position, _TENSOR_TYPES)
        if type(entry) is not tuple or len(entry) != 3 or type(entry[0]) is not int or type(entry[1]) is not int:
            raise FormatError("it has a tensor without a key and a storage")
        if entry[1] not in storages:
            raise FormatError("it has a tensor of a storage that is missing")
        head = bytes(data[position : position + 8])
        sides = struct.unpack("<i4x", head)[0] if len(head) == 8 else -1
        end = position + 8 + 16 * sides + 8
        if not 0 <= sides <= mapped.MAX_DIMENSIONS or end > len(data):
            raise FormatError("it ends before its tensors do (is the file cut short?)")
        numbers = struct.unpack("<%dq" % (2 * sides + 1), data[position + 8 : end])
        position = end
        tensors[entry[0]] = Tensor(storages[entry[1]], numbers[-1], numbers[:sides], numbers[sides:-1])
    return tensors


_TENSOR_TYPES = {"%s.%sTensor" % (module, kind): Name(kind) for module in ("torch", "torch.cuda") for kind in _DTYPES}


def tar_members(data: memoryview) -> Dict[str, memoryview]:
    """Name -> bytes of the plain files in a tar archive.

    :raises FormatError: for a header that does not fit the file.
    """
    members: Dict[str, memoryview] = {}
    position = 0
    for _ in range(MAX_MEMBERS):
        if position + 512 > len(data) or not data[position]:
            return members
        header = data[position : position + 512]
        size = _octal(bytes(header[124:136]))
        if not is_tar(header) or size < 0 or position + 512 + size > len(data):
            raise FormatError("its archive is damaged or cut short")
        if bytes(header[156:157]) in (b"0", b"\0"):
            name = bytes(header[:100]).split(b"\0")[0].decode("utf-8", "replace")
            members[name[2:] if name.startswith("./") else name] = data[position + 512 : position + 512 + size]
        position += 512 + -(-size // 512) * 512
    raise FormatError("it has more than %d members" % MAX_MEMBERS)


def _octal(field: bytes) -> int:
    """A number of a tar header, -1 if it is none. Sizes from 8 GiB on are stored in binary, with the first bit set."""
    if field[0] & 0x80:
        return int.from_bytes(field[1:], "big")
    try:
        return int(field.strip(b" \0") or b"0", 8)
    except ValueError:
        return -1
