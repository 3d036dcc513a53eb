"""A machine for pickles that can only build plain containers and call functions from the caller's table.

The reason for a machine of our own is bounds on time and memory. ``pickle.Unpickler`` with ``find_class`` overridden
can restrict which globals a pickle names, but not how many instructions it executes, how deep it nests, or how much
memory its strings, numbers and memo take. PyTorch's ``torch/_weights_only_unpickler.py`` is a hand-written machine as
well.

Here instructions, marks, memo, text and numbers are all bounded, for a whole file together (:class:`Budget`), no dict
has keys whose hashes a file could make equal, and nothing recurses, so that a hostile file costs about a second and 100
MB at most. An instruction that is not in the
table below is refused; a global is looked up in the caller's table and never imported; REDUCE calls only a
:class:`Function` of that table. Objects of other classes become a :class:`~.placeholders.Placeholder`, if the caller
allows it.

The instructions are those of protocols 2 to 5 in Python's ``Lib/pickletools.py``. ``torch.save`` writes protocol 2 by
default.
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from ..errors import FormatError
from .numpy_pickles import StoredArray, StoredType
from .placeholders import ClassName, Placeholder, class_named

MAX_STEPS = 300_000  # instructions of a file's pickles; a checkpoint with its optimizer has a few thousand
MAX_TEXT = 16 << 20  # bytes of all strings and names of a file's pickles, and again of those that functions convert
MAX_LINE = 512  # bytes of the name of a module or of a global
MAX_NUMBER = 32  # bytes of an integer; the state of numpy's random generator has seventeen
MAX_DEPTH = 1000  # marks that are open at once
MAX_PROTOCOL = 5
LARGE = 1 << 16  # bytes; longer ones are views of the file, and no text

_KEYS = (str, bytes, bool, type(None), Placeholder)  # types of keys whose hashes are seeded, or a few, or of identities
_UNSEEDED = (int, float, tuple)  # hashes that a file can choose, and make equal, so that a dict takes minutes


class Function(NamedTuple):
    """A global that REDUCE may call. ``call`` receives the arguments from the pickle and must check them."""

    name: str
    call: Callable[..., Any]


class Name(NamedTuple):
    """A global that is only a name, for example of a dtype or of the type of a storage."""

    name: str


class Budget:
    """The instructions and the bytes of text that the pickles of a file may still have, and the text they may make."""

    def __init__(self) -> None:
        self.steps, self.text, self.made = MAX_STEPS, MAX_TEXT, MAX_TEXT

    def spend_steps(self, count: int = 1) -> None:
        """Count ``count`` instructions, or elements that a function goes through.

        :raises FormatError: if there are too many.
        """
        self.steps -= count
        if self.steps < 0:
            raise FormatError(f"its pickle has more than {MAX_STEPS} instructions")

    def spend_text(self, count: int) -> None:
        """Count ``count`` bytes of text.

        :raises FormatError: if there are too many.
        """
        self.text -= count
        if count < 0 or self.text < 0:
            raise FormatError(f"its pickle has more than {MAX_TEXT} bytes of text")

    def spend_arguments(self, arguments: Sequence[Any]) -> None:
        """Count the arguments of a function, their elements as instructions, and the text that it may convert.

        The same object may be the argument of many calls.

        :raises FormatError: if there are too many.
        """
        self.spend_steps(len(arguments))
        self.spend_steps(sum(len(part) for part in arguments if type(part) in (list, tuple)))
        self.made -= sum(len(part) for part in arguments if type(part) is str)
        if self.made < 0:
            raise FormatError(f"its pickle converts more than {MAX_TEXT} characters of text")


def load(
    data: memoryview,
    position: int = 0,
    names: Optional[Mapping[str, Any]] = None,
    persistent: Optional[Callable[[Any], Any]] = None,
    budget: Optional[Budget] = None,
    placeholders: bool = False,
) -> Tuple[Any, int]:
    """Return the object pickled at ``position`` of ``data``, and the position after it.

    :param names: ``"module.name"`` -> :class:`Function` or :class:`Name`.
    :param persistent: turns a persistent id into an object; if it is None, persistent ids are refused.
    :param budget: that of the file, for one with several pickles.
    :param placeholders: make a placeholder of an object of any other class, instead of refusing it.
    :raises FormatError: if the pickle is damaged or contains anything else.
    """
    return _Machine(data, position, names or {}, persistent, budget or Budget(), placeholders).run()


class _Machine:
    def __init__(
        self,
        data: memoryview,
        position: int,
        names: Mapping[str, Any],
        persistent: Any,
        budget: Budget,
        placeholders: bool,
    ) -> None:
        self.data, self.position = data, position
        self.names, self.persistent = names, persistent
        self.budget, self.placeholders = budget, placeholders
        self.stack: List[Any] = []
        self.marks: List[int] = []
        self.memo: Dict[int, Any] = {}

    def run(self) -> Tuple[Any, int]:
        while True:
            self.budget.spend_steps()
            code = self.take(1)[0]
            if code == _STOP:
                return self.pop(), self.position
            handler = _HANDLERS.get(code)
            if handler is None:
                raise FormatError(f"its pickle has the instruction 0x{code:02x}, which no tensor needs")
            handler(self)

    # Bytes

    def take(self, count: int) -> memoryview:
        end = self.position + count
        if end > len(self.data):
            raise FormatError("its pickle ends early")
        taken = self.data[self.position : end]
        self.position = end
        return taken

    def number(self, code: str) -> int:
        value: int = struct.unpack("<" + code, self.take(struct.calcsize(code)))[0]
        return value

    def raw(self, count: int) -> bytes:
        self.budget.spend_text(count)
        return bytes(self.take(count))

    def raw_or_view(self, count: int) -> Any:
        """Return bytes, or a view of the file for as many as only an array has."""
        return self.take(count) if count > LARGE else self.raw(count)

    def line(self) -> str:
        start = self.position
        window = bytes(self.data[start : start + MAX_LINE])
        length = window.find(b"\n")
        if length < 0:
            raise FormatError("its pickle has a line without an end")
        self.position = start + length + 1
        return window[:length].decode("utf-8", "replace")

    # Stack

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def pop(self) -> Any:
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise FormatError("its pickle pops more than it has pushed")
        return self.stack.pop()

    def top(self) -> Any:
        value = self.pop()
        self.stack.append(value)
        return value

    def pop_mark(self) -> List[Any]:
        if not self.marks:
            raise FormatError("its pickle closes a mark that it has not set")
        start = self.marks.pop()
        values = self.stack[start:]
        del self.stack[start:]
        return values

    # Instructions

    def mark(self) -> None:
        if len(self.marks) >= MAX_DEPTH:
            raise FormatError(f"its pickle is nested more than {MAX_DEPTH} deep")
        self.marks.append(len(self.stack))

    def protocol(self) -> None:
        if self.number("B") > MAX_PROTOCOL:
            raise FormatError(f"its pickle has a protocol above {MAX_PROTOCOL}")

    def string(self, code: str, encoding: str) -> None:
        raw = self.raw(self.number(code)) if encoding == "utf-8" else self.raw_or_view(self.number(code))
        if isinstance(raw, memoryview):
            self.push(raw)
            return
        try:
            self.push(raw.decode(encoding, "surrogatepass" if encoding == "utf-8" else "strict"))
        except UnicodeDecodeError:
            raise FormatError(f"its pickle has text that is not {encoding}") from None

    def long(self, code: str) -> None:
        size = self.number(code)
        if not 0 <= size <= MAX_NUMBER:
            raise FormatError(f"its pickle has a number of {size} bytes")
        self.push(int.from_bytes(self.take(size), "little", signed=True))

    def tuple_of(self, count: int) -> None:
        values = [self.pop() for _ in range(count)]
        self.push(tuple(reversed(values)))

    def append(self, values: List[Any]) -> None:
        target = self.top()
        if type(target) is Placeholder:
            target.elements = target.elements or []
            target = target.elements
        if type(target) is not list:
            raise FormatError("its pickle appends to something that is not a list")
        target.extend(values)

    def set_items(self, values: List[Any]) -> None:
        target = self.top()
        if type(target) is Placeholder:
            target.entries = target.entries or {}
            target = target.entries
        if type(target) not in (dict, OrderedDict) or len(values) % 2:
            raise FormatError("its pickle sets an item of something that is not a dict")
        for key, value in zip(values[::2], values[1::2]):
            target[safe_key(key)] = value

    def set_item(self) -> None:
        value, key = self.pop(), self.pop()
        self.set_items([key, value])

    def put(self, index: int) -> None:
        if index < 0 or len(self.memo) >= MAX_STEPS:
            raise FormatError("its pickle has an invalid memo")
        self.memo[index] = self.top()

    def get(self, index: int) -> None:
        if index not in self.memo:
            raise FormatError("its pickle reads from its memo what it has not put there")
        self.push(self.memo[index])

    def find(self, module: Any, name: Any) -> None:
        if type(module) is not str or type(name) is not str or len(module) + len(name) > MAX_LINE:
            raise FormatError("its pickle names something that is not text, or too long")
        self.budget.spend_text(len(module) + len(name))
        full = f"{module}.{name}"
        if full in self.names:
            self.push(self.names[full])
        elif self.placeholders:
            self.push(class_named(full))
        else:
            raise FormatError(f"its pickle asks for {full!r:.100}, which has no place there")

    def find_stacked(self) -> None:
        name, module = self.pop(), self.pop()
        self.find(module, name)

    def find_line(self) -> None:
        module = self.line()
        self.find(module, self.line())

    def reduce(self) -> None:
        arguments, function = self.pop(), self.pop()
        self.push(self.called(function, arguments))

    def new_with_keywords(self) -> None:
        self.pop()  # keyword arguments
        self.reduce()

    def called(self, function: Any, arguments: Any) -> Any:
        """Call a function of the table, or make a placeholder."""
        if type(arguments) is tuple and type(function) is Function:
            self.budget.spend_arguments(arguments)
            return function.call(*arguments)
        if type(arguments) is tuple and type(function) in (ClassName, Placeholder):
            return Placeholder(function.name, arguments)
        raise FormatError("its pickle calls something that is not a function")

    def build(self) -> None:
        """Keep the state of an array or a placeholder; drop the attributes of a dict, which hold no tensors."""
        state, target = self.pop(), self.top()
        if type(target) in (StoredArray, StoredType):
            self.budget.spend_arguments(state if type(state) is tuple else ())
            target.build(state)
        elif type(target) is Placeholder:
            target.state = state
        elif type(target) not in (dict, OrderedDict):
            raise FormatError("its pickle sets the state of something that has none")

    def dict_of(self) -> None:
        values = self.pop_mark()
        self.push({})
        self.set_items(values)

    def frozen_set(self) -> None:
        values = self.pop_mark()
        self.push(Placeholder("builtins.frozenset"))
        self.append(values)

    def persistent_id(self) -> None:
        key = self.pop()
        if self.persistent is None:
            raise FormatError("its pickle refers to an object outside of it")
        self.push(self.persistent(key))


def safe_key(key: Any) -> Any:
    """Return ``key``, or a placeholder in the place of a tuple, a float or a large number.

    A placeholder is equal to nothing but itself. No name of a tensor is lost by that.

    :raises FormatError: if Python would not take it as a key, or only by a method of its class.
    """
    if type(key) in _KEYS or (type(key) is int and abs(key) <= MAX_STEPS):
        return key
    if type(key) not in _UNSEEDED:
        raise FormatError("its pickle has a key that is not a plain value")
    return Placeholder(type(key).__name__, (key,))


_STOP = ord(".")
_HANDLERS: Dict[int, Callable[[_Machine], Any]] = {  # what they return is ignored
    0x80: _Machine.protocol,
    0x95: lambda m: m.number("Q"),  # FRAME is a hint for buffering
    ord("("): _Machine.mark,
    ord("0"): lambda m: m.pop(),
    ord("1"): lambda m: m.pop_mark(),
    ord("2"): lambda m: m.push(m.top()),
    ord("N"): lambda m: m.push(None),
    0x88: lambda m: m.push(True),
    0x89: lambda m: m.push(False),
    ord("J"): lambda m: m.push(m.number("i")),
    ord("K"): lambda m: m.push(m.number("B")),
    ord("M"): lambda m: m.push(m.number("H")),
    0x8A: lambda m: m.long("B"),
    ord("G"): lambda m: m.push(struct.unpack(">d", m.take(8))[0]),
    ord("X"): lambda m: m.string("I", "utf-8"),
    0x8C: lambda m: m.string("B", "utf-8"),
    0x8D: lambda m: m.string("Q", "utf-8"),
    ord("T"): lambda m: m.string("I", "latin-1"),  # a str of Python 2
    ord("U"): lambda m: m.string("B", "latin-1"),
    ord("B"): lambda m: m.push(m.raw_or_view(m.number("I"))),
    ord("C"): lambda m: m.push(m.raw(m.number("B"))),
    0x8E: lambda m: m.push(m.raw_or_view(m.number("Q"))),
    0x96: lambda m: m.push(m.raw_or_view(m.number("Q"))),  # a bytearray
    ord(")"): lambda m: m.push(()),
    ord("t"): lambda m: m.push(tuple(m.pop_mark())),
    0x85: lambda m: m.tuple_of(1),
    0x86: lambda m: m.tuple_of(2),
    0x87: lambda m: m.tuple_of(3),
    ord("]"): lambda m: m.push([]),
    ord("l"): lambda m: m.push(m.pop_mark()),
    ord("a"): lambda m: m.append([m.pop()]),
    ord("e"): lambda m: m.append(m.pop_mark()),
    ord("}"): lambda m: m.push({}),
    ord("d"): _Machine.dict_of,
    ord("s"): _Machine.set_item,
    ord("u"): lambda m: m.set_items(m.pop_mark()),
    ord("q"): lambda m: m.put(m.number("B")),
    ord("r"): lambda m: m.put(m.number("I")),
    0x94: lambda m: m.put(len(m.memo)),
    ord("h"): lambda m: m.get(m.number("B")),
    ord("j"): lambda m: m.get(m.number("I")),
    ord("c"): _Machine.find_line,
    0x93: _Machine.find_stacked,
    0x8F: lambda m: m.push(Placeholder("builtins.set")),
    0x90: lambda m: m.append(m.pop_mark()),
    0x91: _Machine.frozen_set,
    ord("R"): _Machine.reduce,
    0x81: _Machine.reduce,  # NEWOBJ has the operands of REDUCE
    0x92: _Machine.new_with_keywords,
    ord("b"): _Machine.build,
    ord("Q"): _Machine.persistent_id,
}
