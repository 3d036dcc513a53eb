"""Wrong arguments of the C interface and of its Python module: one sentence each, and the status of a mistake."""

from __future__ import annotations

import ctypes
import itertools
import subprocess
import sys
import threading

import numpy as np
import pytest

from fastalex import UserError, _core
from tests.support import c_interface as c
from tests.support.c_interface import INVALID, OK, address, call, call_of

INT_MAX, INT_MIN = 2**31 - 1, -(2**31)
SIZE_MAX = 2**64 - 1
CONV = "conv name=c out=2 kernel=3 stride=1 pad=1 groups=1 rounding=floor\nfc name=f out=3"
ARRAYS = [
    np.random.default_rng(0).standard_normal(shape).astype(np.float32) for shape in [(2, 3, 3, 3), (2,), (3, 32), (3,)]
]
IMAGE = np.ones((1, 3, 4, 4), np.float32)


@pytest.fixture
def net():
    with c.Net(CONV, ARRAYS) as handle:
        yield handle


def refuses(match, name, *arguments, status=INVALID):
    """Check that the call fails with this status and a sentence that holds ``match``."""
    got, message = call(name, *arguments)
    assert (got, match in message, "\n" in message) == (status, True, False), message
    return message


def create(arrays=ARRAYS, table=CONV, size=4, params=None, total=None, made=None, **options):
    params = c.params_of(arrays) if params is None else params
    chosen = c.options(**options)
    handle = c.POINTER() if made is None else made
    total = len(arrays) if total is None else total
    got = table.encode(), 3, size, size, params, total, ctypes.byref(chosen), ctypes.byref(handle)
    return (*got, handle, chosen)[:8]


def test_null():
    """Every function refuses every combination of NULL among its pointers that has at least one too many."""
    for name in c.FUNCTIONS:
        nothing = [0 if kind in (c.I32, c.U32, c.SIZE) else 0.0 if kind is c.F32 else None for kind in kinds(name)]
        refuses("must not be NULL", name, *nothing)


def kinds(name):
    return getattr(c.library, "fastalex_" + name).argtypes


def test_destroying_nothing():
    c.library.fastalex_destroy(None)
    c.library.fastalex_memory_destroy(None, None)


# Nets ---------------------------------------------------------------------------------------------------------------


def test_parameters():
    assert call("create", *create()) == (OK, "")
    refuses("4 parameters, but 3 were given", "create", *create(ARRAYS[:3]))
    refuses(f"{SIZE_MAX} were given", "create", *create(total=SIZE_MAX))
    refuses("params must not be NULL", "create", *create(params=ctypes.POINTER(c.Param)(), total=4))
    for changes, match in [
        ({"data": None}, "the data of parameter 2 must not be NULL"),
        ({"count": 95}, "parameter 2 must have 96 values, not 95"),
        ({"storage": 1}, "the storage of parameter 2 must be fp32, int8 or int4, not 1"),
        ({"storage": INT_MIN}, "the storage of parameter 2"),
        ({"storage": 2, "outputs": 3}, "the scale of parameter 2, which is quantized, must not be NULL"),
    ]:
        params = c.params_of(ARRAYS)
        for name, value in changes.items():
            setattr(params[2], name, value)
        refuses(match, "create", *create(params=params))
    params = c.params_of(ARRAYS)
    params[0].storage = 2
    refuses("parameter 0 is quantized, but only", "create", *create(params=params))


@pytest.mark.parametrize("outputs", [1, 2, 4, 0, -3, INT_MIN, INT_MAX])
@pytest.mark.parametrize("storage", [2, 3])
def test_scales_of_another_layer(outputs, storage):
    """One scale for a layer of three outputs: the packing would read past its end."""
    params = c.params_of(ARRAYS)
    values, scale = np.zeros(96, np.int8), np.ones(1, np.float32)
    params[2] = c.Param(address(values), address(scale), 96, storage, outputs)
    refuses(f"are for {outputs} outputs, but its layer has 3", "create", *create(params=params, fc_storage=storage))


def test_sizes():
    for size in (0, -1, INT_MIN):
        refuses("at least one", "create", *create(size=size))
    refuses("too large", "create", *create(size=INT_MAX))
    refuses("too small", "create", *create(table="maxpool kernel=5 stride=1 rounding=ceil", arrays=[]))


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"struct_size": 8}, "struct_size is 8"),
        ({"backend": None}, "options->backend must not be NULL"),
        ({"backend": b"no"}, "there is no backend no"),
        ({"fc_storage": -1}, "fc_storage"),
        ({"fc_storage": 5}, "fc_storage"),
        ({"precision": 4}, "precision"),
        ({"fc_layout": INT_MIN}, "fc_layout"),
        ({"device_index": INT_MIN}, "device_index"),
        ({"threads": -1}, "threads must be 0"),
        ({"threads": INT_MAX}, "threads must be 0"),
    ],
)
def test_options(changes, match):
    arguments = create()
    chosen = c.options()
    for name, value in changes.items():
        setattr(chosen, name, value)
    refuses(match, "create", *arguments[:6], ctypes.byref(chosen), arguments[7])


@pytest.mark.parametrize(
    "table",
    ["", "conv", "fc out=99999999999", "fc out=0", "fc out=-1", "lrn size=2 alpha=1 beta=1 k=1 groups=1", "fc x", "x"]
    + ['fc out=1 name=a"b', "fc out=1 name=a\\", "fc out=1 name=\x1b[2J", "fc out=1 name=\x7f"]
    + [f"conv out=1 kernel=1 stride={stride} pad=0 groups=1 rounding=ceil" for stride in (0, -1, 2**25)]
    + [f"conv out=1 kernel=1 stride=1 pad={pad} groups=1 rounding=ceil" for pad in (1, -1, 2**31)]
    + [f"conv out=1 kernel=1 stride=1 pad=0 groups={groups} rounding=ceil" for groups in (0, 2, -3)],
)
def test_tables(table):
    total = ctypes.c_size_t()
    refuses("", "layers", table.encode(), 3, 4, 4, None, 0, ctypes.byref(total))
    refuses("", "create", *create(table=table))


# Calls --------------------------------------------------------------------------------------------------------------


def output_of(count=3):
    array = np.zeros(count, np.float32)
    return array, ctypes.pointer(c.POINTER(address(array))), ctypes.pointer(c.SIZE(count))


def test_a_name_that_two_layers_have():
    table, shapes = "fc out=3 name=a\nrelu\nfc out=3 name=b\nrelu\nfc out=3 name=c", (c.I32 * 8)()
    arrays = [np.ones(shape, np.float32) for shape in [(3, 48), (3,), (3, 3), (3,), (3, 3), (3,)]]
    names = (c.TEXT * 2)(b"relu", b"c")
    with c.Net(table, arrays) as handle:
        request = call_of(names=ctypes.cast(names, ctypes.POINTER(c.TEXT)), name_count=2)
        refuses("relu is asked for, but the table has more than one", "shapes", handle, ctypes.byref(request), shapes)
        request.name_count = 1
        assert call("shapes", handle, ctypes.byref(request), shapes) == (OK, "")


def test_a_right_call(net):
    array, outputs, counts = output_of()
    request = call_of(input=IMAGE, outputs=outputs, output_counts=counts)
    assert call("run", net, ctypes.byref(request)) == (OK, "")
    np.testing.assert_array_equal(array, _core.Net(CONV, [3, 4, 4], ARRAYS).run(_core.Call(IMAGE))[0][0])


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"struct_size": 0}, "struct_size is 0"),
        ({"flags": 6}, "unknown flags 6"),
        ({"batch": 0}, "at least one image"),
        ({"batch": INT_MIN}, "at least one image"),
        ({"batch": INT_MAX}, "too large"),
        ({"height": INT_MIN}, "at least one image"),
        ({"height": INT_MAX, "width": INT_MAX}, "too large"),
        ({"height": 5}, "needs 4 x 4"),
        ({"top_k": -1}, "top_k is -1"),
        ({"top_k": 4}, "top_k is 4"),
        ({"top_k": INT_MIN}, f"top_k is {INT_MIN}"),
        ({"name_count": 1}, "names and name_count go together"),
        ({"names": (c.TEXT * 1)(b"c")}, "names and name_count go together"),
        ({"names": (c.TEXT * 1)(b"x"), "name_count": 1}, "no layer x"),
        ({"names": (c.TEXT * 1)(None), "name_count": 1}, "a name must not be NULL"),
        ({"names": (c.TEXT * 2)(b"c", b"c"), "name_count": 2}, "c is named twice"),
    ],
)
def test_requests(net, changes, match):
    shapes, size = (c.I32 * 8)(), c.SIZE()
    request = call_of(input=IMAGE, **{name: value for name, value in changes.items() if name != "names"})
    if "names" in changes:
        request.names = ctypes.cast(changes["names"], ctypes.POINTER(c.TEXT))
    refuses(match, "shapes", net, ctypes.byref(request), shapes)
    refuses(match, "describe", net, ctypes.byref(request), None, 0, ctypes.byref(size))
    refuses(match, "profile", net, ctypes.byref(request), c.library.fastalex_api_version, None)
    _, request.outputs, request.output_counts = kept = output_of()
    indices = np.zeros(8, np.int32)
    request.indices = address(indices) if request.top_k else None
    refuses(match, "run", net, ctypes.byref(request))
    assert not kept[0].any()


def test_inputs_and_outputs(net):
    array, outputs, counts = output_of()
    frame = ctypes.pointer(c.Frame())
    given = {"input": IMAGE, "outputs": outputs, "output_counts": counts}
    for changes, match in [
        ({"input": None}, "either input or frame"),
        ({"frame": frame}, "either input or frame"),
        ({"input": address(IMAGE) + 1}, "the input must lie at a multiple of 4 bytes"),
        ({"outputs": None}, "outputs, or allocate"),
        ({"output_counts": None}, "outputs, or allocate"),
        ({"outputs": ctypes.pointer(c.POINTER())}, "an output must not be NULL"),
        ({"outputs": ctypes.pointer(c.POINTER(address(array) + 2))}, "an output must lie at a multiple of 4"),
        ({"output_counts": ctypes.pointer(c.SIZE(2))}, "has 3 values, room for 2"),
        ({"output_counts": ctypes.pointer(c.SIZE(SIZE_MAX))}, "has 3 values"),
        ({"indices": array}, "top_k and indices go together"),
        ({"top_k": 3}, "top_k and indices go together"),
        ({"top_k": 3, "indices": address(array) + 1}, "indices must lie at a multiple of 4"),
        ({"input_on_device": 1}, "host memory"),
        ({"outputs_on_device": 1}, "host memory"),
    ]:
        refuses(match, "run", net, ctypes.byref(call_of(**{**given, **changes})))
    for changes in ({"input": None}, {"input_on_device": 1}, {"frame": frame}):
        request = call_of(**{"input": IMAGE, **changes})
        refuses("an input in host memory", "profile", net, ctypes.byref(request), c.library.fastalex_api_version, None)


FRAME = {"row_bytes": 12, "height": 4, "width": 4, "filter": 1, "resized_h": 4, "resized_w": 4}


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({}, "takes float32 arrays"),
        ({"pixels": None}, "frame->pixels must not be NULL"),
        ({"height": 0}, "a frame of 0 x 4"),
        ({"width": INT_MIN}, "a frame of 4 x"),
        ({"width": INT_MAX}, "a frame of 4 x"),
        ({"row_bytes": 11}, "rows of 11 bytes"),
        ({"row_bytes": 2**63 - 1}, "rows of 9223372036854775807 bytes"),
        ({"row_bytes": -(2**63)}, "rows of -9223372036854775808 bytes"),
        ({"filter": 3}, "filter"),
        ({"resized_h": INT_MIN}, "a crop of 4 x 4"),
        ({"resized_w": INT_MIN, "crop_x": INT_MAX}, "a crop of 4 x 4"),
        ({"crop_y": INT_MIN}, "a crop of 4 x 4"),
        ({"crop_y": INT_MAX, "resized_h": INT_MIN}, "a crop of 4 x 4"),
        ({"crop_x": 1}, "a crop of 4 x 4"),
        ({"resized_w": 3}, "a crop of 4 x 4"),
    ],
)
def test_frames(net, changes, match):
    pixels = np.zeros((4, 4, 3), np.uint8)
    _, outputs, counts = output_of()
    frame = c.Frame(**{"pixels": address(pixels), **FRAME, **changes})
    request = call_of(frame=ctypes.pointer(frame), outputs=outputs, output_counts=counts)
    refuses(match, "run", net, ctypes.byref(request))
    request.batch = 2
    refuses("a batch of 1", "run", net, ctypes.byref(request))


def test_reading_parameters(net):
    room = np.zeros(200, np.float32)
    refuses("96 values, room for 95", "get_param", net, 2, address(room), 95)
    refuses("no parameter 4", "get_param", net, 4, address(room), 96)
    refuses("no parameter", "get_param", net, SIZE_MAX, address(room), 96)
    refuses("multiple of 4", "get_param", net, 2, address(room) + 1, 96)
    values, scale = address(room), address(room) + 400
    for index in (0, 1, 2, 3):
        refuses("does not keep", "get_quantized", net, index, values, 96, scale, 12)
    with c.Net(CONV, ARRAYS, fc_storage=2) as quantized:
        assert call("get_quantized", quantized, 2, values, 96, scale, 12) == (OK, "")
        refuses("96 bytes of values and 12", "get_quantized", quantized, 2, values, 95, scale, 12)
        refuses("96 bytes of values and 12", "get_quantized", quantized, 2, values, 96, scale, SIZE_MAX)
        refuses("does not keep", "get_quantized", quantized, 0, values, 96, scale, 12)
        refuses("no parameter", "get_quantized", quantized, SIZE_MAX, values, 96, scale, 12)


def test_memory_of_a_backend_without_any(net):
    memory = c.POINTER()
    for size in (0, 1, SIZE_MAX):
        refuses("no memory of its own", "memory_create", net, size, ctypes.byref(memory))
    refuses("no memory of its own", "memory_copy", net, address(IMAGE), address(IMAGE), SIZE_MAX, 1)
    refuses("no engines", "save_engine", net, ctypes.byref(call_of()), b"/nonexistent")


def test_other_functions():
    room, name, reason = np.zeros(64, np.float32), c.TEXT(), c.TEXT()
    refuses("storage must be int8 or int4, not 1", "quantize", address(room), 1, 1, 1, address(room), address(room))
    refuses("at most", "quantize", address(room), 1, 2**31, 2, address(room), address(room))
    refuses("more than any memory", "quantize", address(room), SIZE_MAX, 8, 2, address(room), address(room))
    refuses("multiple of 4", "quantize", address(room), 1, 1, 2, address(room) + 8, address(room) + 2)
    refuses("there is no backend", "backend", SIZE_MAX, ctypes.byref(name), ctypes.byref(reason))
    for index in (0, -1, INT_MIN, INT_MAX):
        refuses("no devices", "device_info", b"cpu", index, None, 0, ctypes.byref(c.SIZE()))


# Distances ----------------------------------------------------------------------------------------------------------

MAPS = np.random.default_rng(0).standard_normal((4, 6, 5)).astype(np.float32)


@pytest.mark.parametrize(
    ("sizes", "match"),
    [
        ((0, 6, 5), "images is 0"),
        ((4, 0, 5), "channels is 0"),
        ((4, 6, 0), "positions is 0"),
        ((4, 6, INT_MAX), f"positions is {INT_MAX}"),
        ((4, INT_MAX, 5), f"channels is {INT_MAX}"),
        ((SIZE_MAX, 6, 5), "images is"),
        ((4, 6, SIZE_MAX), "positions is"),
        ((2**30, 2**30, 2**30), "more values than any memory"),
        ((2**30, 1, 2**30), "more values than any memory"),
        ((2**30, 1, 2**20), "too many maps"),
    ],
)
def test_unit_normalize(sizes, match):
    maps = MAPS.copy()
    refuses(match, "unit_normalize", address(maps), *sizes, 1e-10, 0, 0)
    refuses("multiple of 4", "unit_normalize", address(maps) + 1, 4, 6, 5, 1e-10, 0, 0)
    for threads in (-1, 1025, INT_MIN):
        refuses("threads must be", "unit_normalize", address(maps), 4, 6, 5, 1e-10, 0, threads)
    np.testing.assert_array_equal(maps, MAPS)


def distances(**values):
    weights, sums = np.ones(6, np.float32), np.full(16, np.nan)
    side = (c.POINTER * 4)(*(address(each) for each in MAPS))
    made = c.Distances(ctypes.sizeof(c.Distances), 1, side, side, 4, 4, address(weights), 6, 5, address(sums))
    for name, value in values.items():
        setattr(made, name, value)
    return made, (weights, sums, side)


def one_null():
    side = (c.POINTER * 4)(*(address(each) for each in MAPS))
    side[3] = None
    return side


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"struct_size": 0}, "struct_size is 0"),
        ({"a": None}, "a, b, weights and sums must not be NULL"),
        ({"weights": None}, "must not be NULL"),
        ({"sums": None}, "must not be NULL"),
        ({"a": one_null()}, "a[3] must not be NULL"),
        ({"b": one_null()}, "b[3] must not be NULL"),
        ({"b": one_null(), "pairing": 0, "columns": 1}, "b[3] must not be NULL"),
        ({"rows": 0}, "rows is 0"),
        ({"columns": 0}, "columns is 0"),
        ({"channels": 0}, "channels is 0"),
        ({"positions": 0}, "positions is 0"),
        ({"positions": INT_MAX}, "positions is"),
        ({"rows": INT_MAX}, "rows is"),
        ({"rows": 2**30, "columns": 2**30}, ""),
        ({"pairing": 3}, "no pairing 3"),
        ({"pairing": -1}, "no pairing -1"),
        ({"pairing": 0}, "zipped pairs have 1 column"),
        ({"pairing": 2, "maps": 64}, "a triangle of pairs has no maps"),
        ({"maps": 66}, "maps must lie at a multiple of 4"),
        ({"threads": 1025}, "threads must be"),
    ],
)
def test_map_distances(changes, match):
    made, kept = distances(**changes)
    refuses(match, "map_distances", ctypes.byref(made))
    assert np.isnan(kept[1]).all()


def test_right_distances():
    made, (_, sums, _) = distances()
    assert call("map_distances", ctypes.byref(made)) == (OK, "")
    differences = MAPS[:, None].astype(np.float64) - MAPS[None]
    np.testing.assert_allclose(sums.reshape(4, 4), (differences**2).sum((2, 3)), rtol=1e-6)


# The Python module --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("storage", [2, 3])
def test_shapes_of_quantized_parameters(storage):
    w = np.random.default_rng(0).standard_normal((3, 32)).astype(np.float32)
    values, scale = _core.quantize_rows(w, storage)
    count = () if storage == 2 else (96,)
    table = "fc name=f out=3"

    def make(*parts, params=None):
        return _core.Net(table, [2, 4, 4], params or [parts, ARRAYS[3]], fc_storage=storage)

    made = make(values, scale, *count).quantized(0, 3)
    np.testing.assert_array_equal(made[0], values)
    np.testing.assert_array_equal(made[1], scale)
    one = (values.reshape(1, -1), scale.reshape(-1)[:1] if storage == 2 else scale.reshape(1, -1)[:, :1], *count)
    with pytest.raises(UserError, match="for 1 outputs, but its layer has 3"):
        make(*one)
    six = (values.reshape(6, -1), np.ones(6, np.float32) if storage == 2 else np.ones((6, 1), np.float16), *count)
    with pytest.raises(UserError, match="for 6 outputs, but its layer has 3"):
        make(*six)
    for wrong in (values.T, values.astype(np.float32), list(values), values[:2], values.reshape(-1)):
        with pytest.raises((ValueError, TypeError)):
            make(wrong, scale, *count)
    for wrong in (scale[:2], scale.astype(np.float64), scale.astype(scale.dtype.newbyteorder()), list(scale)):
        with pytest.raises((ValueError, TypeError)):
            make(values, wrong, *count)
    for wrong in (list(w), w.astype(">f4"), w.astype(np.float64), w.T, "text", None, 5):
        with pytest.raises((ValueError, TypeError)):
            make(params=[wrong, ARRAYS[3]])


def test_python_distances():
    side = [MAPS[0]]
    for weights in (np.empty(0, np.float32), np.ones(5, np.float32)):
        with pytest.raises(ValueError, match="weight for each channel"):
            _core.map_distances(side, side, weights, 1)
    with pytest.raises(ValueError, match="both sides"):
        _core.map_distances([], side, np.ones(6, np.float32), 1)
    empty = [np.empty((6, 0), np.float32)]
    with pytest.raises(UserError, match="positions is 0"):
        _core.map_distances(empty, empty, np.ones(6, np.float32), 1)
    for shape in [(0, 6, 5), (4, 0, 5), (4, 6, 0)]:
        with pytest.raises(UserError, match="is 0, it must be from 1"):
            _core.unit_normalize(np.empty(shape, np.float32), 1e-10, False)


def test_calls_from_python():
    made = _core.Net(CONV, [3, 4, 4], ARRAYS)
    for top_k in (-1, 4, INT_MAX, INT_MIN):
        with pytest.raises(UserError, match=f"top_k is {top_k}"):
            made.run(_core.Call(IMAGE, top_k=top_k))
    with pytest.raises(UserError, match="at least one image"):
        made.run(_core.Call(0, (INT_MIN, 4, 4), top_k=1))
    with pytest.raises(UserError, match="either input or frame"):
        made.run(_core.Call(0, (1, 4, 4)))
    with pytest.raises(UserError, match="zero byte"):
        _core.Call(IMAGE, taps=["c\0d"])
    with pytest.raises(UserError, match="zero byte"):
        _core.Net(CONV + "\0", [3, 4, 4], ARRAYS)
    with pytest.raises(UserError, match="zero byte"):
        _core.load_backend("a\0b")
    with pytest.raises(UserError, match="zero byte"):
        _core.layers("fc out=3\0", (3, 4, 4))
    shifted = np.frombuffer(bytes(IMAGE.nbytes + 1), np.uint8)[1:].view(np.float32).reshape(IMAGE.shape)
    if not shifted.flags.aligned:
        with pytest.raises(UserError, match="multiple of 4"):
            made.run(_core.Call(shifted))


def test_objects_that_were_never_constructed():
    """In a process of its own: it ended by a signal."""
    code = """if True:
        import fastalex._core as core, numpy as np
        net = core.Net("relu", [1, 2, 2], [])
        call = core.Call(np.zeros((1, 1, 2, 2), np.float32))
        raw = {kind: getattr(core, kind).__new__(getattr(core, kind)) for kind in
               ("Net", "Call", "DeviceBuffer", "DLTensor", "Mapping")}
        attempts = [lambda: net.run(raw["Call"]), lambda: core.DeviceBuffer(raw["Net"], 4)]
        arguments = {"run": (call,), "shapes": (call,), "profile": (call,), "describe": (call,),
                     "save_engine": (call, "x"), "param": (0,), "quantized": (0, 1), "set_outputs": ([], []),
                     "copy_to_host": (np.zeros(1),), "copy_from_host": (np.zeros(1),)}
        for kind, made in raw.items():
            for name in dir(made):
                if name in arguments:
                    attempts.append(lambda made=made, name=name: getattr(made, name)(*arguments[name]))
                elif not name.startswith("_"):
                    attempts.append(lambda made=made, name=name: getattr(made, name)
                                    if isinstance(getattr(type(made), name), property) else getattr(made, name)())
        attempts += [lambda: len(raw["Mapping"]), lambda: memoryview(raw["Mapping"])]
        for attempt in attempts:
            try:
                attempt()
            except (TypeError, BufferError) as error:
                assert "was made without its constructor" in str(error.__cause__ or error), error
            else:
                raise SystemExit("accepted")
        print(len(attempts))
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert int(done.stdout) > 25


def test_a_call_whose_outputs_are_replaced_while_it_runs():
    made = _core.Net(CONV, [3, 4, 4], ARRAYS)
    request = _core.Call(IMAGE)
    arrays = [np.zeros(3, np.float32) for _ in range(8)]
    expected = made.run(_core.Call(IMAGE))[0][0]

    def replace():
        for array in itertools.islice(itertools.cycle(arrays), 300):
            request.set_outputs([array.ctypes.data], [3])

    replace()
    thread = threading.Thread(target=replace)
    thread.start()
    for _ in range(100):
        made.run(request)
    thread.join()
    made.run(request)
    np.testing.assert_array_equal(arrays[299 % 8], expected)
