"""A feature extractor for the AlexNet family, with the interface of thingsvision.

>>> from fastalex.extractor import get_extractor
>>> extractor = get_extractor(model_name="alexnet", source="torchvision", pretrained=True)  # doctest: +SKIP
>>> features = extractor.extract_features(batches, module_name="features.10", flatten_acts=True)  # doctest: +SKIP

The names, the arguments with their order, and the results are those of github.com/ViCCo-Group/thingsvision,
``thingsvision/core/extraction/`` (``base.py``, ``torch.py``, ``helpers.py``). The network stops at the last requested
module. thingsvision's own ``ImageDataset`` and ``DataLoader`` work with it; without them, :meth:`Extractor.batches`
reads a folder.
"""

from __future__ import annotations

import dataclasses
import os
import warnings
from typing import Any, Callable, Dict, Iterable, Iterator, List, Mapping, Optional, Sequence, Union

import numpy as np

from . import images
from ._util.arguments import positive_int
from ._util.files import replacing
from .errors import UserError
from .images import listing, profiles
from .model import AlexNet
from .networks import taps

OUTPUT_TYPES = ("ndarray", "tensor")
RESIZE_DIM, CROP_DIM = 256, 224  # base.py: the defaults of get_transformations
STEP_MEGABYTES, IMAGE_MEGABYTES = 8000, 3  # base.py: determine the default step_size of extract_features


def get_extractor(
    model_name: str = "alexnet",
    pretrained: bool = True,
    device: str = "auto",
    source: str = "torchvision",
    model_path: Optional[str] = None,
    model_parameters: Optional[Mapping[str, Any]] = None,
    **options: Any,
) -> Extractor:
    """Create an extractor for torchvision's AlexNet, or for the weights in ``model_path``, of any variant.

    :param pretrained: without ``model_path``, use the published weights of torchvision, downloaded once; False: random
        weights. As in thingsvision, :meth:`Extractor.get_transformations` of a pretrained network is always the one
        that its weights were made for.
    :param model_parameters: ``{"weights": "DEFAULT"}`` or ``{"weights": "IMAGENET1K_V1"}``, which mean the same.
    :param options: further arguments of :class:`~fastalex.AlexNet`, such as ``precision``.
    :raises UserError: for another model or source, or if the weights cannot be loaded.
    """
    if not isinstance(pretrained, bool):
        raise UserError(
            f"pretrained must be True or False, not {pretrained!r}: the order of the arguments is model_name, "
            "pretrained, device, source"
        )
    if (model_name.lower(), source) != ("alexnet", "torchvision"):
        raise UserError(
            f"fastalex has model_name='alexnet' of source='torchvision', not {model_name!r} of {source!r}; "
            "for other weights of the family, pass model_path"
        )
    others = dict(model_parameters or {})
    if others.pop("weights", "DEFAULT") not in ("DEFAULT", "IMAGENET1K_V1") or others:
        raise UserError(f"model_parameters must be {{'weights': 'DEFAULT'}}, not {dict(model_parameters or {})!r}")
    if model_path is not None:
        extractor = Extractor(AlexNet(weights=model_path, device=device, **options))
    elif pretrained:
        extractor = Extractor(AlexNet.from_pretrained("torchvision", device=device, **options))
    else:
        extractor = Extractor(AlexNet("torchvision", weights="random", device=device, **options))
    extractor._fixed_transformation = pretrained
    return extractor


def get_extractor_from_model(
    model: Any,
    device: str = "auto",
    backend: str = "pt",
    preprocess: Optional[Callable[[Any], Any]] = None,
    forward_fn: None = None,
    flatten_fn: None = None,
    **options: Any,
) -> Extractor:
    """Create an extractor for a network of the family that is loaded already.

    :param model: an :class:`~fastalex.AlexNet`, which is used as it is, on its own device; or a PyTorch module such as
        ``torchvision.models.alexnet()``, whose weights are copied.
    :param device: of the network that a PyTorch module becomes, as for :class:`~fastalex.AlexNet`.
    :param backend: ``"pt"``.
    :param preprocess: what :meth:`Extractor.get_transformations` returns, instead of fastalex's own.
    :param forward_fn: must be None, like ``flatten_fn``: they replace the calls of a PyTorch module.
    :param options: further arguments of :class:`~fastalex.AlexNet`, for a PyTorch module.
    :raises UserError: for a module that is not of the family, or another backend.
    """
    if backend != "pt":
        raise UserError(f"backend must be 'pt', not {backend!r}")
    if forward_fn is not None or flatten_fn is not None:
        raise UserError("forward_fn and flatten_fn have nothing to replace here; leave them out")
    if not isinstance(model, AlexNet):
        if not hasattr(model, "state_dict"):
            raise UserError(f"model must be an AlexNet or a PyTorch module, not {type(model).__name__}")
        model = AlexNet(weights=model.state_dict(), device=device, **options)
    extractor = Extractor(model)
    extractor._preprocess = preprocess
    return extractor


class Extractor:
    """Extracts activations of a network's modules, with the methods of thingsvision's extractors.

    :param net: any :class:`~fastalex.AlexNet`; it becomes :attr:`model`.
    :param profile: preprocessing profile; default: the variant's own, but without the EXIF orientation, which
        thingsvision does not apply (``thingsvision/utils/data/dataset.py``, ``ImageDataset.__getitem__``).
    """

    def __init__(self, net: AlexNet, profile: Union[str, profiles.Profile, None] = None) -> None:
        self.model = net
        self.device = net.device
        self._profile = _as_stored(net.variant.profile) if profile is None else profiles.get(profile)
        self._fixed_transformation = False
        self._preprocess: Optional[Callable[[Any], Any]] = None
        self._context: Optional[BatchExtraction] = None

    def get_backend(self) -> str:
        """Return ``"pt"``: batches may be torch tensors, or numpy arrays."""
        return "pt"

    def get_output_types(self) -> List[str]:
        """Return the values of ``output_type``."""
        return list(OUTPUT_TYPES)

    def get_module_names(self) -> List[str]:
        """Return the names of the network's modules; other methods accept all of :mod:`fastalex.networks.taps`."""
        return [name for name, _ in self.model.named_modules() if name]

    def show_model(self) -> AlexNet:
        """Return the network; ``fastalex summary`` prints its layers."""
        return self.model

    def get_transformations(
        self,
        resize_dim: int = RESIZE_DIM,
        crop_dim: int = CROP_DIM,
        apply_center_crop: bool = True,
        output_type: str = "tensor",
    ) -> Callable[[Any], Any]:
        """Return the preprocessing of images, which turns a PIL image into float32 ``[C, H, W]``.

        The mean image of the network is subtracted, if it has one. The transformation of a pretrained network of
        :func:`get_extractor` is fixed: it warns of other dimensions and ignores them, as thingsvision does
        (``extractors.py``, ``TorchvisionExtractor.get_default_transformation``).

        :param resize_dim: length of the shorter side after resizing, for profiles that crop.
        :param crop_dim: side of the crop, for profiles that crop.
        :param apply_center_crop: False: leave the resized image whole; its shorter side is ``resize_dim``.
        :param output_type: ``"tensor"``, as thingsvision's datasets expect, or ``"ndarray"``, without PyTorch.
        :raises UserError: for other dimensions than the default with a profile that does not crop.
        """
        _check_output_type(output_type)
        if self._preprocess is not None:
            return self._preprocess
        row, usual = self._profile, (resize_dim, crop_dim, apply_center_crop) == (RESIZE_DIM, CROP_DIM, True)
        if not usual and self._fixed_transformation:
            warnings.warn(
                "the weights come with their own transformation, so resize_dim, crop_dim and apply_center_crop are "
                "ignored, as in thingsvision; get_extractor_from_model(extractor.model) heeds them",
                stacklevel=2,
            )
            usual = True
        elif not usual:
            if not row.crops:
                raise UserError(
                    f"profile {row.name} does not crop; leave out resize_dim, crop_dim and apply_center_crop"
                )
            row = dataclasses.replace(row, side=resize_dim, size=crop_dim if apply_center_crop else resize_dim)
        size = self.model.variant.input_size if usual else row.size
        mean, channels = self.model.mean_image, self.model.variant.channels
        return Transformation(row, size, output_type, mean, channels, whole=not (usual or apply_center_crop))

    def batches(self, folder: str, batch_size: int = 32) -> Batches:
        """Return the images in ``folder`` and its subfolders, sorted by path, as preprocessed batches.

        :raises UserError: for an invalid folder or batch size; while iterating, for an image that cannot be read.
        """
        positive_int("batch_size", batch_size)
        return Batches(listing.below(folder), batch_size, self.get_transformations(output_type="ndarray"))

    def batch_extraction(
        self,
        module_name: Optional[str] = None,
        module_names: Optional[Sequence[str]] = None,
        output_type: str = "ndarray",
    ) -> BatchExtraction:
        """Return a context in which :meth:`extract_batch` needs neither names nor a type.

        >>> with extractor.batch_extraction("features.10", output_type="tensor") as e:  # doctest: +SKIP
        ...     for batch in batches:
        ...         features = e.extract_batch(batch, flatten_acts=True)

        :raises UserError: for an invalid name or type.
        """
        taps.resolve(self.model.variant, _names(module_name, module_names))
        _check_output_type(output_type)
        return BatchExtraction(self, module_name, module_names, output_type)

    def extract_batch(
        self,
        batch: Any,
        flatten_acts: bool = False,
        module_name: Optional[str] = None,
        module_names: Optional[Sequence[str]] = None,
        output_type: Optional[str] = None,
    ) -> Any:
        """Extract the activations of one batch: an array for ``module_name``, or a dict for ``module_names``.

        :param batch: preprocessed, float32 ``[N, C, H, W]``, numpy or torch; or a list or tuple that begins with it,
            such as ``(images, labels)``.
        :param flatten_acts: return ``[N, C * H * W]`` instead of ``[N, C, H, W]``.
        :param module_name: default, as for the other arguments: that of the :meth:`batch_extraction` around this call.
        :param output_type: ``"ndarray"``, the default outside of a :meth:`batch_extraction`, or ``"tensor"``.
        :raises UserError: for an invalid batch, name or type.
        """
        if not isinstance(flatten_acts, (bool, np.bool_)):
            raise UserError(f"flatten_acts must be True or False, not {flatten_acts!r}; name a module as module_name=")
        if self._context is not None:
            if module_name is None and module_names is None:
                module_name, module_names = self._context.module_name, self._context.module_names
            output_type = output_type or self._context.output_type
        output_type = output_type or "ndarray"
        names = _names(module_name, module_names)
        _check_output_type(output_type)
        activations = self.model.taps(_host(_images(batch)), names)
        if flatten_acts:
            activations = {name: _flat(activations[name]) for name in names}
        results = {name: _as(output_type, activations[name]) for name in names}
        return results[names[0]] if module_name is not None else results

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
        """Extract the activations of all batches, one row per image: an array, or a dict with ``module_names``.

        For a folder of images, :func:`fastalex.readout.read_out` needs less memory and can resume an interrupted run.

        :param batches: each as for :meth:`extract_batch`.
        :param output_dir: write the activations to this folder and return None:
            ``<module>/features<suffix>_<first>-<last>.npy`` for every ``step_size`` batches, or
            ``<module>/features<suffix>.npy`` with ``save_in_one_file``; ``.pt`` for tensors.
        :raises UserError: as in :meth:`extract_batch`; if there are no batches; if a file cannot be written.
        """
        names = _names(module_name, module_names)
        _check_output_type(output_type)
        files = _Files(output_dir, output_type, file_name_suffix) if output_dir is not None else None
        collected: Dict[str, List[np.ndarray]] = {name: [] for name in names}
        first = count = 0
        for number, batch in enumerate(batches, start=1):
            activations = self.extract_batch(batch, flatten_acts, module_names=names, output_type="ndarray")
            for name in names:
                collected[name].append(activations[name])
            count += len(activations[names[0]])
            step_size = step_size or STEP_MEGABYTES // (IMAGE_MEGABYTES * len(activations[names[0]])) + 1
            if files is not None and number % step_size == 0 and not save_in_one_file:
                files.write(collected, f"_{first}-{count}")
                first = count
        if not count:
            raise UserError("there are no batches; pass at least one image")
        if files is not None:
            if first < count:
                files.write(collected, "" if save_in_one_file else f"_{first}-{count}")
            return None
        results = {name: _as(output_type, np.concatenate(arrays)) for name, arrays in collected.items()}
        return results[names[0]] if module_name is not None else results


class Transformation:
    """A callable that turns a PIL image, or any input of :func:`fastalex.images.open_image`, into ``[C, H, W]``."""

    def __init__(
        self,
        profile: profiles.Profile,
        size: int,
        output_type: str,
        mean_image: Optional[np.ndarray] = None,
        channels: int = 3,
        whole: bool = False,
    ) -> None:
        self.profile, self.size, self.output_type = profile, size, output_type
        self.mean_image, self.channels, self.whole = mean_image, channels, whole
        if whole and mean_image is not None:
            raise UserError("a mean image has the size of the crop; leave out apply_center_crop=False")

    def __call__(self, image: Any) -> Any:
        """Preprocess one image."""
        return _as(self.output_type, self.batch(image)[0])

    def batch(self, several: Any) -> np.ndarray:
        """Preprocess one image or a list, to a batch ``[N, C, H, W]``.

        :raises UserError: for an image that cannot be read, and for whole images of several sizes.
        """
        mean, channels = self.mean_image, self.channels
        if self.whole:
            from .images import preprocessing  # loads Pillow

            several = preprocessing.as_list(several)
            return _stacked([preprocessing.uncropped(one, self.profile, channels) for one in several])
        return images.preprocess(several, self.profile, self.size, mean_image=mean, channels=channels)

    def __repr__(self) -> str:
        return f"Transformation({self.profile.name!r}, size={self.size})"


class BatchExtraction:
    """The context of :meth:`Extractor.batch_extraction`."""

    def __init__(
        self, extractor: Extractor, module_name: Optional[str], module_names: Optional[Sequence[str]], output_type: str
    ) -> None:
        self.extractor, self.output_type = extractor, output_type
        self.module_name, self.module_names = module_name, module_names
        self._outer: Optional[BatchExtraction] = None

    def __enter__(self) -> Extractor:
        """Return the extractor, which now has these names and this type."""
        self._outer, self.extractor._context = self.extractor._context, self
        return self.extractor

    def __exit__(self, *_: Any) -> None:
        """Give the extractor back what it had before."""
        self.extractor._context = self._outer


class Batches:
    """An iterable over preprocessed batches, float32 ``[N, C, S, S]``; :attr:`paths` are the images in order."""

    def __init__(self, paths: List[str], batch_size: int, transformation: Callable[[Any], Any]) -> None:
        self.paths = paths
        self._batch_size, self._transformation = batch_size, transformation

    def __len__(self) -> int:
        return -(-len(self.paths) // self._batch_size)

    def __iter__(self) -> Iterator[np.ndarray]:
        for start in range(0, len(self.paths), self._batch_size):
            paths = self.paths[start : start + self._batch_size]
            if isinstance(self._transformation, Transformation):
                yield self._transformation.batch(paths)
            else:  # a caller's, which takes PIL images as thingsvision's ImageDataset opens them
                opened = (images.open_image(path, upright=False) for path in paths)
                yield _stacked([_host(self._transformation(image)) for image in opened])


class _Files:
    """The output files of :meth:`Extractor.extract_features`, which are written atomically."""

    def __init__(self, folder: str, output_type: str, suffix: str) -> None:
        self._folder, self._output_type, self._suffix = folder, output_type, suffix

    def write(self, collected: Dict[str, List[np.ndarray]], part: str) -> None:
        """Write the arrays of each module, and clear the lists."""
        for name, arrays in collected.items():
            folder = os.path.join(self._folder, name)
            try:
                os.makedirs(folder, exist_ok=True)
            except OSError as error:
                raise UserError(f"the folder '{folder}' cannot be created: {error.strerror}") from None
            ending = ".npy" if self._output_type == "ndarray" else ".pt"
            with replacing(os.path.join(folder, f"features{self._suffix}{part}{ending}"), tidy=True) as stream:
                values = np.concatenate(arrays)
                if self._output_type == "ndarray":
                    np.save(stream, values)
                else:
                    _torch().save(_as("tensor", values), stream)
            arrays.clear()


def _as_stored(profile: str) -> profiles.Profile:
    """Return the profile called ``profile`` without the EXIF orientation."""
    return dataclasses.replace(profiles.get(profile), upright=False)


def _stacked(arrays: Sequence[np.ndarray]) -> np.ndarray:
    shapes = list(dict.fromkeys(array.shape for array in arrays))
    if len(shapes) > 1:
        raise UserError(
            f"images of the shapes {shapes[0]} and {shapes[1]} make no batch; crop them, or pass batch_size=1"
        )
    return np.stack(arrays)


def _images(batch: Any) -> Any:
    """Return the images of a batch, which a ``DataLoader`` of images and labels delivers as a list of both."""
    if isinstance(batch, (list, tuple)) and batch and getattr(batch[0], "ndim", 0) == 4:
        return batch[0]
    return batch


def _names(module_name: Optional[str], module_names: Optional[Sequence[str]]) -> List[str]:
    if module_name is not None and not isinstance(module_name, str):
        raise UserError(f"module_name must be a name, not {module_name!r}; pass several as module_names")
    if bool(module_name) == bool(module_names) or isinstance(module_names, str):
        raise UserError("pass either module_name or module_names, a list")
    names = [module_name] if module_name else list(module_names or ())
    if not all(isinstance(name, str) for name in names):
        raise UserError(f"module_names must be a list of names, not {module_names!r}")
    return names


def _host(batch: Any) -> np.ndarray:
    """Return the batch as a numpy array in host memory, so that the results are, as in thingsvision."""
    if hasattr(batch, "detach"):
        batch = batch.detach().cpu().numpy()
    try:
        return np.asarray(batch)
    except ValueError:  # lists of several lengths
        raise UserError("the images of a batch must have one shape; crop them, or pass one at a time") from None


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
