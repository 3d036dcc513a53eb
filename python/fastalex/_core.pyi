from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple, Union

import numpy as np

class Call:
    input: Union[np.ndarray, int, None]
    def __init__(
        self,
        input: Union[np.ndarray, int, None] = ...,  # float32 [N, C, H, W], or an address
        shape: Sequence[int] = ...,  # (N, H, W), where the input is no array
        taps: Sequence[str] = ...,
        softmax: bool = ...,
        top_k: int = ...,
        frame: Optional[Dict[str, Any]] = ...,
        on_device: bool = ...,
        stream: int = ...,
    ) -> None: ...
    def set_outputs(
        self, addresses: Sequence[int], counts: Sequence[int], on_device: bool = ..., indices: int = ...
    ) -> None: ...

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
    def run(
        self, call: Call, allocate: Optional[Callable[[Tuple[int, int, int, int]], int]] = ..., on_device: bool = ...
    ) -> List[np.ndarray]: ...
    def shapes(self, call: Call) -> List[List[int]]: ...
    def profile(self, call: Call) -> List[Tuple[str, float]]: ...
    def describe(self, call: Call) -> str: ...
    def save_engine(self, call: Call, path: str) -> None: ...
    def param(self, index: int) -> np.ndarray: ...

class DeviceBuffer:
    ptr: int
    bytes: int
    def __init__(self, net: Net, bytes: int) -> None: ...
    def copy_to_host(self, out: np.ndarray) -> None: ...
    def copy_from_host(self, values: np.ndarray) -> None: ...

DLPACK_CPU: int
DLPACK_CUDA: int

class DLTensor:
    ptr: int
    shape: Tuple[int, ...]
    strides: Optional[Tuple[int, ...]]  # in elements; None: dense
    dtype: str
    itemsize: int
    device: Tuple[int, int]
    def __init__(self, capsule: Any) -> None: ...

def dlpack_capsule(owner: Any, ptr: int, shape: Sequence[int], device: Tuple[int, int]) -> Any: ...

INT4_GROUP: int
FC_STORAGES: Tuple[str, ...]
PRECISIONS: Tuple[str, ...]

def quantize_rows(weights: np.ndarray, storage: int) -> Tuple[np.ndarray, np.ndarray]: ...
def unit_normalize(maps: np.ndarray, eps: float, eps_inside: bool, threads: int = ...) -> None: ...
def map_distances(
    a: Sequence[np.ndarray],
    b: Sequence[np.ndarray],
    weights: np.ndarray,
    pairing: int,
    with_maps: bool = ...,
    threads: int = ...,
) -> Tuple[np.ndarray, Optional[np.ndarray]]: ...
def layers(table: str, input_shape: Sequence[int]) -> List[Tuple[Tuple[int, int, int], bool, int, int]]: ...
def devices(backend: str = ...) -> List[str]: ...
def backends() -> List[Dict[str, Any]]: ...
def build_info() -> Dict[str, Any]: ...
def default_threads() -> int: ...
def cpu_isa() -> str: ...
def load_backend(path: str) -> None: ...
