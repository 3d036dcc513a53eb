"""DLPack capsules, imported and exported: each tensor is deleted exactly once, whatever happens."""

from __future__ import annotations

import ctypes
import subprocess
import sys
import threading
import weakref

import numpy as np
import pytest

from fastalex import _core
from tests.support.small_net import batch_of

CPU = (1, 0)
NAME = b"dltensor"
NULL = ctypes.POINTER(ctypes.c_int64)()


class Tensor(ctypes.Structure):
    """DLManagedTensor of the specification."""

    _fields_ = [
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("sides", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
        ("context", ctypes.c_void_p),
        ("deleter", ctypes.CFUNCTYPE(None, ctypes.c_void_p)),
    ]


new_capsule = ctypes.pythonapi.PyCapsule_New
new_capsule.restype, new_capsule.argtypes = ctypes.py_object, (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)
pointer_of = ctypes.pythonapi.PyCapsule_GetPointer
pointer_of.restype, pointer_of.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
name_of = ctypes.pythonapi.PyCapsule_GetName
name_of.restype, name_of.argtypes = ctypes.c_char_p, (ctypes.py_object,)
rename = ctypes.pythonapi.PyCapsule_SetName
rename.restype, rename.argtypes = ctypes.c_int, (ctypes.py_object, ctypes.c_void_p)
USED = ctypes.create_string_buffer(b"used_dltensor")  # a capsule keeps the address of its name


class Handmade:
    """A tensor of this file, whose deleter counts. Its capsule does not delete it."""

    def __init__(self, shape=(2, 3), strides=None, dtype=(2, 32, 1), offset=0, **changes):
        self.deleted = []
        sides = (ctypes.c_int64 * max(1, len(shape)))(*shape)
        steps = None if strides is None else (ctypes.c_int64 * len(strides))(*strides)
        self.tensor = Tensor(4096, 1, 0, len(shape), *dtype, sides, steps, offset)
        self.tensor.deleter = type(self.tensor.deleter)(self.deleted.append)
        for field, value in changes.items():
            setattr(self.tensor, field, value)
        self.capsule = new_capsule(ctypes.addressof(self.tensor), NAME, None)


class Owner:
    """Memory that a weak reference can follow."""

    def __init__(self):
        self.values = np.arange(6, dtype=np.float32)

    def capsule(self):
        return _core.dlpack_capsule(self, self.values.ctypes.data, (2, 3), CPU)


class Speaks:
    """An object that ``from_dlpack`` of any library takes."""

    def __init__(self, capsule):
        self.capsule = capsule

    def __dlpack__(self, **_):
        return self.capsule

    def __dlpack_device__(self):
        return CPU


def facts(tensor):
    return tensor.ptr, tensor.shape, tensor.strides, tensor.dtype, tensor.itemsize, tensor.device


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, (4096, (2, 3), None, "float32", 4, CPU)),
        ({"strides": (1, 2), "offset": 24}, (4120, (2, 3), (1, 2), "float32", 4, CPU)),
        ({"shape": (), "sides": NULL}, (4096, (), None, "float32", 4, CPU)),
        ({"shape": (0,), "data": None}, (0, (0,), None, "float32", 4, CPU)),
        ({"dtype": (1, 8, 4)}, (4096, (2, 3), None, "uint8x4", 4, CPU)),
        ({"dtype": (0, 4, 1)}, (4096, (2, 3), None, "int4", 1, CPU)),
        ({"dtype": (4, 16, 1)}, (4096, (2, 3), None, "bfloat16", 2, CPU)),
        ({"dtype": (5, 64, 1)}, (4096, (2, 3), None, "complex64", 8, CPU)),
        ({"dtype": (6, 8, 1)}, (4096, (2, 3), None, "bool8", 1, CPU)),
        ({"dtype": (3, 64, 1)}, (4096, (2, 3), None, "opaque64", 8, CPU)),
        ({"device_type": 2, "device_id": 3}, (4096, (2, 3), None, "float32", 4, (2, 3))),
    ],
)
def test_a_tensor_is_taken_over_and_deleted_once(options, expected):
    made = Handmade(**options)
    tensor = _core.DLTensor(made.capsule)
    assert facts(tensor) == expected
    assert name_of(made.capsule) == b"used_dltensor"
    with pytest.raises(ValueError, match="PyCapsule"):
        _core.DLTensor(made.capsule)
    assert made.deleted == []
    del tensor
    assert made.deleted == [ctypes.addressof(made.tensor)]
    del made.capsule
    assert len(made.deleted) == 1


def test_a_tensor_without_a_deleter_needs_none():
    made = Handmade()
    made.tensor.deleter = type(made.tensor.deleter)()
    assert _core.DLTensor(made.capsule).shape == (2, 3)


@pytest.mark.parametrize("changes", [{"ndim": -1}, {"sides": NULL}])
def test_a_tensor_without_a_shape_stays_its_makers(changes):
    made = Handmade(**changes)
    with pytest.raises(ValueError, match="no shape"):
        _core.DLTensor(made.capsule)
    assert name_of(made.capsule) == NAME
    assert made.deleted == []


@pytest.mark.parametrize("other", [None, 7, object(), new_capsule(1, b"dltensor_versioned", None)])
def test_what_is_no_capsule_is_refused(other):
    with pytest.raises(ValueError, match="PyCapsule"):
        _core.DLTensor(other)


def test_a_capsule_keeps_the_memory_until_it_is_let_go(net):
    array = net.to_device(batch_of(1))
    buffer = weakref.ref(array._buffer)
    capsule = array.__dlpack__(stream=-1)
    shape, ptr = array.shape, array.ptr
    del array
    tensor = _core.DLTensor(capsule)
    dense = (3 * 63 * 63, 63 * 63, 63, 1)
    assert facts(tensor) == (ptr, shape, dense, "float32", 4, (_core.DLPACK_CUDA, 0))
    del capsule
    assert buffer() is not None
    del tensor
    assert buffer() is None


def test_a_capsule_that_nobody_reads_lets_go_too():
    owner = Owner()
    alive = weakref.ref(owner)
    capsule = owner.capsule()
    del owner
    assert alive() is not None
    del capsule
    assert alive() is None


def test_an_exception_under_way_passes_a_capsule_that_goes():
    owner = Owner()
    alive = weakref.ref(owner)
    capsules = [owner.capsule()]
    del owner
    with pytest.raises(TypeError, match="PyCapsule"):
        int(capsules.pop())
    assert alive() is None


def test_a_failed_capsule_keeps_nothing():
    owner = Owner()
    count = sys.getrefcount(owner)
    for wrong in ((["x"], CPU), ((2, 3), (1,)), ((2**63,), CPU)):
        with pytest.raises(TypeError):
            _core.dlpack_capsule(owner, 4096, *wrong)
    assert sys.getrefcount(owner) == count


def test_numpy_reads_ours_and_we_numpys():
    owner = Owner()
    expected, alive = owner.values.reshape(2, 3).copy(), weakref.ref(owner)
    capsule = owner.capsule()
    del owner
    array = np.from_dlpack(Speaks(capsule))
    with pytest.raises((ValueError, BufferError)):
        np.from_dlpack(Speaks(capsule))  # it was taken over
    with pytest.raises(ValueError, match="PyCapsule"):
        _core.DLTensor(capsule)
    del capsule
    np.testing.assert_array_equal(array, expected)
    assert alive() is not None
    del array
    assert alive() is None

    values = np.arange(24.0)
    count = sys.getrefcount(values)
    view = values.reshape(2, 3, 4)[1:].transpose(0, 2, 1)
    tensor = _core.DLTensor(view.__dlpack__())
    assert facts(tensor) == (view.ctypes.data, (1, 4, 3), tensor.strides, "float64", 8, CPU)
    assert tensor.strides[1:] == (1, 4)
    del view
    assert sys.getrefcount(values) > count
    del tensor
    assert sys.getrefcount(values) == count
    values.__dlpack__()  # dropped unread
    assert sys.getrefcount(values) == count


@pytest.mark.peers
def test_torch_reads_ours_and_we_torchs():
    torch = pytest.importorskip("torch")
    base = torch.arange(24, dtype=torch.float64).reshape(2, 3, 4)
    tensor = base.transpose(1, 2)[1:]
    read = _core.DLTensor(tensor.__dlpack__())
    assert facts(read) == (tensor.data_ptr(), (1, 4, 3), (12, 1, 4), "float64", 8, CPU)
    assert (ctypes.c_double * 12).from_address(read.ptr)[11] == 23
    base.__dlpack__()  # dropped unread
    del read
    half = _core.DLTensor(torch.zeros(5, dtype=torch.bfloat16).__dlpack__())
    assert (half.shape, half.dtype) == ((5,), "bfloat16")

    owner = Owner()
    alive = weakref.ref(owner)
    capsule = owner.capsule()
    del owner
    theirs = torch.utils.dlpack.from_dlpack(capsule)
    assert theirs.stride() == (3, 1)
    np.testing.assert_array_equal(theirs.numpy(), np.arange(6, dtype=np.float32).reshape(2, 3))
    with pytest.raises(ValueError, match="PyCapsule"):
        _core.DLTensor(capsule)
    del capsule
    assert alive() is not None
    del theirs
    assert alive() is None


def test_a_consumer_may_delete_without_the_lock_of_python():
    """As a thread of another library does; ctypes also calls functions without the lock."""
    owner = Owner()
    alive = weakref.ref(owner)
    capsule = owner.capsule()
    del owner
    address = pointer_of(capsule, NAME)
    rename(capsule, ctypes.addressof(USED))
    thread = threading.Thread(target=Tensor.from_address(address).deleter, args=(address,))
    thread.start()
    thread.join()
    assert alive() is None


def test_many_threads_make_read_and_drop(request):
    """Every tensor is deleted once, and one of the threads that compete for a capsule gets it."""
    threads, rounds = 8, 300
    shared = [Handmade() for _ in range(rounds)]
    owner = Owner()
    count = sys.getrefcount(owner)
    took, wrong = [], []
    start = threading.Barrier(threads)
    interval = sys.getswitchinterval()
    request.addfinalizer(lambda: sys.setswitchinterval(interval))
    sys.setswitchinterval(1e-6)

    def work():
        start.wait()
        try:
            for index, made in enumerate(shared):
                ours = _core.DLTensor(owner.capsule())
                unread = owner.capsule()
                try:
                    theirs = _core.DLTensor(made.capsule)
                    took.append(index)
                    assert theirs.shape == ours.shape
                except ValueError:
                    pass
                del unread
        except BaseException as error:  # noqa: BLE001 - shown by the test
            wrong.append(error)

    workers = [threading.Thread(target=work) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert wrong == []
    assert sorted(took) == list(range(rounds))
    assert [len(made.deleted) for made in shared] == [1] * rounds
    assert sys.getrefcount(owner) == count


SHUTDOWN = """
import sys
import numpy as np
from fastalex import _core

class Speaks:
    def __init__(self, capsule):
        self.capsule = capsule
    def __dlpack__(self, **_):
        return self.capsule
    def __dlpack_device__(self):
        return (1, 0)

values = np.arange(6, dtype=np.float32)
make = lambda: _core.dlpack_capsule(values, values.ctypes.data, (6,), (1, 0))
unread, read, theirs = make(), _core.DLTensor(make()), _core.DLTensor(values.__dlpack__())
circle = [np.from_dlpack(Speaks(make())), make(), _core.DLTensor(make()), theirs]
circle.append(circle)
sys.kept = circle  # until after the modules
"""
TORCH = """
import torch
circle.append(torch.from_dlpack(Speaks(make())))
circle.append(_core.DLTensor(torch.zeros(3).__dlpack__()))
"""


@pytest.mark.parametrize("more", ["", pytest.param(TORCH, marks=pytest.mark.peers)], ids=["numpy", "torch"])
def test_what_is_alive_at_the_end_of_the_interpreter_does_no_harm(more):
    program = [sys.executable, "-X", "dev", "-W", "ignore", "-c", SHUTDOWN + more + "print('done')"]
    done = subprocess.run(program, capture_output=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"done\n", b"")
