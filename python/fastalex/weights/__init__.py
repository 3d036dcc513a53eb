"""Weights files: a named set of arrays with its metadata, in any format.

The formats that can be read are ``.safetensors``, ``.npz``, the files of ``torch.save``, ``.caffemodel``, ``.onnx`` and
``.npy`` dicts; none needs a package besides numpy, and large ones of all but ``.npz`` are memory-mapped
(:mod:`.readers.mapped`). A file in a container,
``.gz`` or ``.zip`` for example, is unpacked to a temporary file first. ``.safetensors`` and ``.npz`` can be written.
Files are checked before use, and anything wrong with a file raises a :class:`~fastalex.errors.UserError` that names it.
:mod:`fastalex.weights.adapt` finds out which network of the family the arrays are for.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import importlib
import json
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np

from .._util import bounded_json
from .._util.files import replacing
from ..errors import UserError
from ..networks.architecture import Variant
from ..networks.variants import from_dict
from ..quantize.calibration import Calibration
from ..quantize.calibration import from_json as calibration_from
from . import formats, quantized
from .errors import FormatError
from .formats import FORMATS as FORMATS
from .graph import Graph, shown
from .readers import mapped
from .steps import Step

PathLike = Union[str, "os.PathLike[str]"]

VARIANT_KEY = "fastalex.variant"  # JSON of Variant.to_dict()
VARIANT_NAME_KEY = "fastalex.variant_name"  # a name of VARIANTS, whose row takes the sizes of the arrays
LABELS_KEY = "fastalex.labels"  # JSON list of the class names
CALIBRATION_KEY = "fastalex.calibration"  # JSON of Calibration.to_json()
MEAN_IMAGE_KEY = "fastalex.mean_image"  # JSON: the shape, and the float32 values in base64
BUNDLED = {"digits": "alexnet-digits.safetensors"}
SHOWN_MEMBER = 100  # characters of the name of a member
MAX_LABEL = 1000  # characters
MAX_VARIANT_TEXT, MAX_LABELS_TEXT, MAX_MEAN_TEXT = 1 << 16, 16 << 20, 128 << 20  # characters of the metadata
# The longest text of each kind of metadata, and the most lists, objects and commas; class names have commas, too.
_LIMITS = {
    VARIANT_KEY: (MAX_VARIANT_TEXT, 1000),
    LABELS_KEY: (MAX_LABELS_TEXT, 1_000_000),
    MEAN_IMAGE_KEY: (MAX_MEAN_TEXT, 100),
}
SHOWN_PATH = 1000  # characters of a path


@dataclass(frozen=True)
class Weights:
    """The contents of a weights file.

    * ``arrays``: read-only, views of the mapped file if the format allows it. Fully connected weights of a quantized
      file are :class:`~fastalex.weights.quantized.QuantizedWeight`.
    * ``metadata``: text to text.
    * ``path``: of the file, followed by ``(MEMBER)`` for a container's; empty for weights that are not from a file.
    * ``steps``: the layers in their order, if the file describes them (Caffe, ONNX).
    * ``graph``: the file's own description of its network, if it has one (Caffe, ONNX).
    * ``notes``: what of the file was left out or assumed, a clause each, for a warning.
    * ``files``: the path of every file that was read, that of ``path`` first, and its status before it was read.
    """

    arrays: Dict[str, Any]
    metadata: Dict[str, str] = field(default_factory=dict)
    path: str = ""
    steps: Sequence[Step] = ()
    graph: Optional[Graph] = None
    notes: Sequence[str] = ()
    files: Sequence[Tuple[str, os.stat_result]] = ()

    def check_unchanged(self) -> None:
        """Check that none of the :attr:`files` was written to since it was opened; one may have been replaced.

        :raises UserError: if one was.
        """
        for path, status in self.files:
            try:
                now = os.stat(path)
            except OSError:  # gone: what was read or is mapped is the old file
                continue
            if os.path.samestat(now, status) and (now.st_size, now.st_mtime_ns) != (status.st_size, status.st_mtime_ns):
                raise UserError(f"{shown(path, SHOWN_PATH)} was changed while it was loaded; load it again")

    def variant(self) -> Optional[Variant]:
        """Return the network that the metadata describes, or None if there is no description.

        :raises UserError: if the description is not that of a network.
        """
        values = self._json(VARIANT_KEY, dict)
        with self._named():
            return None if values is None else from_dict(values)

    def labels(self) -> Optional[List[str]]:
        """Return the names of the classes, or None if the file has none.

        :raises UserError: if they are not a list of text, or one of them has more than :data:`MAX_LABEL` characters.
        """
        names: Optional[List[str]] = self._json(LABELS_KEY, list)
        _check_labels(names or (), self.path)
        return names

    def calibration(self) -> Optional[Calibration]:
        """Return the quantization scales of the activations, or None if the file has none.

        :raises UserError: if they are not in the form of :meth:`Calibration.to_json`.
        """
        if CALIBRATION_KEY not in self.metadata:
            return None
        with self._named():
            return calibration_from(self.metadata[CALIBRATION_KEY])

    def mean_image(self) -> Optional[np.ndarray]:
        """Return the mean image that was subtracted in training, or None if the file has none.

        It is float32 ``[C, side, side]`` on a 0 to 255 scale, with the planes in the order of the variant's profile.

        :raises UserError: if it is not in the form of :func:`metadata_for`.
        """
        values = self._json(MEAN_IMAGE_KEY, dict)
        if values is None:
            return None
        try:
            flat = np.frombuffer(base64.b64decode(values["float32"], validate=True), "<f4")
            mean = mapped.shaped("the mean image", flat, tuple(values["shape"]))
        except (KeyError, TypeError, ValueError, FormatError):
            raise UserError(f"the mean image of {self.path} is not valid") from None
        return mean.astype(np.float32)

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        """Put the file before the errors of its metadata."""
        try:
            yield
        except UserError as error:
            raise UserError(f"{self.path} cannot be used: {error}") from None

    def _json(self, key: str, kind: type) -> Any:
        if key not in self.metadata:
            return None
        try:
            value = bounded_json.loads(self.metadata[key], *_LIMITS[key])
        except ValueError as error:
            raise UserError(f"the metadata '{key}' of {self.path} {error}") from None
        if not isinstance(value, kind):
            raise UserError(f"the metadata '{key}' of {self.path} is not valid")
        return value


def load(path: PathLike, mmap: bool = True) -> Weights:
    """Read the weights file ``path``.

    :mod:`~fastalex.weights.formats` says how its format is recognized. The file may be in one level of ``.gz``,
    ``.bz2``, ``.xz``, ``.zip`` or ``.tar`` (:mod:`~fastalex.weights.containers`). Arrays keep the names of the file,
    except those of ONNX files, which are named by their position: ``conv1.weight`` and so on. What the file does not
    say of its network may stand in a ``config.json`` beside it (:mod:`~fastalex.weights.companion`).

    :param mmap: map a large file instead of reading it (:mod:`.readers.mapped`). False takes memory for the whole file,
        and time to read it; then nothing that happens to the file later matters.
    :raises UserError: if the file is missing, of another kind, or wrong in any way.
    """
    from . import companion  # which needs the keys above

    name = os.fspath(path)
    with _opened(name) as file:
        reader = importlib.import_module(".readers." + file.kind, __name__)
        with mapped.reading(not mmap):
            arrays, metadata, *description = reader.read(file.stream, os.fstat(file.stream.fileno()).st_size)
        arrays = mapped.without_small(arrays)
        added, beside = companion.beside(name)
        weights = Weights(arrays, companion.merged(metadata, added), file.label, *description)
        arrays = quantized.read(arrays, metadata, weights.variant)
        return dataclasses.replace(weights, arrays=arrays, files=((name, file.status), *weights.files, *beside))


def format_of(path: PathLike) -> str:
    """Return the format of the weights file ``path``, or of the one in that container.

    It is ``"safetensors"``, ``"npz"``, ``"pytorch"``, ``"caffe"``, ``"onnx"`` or ``"npy"``. A container is unpacked for
    it.

    :raises UserError: if the file is missing or of another kind.
    """
    with _opened(os.fspath(path)) as file:
        return file.kind


class _Opened(NamedTuple):
    """An open file: what messages call it, the module that reads it, and the status of the file or its container."""

    label: str
    stream: BinaryIO
    kind: str
    status: os.stat_result


@contextlib.contextmanager
def _opened(name: str) -> Iterator[_Opened]:
    """Open the file ``name``, or the one in that container.

    What goes wrong, in the caller as well, is raised as a :class:`UserError` that names it.
    """
    label = name
    try:
        with contextlib.ExitStack() as opened:
            stream = opened.enter_context(_open(name))
            status = os.fstat(stream.fileno())
            kind = _recognized(name, stream)
            if kind in formats.CONTAINERS:
                member, stream = _unpacked(name, stream, kind)
                opened.enter_context(stream)
                label = f"{name} ({shown(member, SHOWN_MEMBER)})"
                kind = _recognized_member(member, stream)
            yield _Opened(label, stream, kind, status)
    except FormatError as error:
        raise UserError(f"{label} cannot be used: {error}") from None
    except FileNotFoundError:
        by_name = "" if os.path.splitext(name)[1] and ":" not in name else "; from_pretrained takes names of weights"
        raise UserError(f"there is no weights file {name}{by_name}") from None
    except (OSError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{label} cannot be read: {error}") from None


def metadata_for(
    variant: Variant,
    labels: Optional[Sequence[str]] = None,
    calibration: Optional[Any] = None,
    mean_image: Optional[np.ndarray] = None,
) -> Dict[str, str]:
    """Return the metadata of a file for the network ``variant``: the keys that :class:`Weights` reads.

    :param mean_image: ``[C, side, side]``, see :meth:`Weights.mean_image`.
    :raises UserError: if the labels are such that :meth:`Weights.labels` would refuse them.
    """
    metadata = {VARIANT_KEY: json.dumps(variant.to_dict())}
    if labels:
        _check_labels(labels, "the network")
        metadata[LABELS_KEY] = json.dumps(list(labels))
    if calibration is not None:
        metadata[CALIBRATION_KEY] = calibration.to_json()
    if mean_image is not None:
        values = np.ascontiguousarray(mean_image, "<f4")
        text = base64.b64encode(values.tobytes()).decode("ascii")
        metadata[MEAN_IMAGE_KEY] = json.dumps({"shape": values.shape, "float32": text})
    return metadata


def _check_labels(labels: Sequence[Any], owner: str) -> None:
    if not all(isinstance(label, str) for label in labels):
        raise UserError(f"{owner} has class names that are not text")
    longest = max(map(len, labels), default=0)
    if longest > MAX_LABEL:
        raise UserError(f"{owner} has a class name of {longest} characters, more than {MAX_LABEL}; shorten it")


def load_network(path: PathLike, mmap: bool = True) -> Weights:
    """Read the network in the weights file ``path``, without arrays that are not of it (:mod:`.selection`).

    :raises UserError: like :func:`load`, or if the file holds several networks.
    """
    from .selection import select

    return select(load(path, mmap))


def load_named(name_or_path: PathLike, mmap: bool = True) -> Weights:
    """Read the network that comes with the package under this name, else the one in the file at this path.

    :raises UserError: like :func:`load_network`.
    """
    return load_network(bundled(str(name_or_path)) if name_or_path in BUNDLED else name_or_path, mmap)


def save(path: PathLike, arrays: Mapping[str, np.ndarray], metadata: Optional[Mapping[str, str]] = None) -> None:
    """Write ``arrays`` and ``metadata`` (text to text) to ``path``, in the format of its suffix.

    The file appears whole or not at all: a failure leaves an existing file unchanged.

    :raises UserError: if an array is not of plain numbers, or mapped from a file that was cut short, a name is not
        text, or the file cannot be written.
    """
    name = os.fspath(path)
    writer = _writer(name)
    metadata = dict(metadata or {})
    for key, value in metadata.items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise UserError(f"metadata must be text to text, not {key!r}: {value!r}")
    mapped.check_whole(arrays.values())
    plain = {key: _plain(key, array) for key, array in arrays.items()}
    try:
        with replacing(name, tidy=True) as stream:
            writer.write(stream, plain, metadata)
    except FormatError as error:
        raise UserError(f"{name} cannot be written: {error}") from None


def bundled(name: str) -> Path:
    """Return the path of weights that come with the package.

    :raises UserError: for an unknown name.
    """
    if name not in BUNDLED:
        raise UserError(f"no weights '{name}' come with fastalex (there are: {', '.join(BUNDLED)})")
    return Path(__file__).resolve().parent.parent / "data" / BUNDLED[name]


def _writer(name: str) -> Any:
    suffix = os.path.splitext(name)[1].lower()
    if suffix not in FORMATS:
        raise UserError(f"{name} must end in {' or '.join(FORMATS)} to be written")
    return importlib.import_module(".readers." + FORMATS[suffix], __name__)


def _open(name: str) -> BinaryIO:
    if not stat.S_ISREG(os.stat(name).st_mode):  # opening a pipe would wait forever
        raise UserError(f"{name} is not a file")
    return open(name, "rb")


def _recognized(name: str, stream: BinaryIO) -> str:
    kind = formats.recognized(name, stream)
    if kind != "tar":
        return kind
    from . import containers  # only a tar archive needs its modules

    return "pytorch" if containers.is_torch(stream) else kind


def _unpacked(name: str, stream: BinaryIO, kind: str) -> Tuple[str, BinaryIO]:
    from . import containers  # only a container needs its modules

    return containers.unpack(name, stream, kind)


def _recognized_member(member: str, stream: BinaryIO) -> str:
    """Return the module that reads a file that was unpacked.

    :raises FormatError: if there is none.
    """
    kind = _recognized(member, stream)
    if kind in formats.CONTAINERS:
        raise FormatError(f"it is a .{kind} inside of another container; unpack the outer one")
    return kind


def _plain(name: Any, values: Any) -> np.ndarray:
    """Convert ``values`` to a C-contiguous little-endian array of plain numbers."""
    if not isinstance(name, str) or not name or name == "__metadata__":
        raise UserError(f"{name!r} cannot be the name of an array")
    array = np.asarray(values)
    if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
        raise UserError(f"the array {name!r} must hold plain numbers, not {array.dtype}")
    return np.asarray(array, array.dtype.newbyteorder("<"), order="C")
