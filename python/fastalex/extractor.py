"""An extractor with the methods of thingsvision's, for the AlexNet family.

>>> from fastalex.extractor import get_extractor
>>> extractor = get_extractor(model_name="alexnet", source="torchvision", device="cpu", pretrained=True)
>>> features = extractor.extract_features(batches, module_name="features.10", flatten_acts=True)  # doctest: +SKIP

The names, arguments and results are those of github.com/ViCCo-Group/thingsvision, ``thingsvision/core/extraction/``
(``base.py``, ``torch.py``, ``helpers.py``). The network stops at the last module that is asked for. thingsvision's own
``ImageDataset`` and ``DataLoader`` work with it; without them, :meth:`Extractor.batches` reads a folder.
"""

from __future__ import annotations

import dataclasses
import os
from typing import Any, Dict, Iterable, Iterator, List, Mapping, Optional, Sequence, Union

import numpy as np

from . import images
from ._util.arguments import positive_int
from ._util.files import replacing
from .errors import UserError
from .images import listing, profiles
from .images.profiles import PROFILES
from .model import AlexNet
from .networks import taps

OUTPUT_TYPES = ("ndarray", "tensor")
STEP_MEGABYTES, IMAGE_MEGABYTES = 8000, 3  # base.py: how often extract_features writes to disk by itself


def get_extractor(
    model_name: str = "alexnet",
    source: str = "torchvision",
    device: str = "auto",
    pretrained: bool = True,
    model_path: Optional[str] = None,
    model_parameters: Optional[Mapping[str, Any]] = None,
    **options: Any,
) -> Extractor:
    """The extractor for torchvision's AlexNet; or for the weights in ``model_path``, of any variant.

    :param pretrained: without ``model_path``, the published weights of torchvision, downloaded once; False: random.
    :param model_parameters: ``{"weights": "DEFAULT"}`` or ``{"weights": "IMAGENET1K_V1"}``, which are the same here.
    :param options: what :class:`~fastalex.AlexNet` takes besides, such as ``precision``.
    :raises UserError: for another model or source, or weights that cannot be had.
    """
    if (model_name.lower(), source) != ("alexnet", "torchvision"):
        raise UserError(
            f"fastalex has model_name='alexnet' of source='torchvision', not {model_name!r} of {source!r}; "
            "for other weights of the family give model_path"
        )
    wanted = dict(model_parameters or {})
    if wanted.pop("weights", "DEFAULT") not in ("DEFAULT", "IMAGENET1K_V1") or wanted:
        raise UserError(f"model_parameters may be {{'weights': 'DEFAULT'}} only, not {dict(model_parameters or {})!r}")
    if model_path is not None:
        return Extractor(AlexNet(weights=model_path, device=device, **options))
    if pretrained:
        return Extractor(AlexNet.from_pretrained("torchvision", device=device, **options))
    return Extractor(AlexNet("torchvision", weights="random", device=device, **options))


class Extractor:
    """Activations of a network's modules, by the methods of thingsvision's extractors.

    :param net: any :class:`~fastalex.AlexNet`, as :attr:`model` afterwards.
    :param profile: preprocessing; default: the variant's own.
    """

    def __init__(self, net: AlexNet, profile: Union[str, profiles.Profile, None] = None) -> None:
        self.model = net
        self.device = net.device
        self._profile = profiles.get(net.variant.profile if profile is None else profile)

    def get_backend(self) -> str:
        """``"pt"``: batches may be torch tensors. numpy arrays do as well."""
        return "pt"

    def get_output_types(self) -> List[str]:
        return list(OUTPUT_TYPES)

    def get_module_names(self) -> List[str]:
        """Every name that the other methods take."""
        return list(taps.names(self.model.variant))

    def show_model(self) -> AlexNet:
        """The network; ``fastalex summary`` prints its layers."""
        return self.model

    def get_transformations(
        self, resize_dim: int = 256, crop_dim: int = 224, apply_center_crop: bool = True, output_type: str = "tensor"
    ) -> Transformation:
        """What turns a PIL image into ``[3, H, W]``; the dimensions are for profiles that crop.

        :param output_type: ``"tensor"``, as thingsvision's datasets expect it, or ``"ndarray"``, without PyTorch.
        :raises UserError: for dimensions that the profile cannot have.
        """
        _check_output_type(output_type)
        if not apply_center_crop:
            raise UserError("images are cropped to a square here: apply_center_crop=True")
        row = self._profile
        usual = PROFILES["torchvision"]
        if (resize_dim, crop_dim) != (usual.side, usual.size):
            if not row.crops:
                raise UserError(f"profile {row.name} does not crop; leave resize_dim and crop_dim out")
            row = dataclasses.replace(row, side=resize_dim, size=crop_dim)
        return Transformation(row, self.model.variant.input_size if row is self._profile else crop_dim, output_type)

    def batches(self, folder: str, batch_size: int = 32) -> Batches:
        """The images in ``folder`` and below it, sorted by path, as preprocessed batches.

        :raises UserError: for a wrong folder or size; while iterating, for an image that cannot be read.
        """
        positive_int("batch_size", batch_size)
        return Batches(listing.below(folder), batch_size, self._profile, self.model.variant.input_size)

    def extract_batch(
        self,
        batch: Any,
        module_name: Optional[str] = None,
        module_names: Optional[Sequence[str]] = None,
        flatten_acts: bool = False,
        output_type: str = "ndarray",
    ) -> Any:
        """Activations of one batch: of ``module_name``, or a dict of those of ``module_names``.

        :param batch: preprocessed float32 ``[N, 3, H, W]``: numpy or torch.
        :param flatten_acts: ``[N, C * H * W]`` instead of ``[N, C, H, W]``.
        :raises UserError: for a wrong batch, name or type.
        """
        names = _names(module_name, module_names)
        _check_output_type(output_type)
        found = self.model.taps(_host(batch), names)
        made = {name: _as(output_type, _flat(found[name]) if flatten_acts else found[name]) for name in names}
        return made[names[0]] if module_name is not None else made

    def extract_features(
        self,
        batches: Iterable[Any],
        module_name: Optional[str] = None,
        module_names: Optional[Sequence[str]] = None,
        flatten_acts: bool = False,
        output_type: str = "ndarray",
        output_dir: Optional[str] = None,
        step_size: Optional[int] = None,
        file_name_suffix: str = "",
        save_in_one_file: bool = False,
    ) -> Any:
        """Activations of all batches, one row an image: an array, or a dict of arrays with ``module_names``.

        :param output_dir: write them there instead, and return None: ``<module>/features<suffix>_<first>-<last>.npy``
            for each ``step_size`` batches, or ``<module>/features<suffix>.npy`` with ``save_in_one_file``;
            ``.pt`` for tensors.
        :raises UserError: as :meth:`extract_batch`; if there are no batches; if a file cannot be written.

        For a folder of images :func:`fastalex.readout.read_out` needs less memory and goes on after an interruption.
        """
        names = _names(module_name, module_names)
        _check_output_type(output_type)
        files = _Files(output_dir, output_type, file_name_suffix) if output_dir is not None else None
        kept: Dict[str, List[np.ndarray]] = {name: [] for name in names}
        first = count = 0
        for number, batch in enumerate(batches, start=1):
            found = self.extract_batch(batch, flatten_acts=flatten_acts, module_names=names)
            for name in names:
                kept[name].append(found[name])
            count += len(found[names[0]])
            step_size = step_size or STEP_MEGABYTES // (IMAGE_MEGABYTES * len(found[names[0]])) + 1
            if files is not None and number % step_size == 0 and not save_in_one_file:
                files.write(kept, f"_{first}-{count}")
                first = count
        if not count:
            raise UserError("there are no batches; give at least one image")
        if files is not None:
            if first < count:
                files.write(kept, "" if save_in_one_file else f"_{first}-{count}")
            return None
        made = {name: _as(output_type, np.concatenate(arrays)) for name, arrays in kept.items()}
        return made[names[0]] if module_name is not None else made


class Transformation:
    """A callable: PIL image (or whatever :func:`fastalex.images.open_image` takes) -> float32 ``[3, H, W]``."""

    def __init__(self, profile: profiles.Profile, size: int, output_type: str) -> None:
        self.profile, self.size, self.output_type = profile, size, output_type

    def __call__(self, image: Any) -> Any:
        return _as(self.output_type, images.preprocess(image, self.profile, self.size)[0])

    def __repr__(self) -> str:
        return f"Transformation({self.profile.name!r}, size={self.size})"


class Batches:
    """Preprocessed batches, float32 ``[N, 3, S, S]``, made when they are asked for; :attr:`paths` is their order."""

    def __init__(self, paths: List[str], batch_size: int, profile: profiles.Profile, size: int) -> None:
        self.paths = paths
        self._batch_size, self._profile, self._size = batch_size, profile, size

    def __len__(self) -> int:
        return -(-len(self.paths) // self._batch_size)

    def __iter__(self) -> Iterator[np.ndarray]:
        for start in range(0, len(self.paths), self._batch_size):
            yield images.preprocess(self.paths[start : start + self._batch_size], self._profile, self._size)


class _Files:
    """The files of :meth:`Extractor.extract_features`, each whole or not there."""

    def __init__(self, folder: str, output_type: str, suffix: str) -> None:
        self._folder, self._output_type, self._suffix = folder, output_type, suffix

    def write(self, kept: Dict[str, List[np.ndarray]], part: str) -> None:
        """Write and forget what is kept."""
        for name, arrays in kept.items():
            place = os.path.join(self._folder, name)
            try:
                os.makedirs(place, exist_ok=True)
            except OSError as error:
                raise UserError(f"the folder '{place}' cannot be made: {error.strerror}") from None
            ending = ".npy" if self._output_type == "ndarray" else ".pt"
            with replacing(os.path.join(place, f"features{self._suffix}{part}{ending}")) as stream:
                values = np.concatenate(arrays)
                if self._output_type == "ndarray":
                    np.save(stream, values)
                else:
                    _torch().save(_as("tensor", values), stream)
            arrays.clear()


def _names(module_name: Optional[str], module_names: Optional[Sequence[str]]) -> List[str]:
    if bool(module_name) == bool(module_names) or isinstance(module_names, str):
        raise UserError("give either module_name or module_names, a list")
    return [module_name] if module_name else list(module_names or ())


def _host(batch: Any) -> np.ndarray:
    """The batch as numpy, so that results are; a tensor on a GPU comes to the host as thingsvision's results do."""
    if hasattr(batch, "detach"):
        batch = batch.detach().cpu().numpy()
    return np.asarray(batch)


def _flat(values: np.ndarray) -> np.ndarray:
    return values.reshape(len(values), -1)


def _as(output_type: str, values: np.ndarray) -> Any:
    return values if output_type == "ndarray" else _torch().from_numpy(np.ascontiguousarray(values))


def _check_output_type(output_type: str) -> None:
    if output_type not in OUTPUT_TYPES:
        raise UserError(f"output_type must be one of {', '.join(OUTPUT_TYPES)}, not {output_type!r}")


def _torch() -> Any:
    try:
        import torch
    except ImportError:
        raise UserError("tensors need PyTorch: pip install torch, or output_type='ndarray'") from None
    return torch
