from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np

class Net:
    param_bytes: int
    def __init__(
        self,
        table: str,
        input_shape: Sequence[int],
        params: Sequence[Any],  # float32 arrays, or (levels, scale[, count]) of a fully connected weight
        backend: str = ...,
        fc_storage: int = ...,
        threads: int = ...,
        precision: int = ...,
        device_index: int = ...,
        tuning: str = ...,
        exact: bool = ...,
    ) -> None: ...
    def run(self, x: np.ndarray, softmax: bool = ...) -> np.ndarray: ...
    def taps(self, x: np.ndarray, names: Sequence[str], softmax: bool = ...) -> List[np.ndarray]: ...
    def profile(self, x: np.ndarray) -> List[Tuple[str, float]]: ...
    def param(self, index: int) -> np.ndarray: ...
    def output_shapes(
        self, n: int, h: int, w: int, taps: Sequence[str] = ..., softmax: bool = ...
    ) -> List[List[int]]: ...
    def describe(self, n: int, h: int, w: int, softmax: bool = ..., taps: Sequence[str] = ...) -> str: ...
    def save_engine(self, n: int, h: int, w: int, softmax: bool, path: str) -> None: ...
    def run_device(
        self,
        input_ptr: int,
        shape: Sequence[int],
        output_ptrs: Sequence[int],
        output_counts: Sequence[int],
        taps: Sequence[str] = ...,
        stream: int = ...,
        softmax: bool = ...,
        input_on_device: bool = ...,
        outputs_on_device: bool = ...,
        top_k: int = ...,
        indices_ptr: int = ...,
    ) -> None: ...
    def run_frame(
        self,
        pixels_ptr: int,
        on_device: bool,
        spec: Dict[str, Any],
        size: Sequence[int],
        output_ptrs: Sequence[int],
        output_counts: Sequence[int],
        taps: Sequence[str] = ...,
        stream: int = ...,
        softmax: bool = ...,
        outputs_on_device: bool = ...,
        top_k: int = ...,
        indices_ptr: int = ...,
    ) -> None: ...

class DeviceBuffer:
    ptr: int
    bytes: int
    def __init__(self, net: Net, bytes: int) -> None: ...
    def copy_to_host(self, out: np.ndarray) -> None: ...
    def copy_from_host(self, values: np.ndarray) -> None: ...

INT4_GROUP: int

def quantise_rows(weights: np.ndarray, storage: int) -> Tuple[np.ndarray, np.ndarray]: ...
def unit_normalise(maps: np.ndarray, eps: float, eps_inside: bool, threads: int = ...) -> None: ...
def map_distances(
    a: Sequence[np.ndarray],
    b: Sequence[np.ndarray],
    weights: np.ndarray,
    pairing: int,
    with_maps: bool = ...,
    threads: int = ...,
) -> Tuple[np.ndarray, Optional[np.ndarray]]: ...
def devices(backend: str = ...) -> List[str]: ...
def backends() -> List[Dict[str, Any]]: ...
def build_info() -> Dict[str, Any]: ...
def cpu_isa() -> str: ...
def load_backend(path: str) -> None: ...
