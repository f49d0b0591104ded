# SPDX-License-Identifier: MIT
"""Owns the proof that values speak pickle: C reads what Python writes, and the other way round."""

import collections
import datetime
import fractions
import math
import os
import pickle
import pickletools
import struct
import subprocess
from typing import Any, Iterator, Optional, Tuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

LONG = bool(os.environ.get("MULTIPROC_TEST_LONG"))
settings.register_profile(
    "values",
    deadline=None,
    derandomize=False,
    print_blob=True,
    database=None,
    max_examples=5000 if LONG else 300,
    suppress_health_check=list(HealthCheck),
)
settings.load_profile("values")

MP_ETYPE, MP_EUNSAFE, MP_ELIMIT = -4100, -4101, -4102
EBADMSG, EILSEQ = -74, -84
PROTOCOLS = (2, 3, 4, 5)


class Filter:
    """The C program: one process for all tests of this file."""

    def __init__(self, path: str) -> None:
        self.process = subprocess.Popen([path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def _read(self, n: int) -> bytes:
        data = self.process.stdout.read(n)
        assert len(data) == n, f"the filter died: {self.process.wait()}"
        return data

    def _blob(self) -> bytes:
        return self._read(struct.unpack("<I", self._read(4))[0])

    def __call__(self, data: bytes) -> Tuple[int, Optional[bytes], Optional[str]]:
        """The status, the value encoded again, its repr."""
        self.process.stdin.write(struct.pack("<I", len(data)) + data)
        self.process.stdin.flush()
        status = struct.unpack("<i", self._read(4))[0]
        if status:
            assert status < 0
            return status, None, None
        return status, self._blob(), self._blob().decode("utf-8")

    def close(self) -> None:
        self.process.stdin.close()
        assert self.process.wait(60) == 0
        self.process.stdout.close()


@pytest.fixture(scope="module", name="c")
def running_filter() -> Iterator[Filter]:
    path = os.environ.get("VALUE_FILTER")
    if not path:
        pytest.skip("VALUE_FILTER does not name the filter program")
    program = Filter(path)
    yield program
    program.close()


def same(a: Any, b: Any) -> bool:
    """Equal and of the same types all through; a NaN is a NaN, and zeros keep their sign."""
    if type(a) is not type(b):
        return False
    if isinstance(a, float):
        return struct.pack("<d", a) == struct.pack("<d", b)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return same(list(a.items()), list(b.items()))  # and in the same order
    return a == b


def check(c: Filter, value: Any, data: bytes) -> None:
    status, again, text = c(data)
    assert status == 0, (status, data)
    assert same(pickle.loads(again), value), again
    assert text == repr(value)


# Below 4300 digits, where Python's repr() gives up.
INTS = st.one_of(
    st.integers(-300, 300),
    st.integers(-(2**63) - 2, 2**64 + 2),
    st.integers(),
    st.builds(
        lambda power, sign, add: sign * 2**power + add,
        st.integers(0, 4200), st.sampled_from((1, -1)), st.integers(-2, 2),
    ),
    st.integers(-(2**14000), 2**14000),
)
SCALARS = st.one_of(
    st.none(), st.booleans(), INTS, st.floats(), st.text(), st.binary(),
    st.text(min_size=250, max_size=300), st.binary(min_size=250, max_size=300),
)
KEYS = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4).map(tuple), max_leaves=5)


def containers(inner: st.SearchStrategy) -> st.SearchStrategy:
    return st.one_of(
        st.lists(inner, max_size=12),
        st.lists(inner, max_size=6).map(tuple),
        st.dictionaries(KEYS, inner, max_size=14),
    )


VALUES = st.recursive(SCALARS, containers, max_leaves=30)


@given(value=VALUES, protocol=st.sampled_from(PROTOCOLS))
def test_round_trip(c: Filter, value: Any, protocol: int) -> None:
    check(c, value, pickle.dumps(value, protocol))


@given(value=VALUES, protocol=st.sampled_from(PROTOCOLS))
def test_the_python_pickler(c: Filter, value: Any, protocol: int) -> None:
    check(c, value, pickle._dumps(value, protocol))


@given(value=VALUES, protocol=st.sampled_from(PROTOCOLS))
def test_optimized(c: Filter, value: Any, protocol: int) -> None:
    check(c, value, pickletools.optimize(pickle.dumps(value, protocol)))


@given(value=VALUES, protocol=st.sampled_from(PROTOCOLS))
def test_fixed_point(c: Filter, value: Any, protocol: int) -> None:
    """What C has written once, it writes the same way again."""
    _, once, text = c(pickle.dumps(value, protocol))
    assert c(once) == (0, once, text)


@given(number=st.floats())
def test_floats(c: Filter, number: float) -> None:
    check(c, number, pickle.dumps(number, 4))


def test_floats_around_powers(c: Filter) -> None:
    """The gaps between doubles change there, and with them the shortest digits."""
    numbers = [float(f"1e{e}") for e in range(-323, 309)]
    numbers += [math.ldexp(1, e) for e in range(-1074, 1024)]
    near = [n for x in numbers for n in (x, math.nextafter(x, 0), math.nextafter(x, math.inf), -x)]
    check(c, near, pickle.dumps(near, 4))


@given(text=st.text(st.characters(blacklist_categories=["Cs"]), min_size=1, max_size=20))
def test_text(c: Filter, text: str) -> None:
    check(c, text, pickle.dumps(text, 4))


def test_every_character(c: Filter) -> None:
    for start in range(0, 0x110000, 0x4000):
        text = "".join(chr(i) for i in range(start, start + 0x4000) if not 0xD800 <= i < 0xE000)
        check(c, text, pickle.dumps(text, 4))
    every_byte = bytes(range(256))
    check(c, every_byte, pickle.dumps(every_byte, 2))


@given(parts=st.lists(containers(SCALARS), min_size=1, max_size=5), data=st.data(),
       protocol=st.sampled_from(PROTOCOLS))
def test_shared_references(c: Filter, parts: list, data: st.DataObject, protocol: int) -> None:
    chosen = data.draw(st.lists(st.integers(0, len(parts) - 1), min_size=2, max_size=12))
    value = [[parts[i], {"part": parts[i]}, (parts[i],)] for i in chosen]
    pickled = pickle.dumps(value, protocol)
    check(c, value, pickled)
    _, again, _ = c(pickled)
    back = pickle.loads(again)
    for i, a in enumerate(chosen):
        for k, b in enumerate(chosen):
            if parts[a] != () and parts[b] != ():  # Python and C treat the empty tuple differently
                assert (back[i][0] is back[k][2][0]) == (parts[a] is parts[b])
                assert back[i][0] is back[i][1]["part"]


def test_many_references(c: Filter) -> None:
    shared = [[i] for i in range(70000)]
    value = shared + shared
    for protocol in PROTOCOLS:
        check(c, value, pickle.dumps(value, protocol))


def test_large(c: Filter) -> None:
    many = range(100000)
    for value in (
        [0 for _ in many], [None for _ in many], [() for _ in many], [[] for _ in many],
        [{} for _ in many], [float(i) for i in many], {i: str(i) for i in many},
        {(i, str(i)): i * 2**70 for i in range(20000)},
        b"x" * 3000000, "\u20ac" * 1000000, 2**14000, -(2**14000),
    ):
        for protocol in PROTOCOLS:
            check(c, value, pickle.dumps(value, protocol))
            check(c, value, pickletools.optimize(pickle.dumps(value, protocol)))


def check_anything(c: Filter, data: bytes) -> None:
    """An error or a value, and the filter lives on."""
    status, again, _ = c(data)
    if status == 0:
        pickle.loads(again)
    assert c(b"\x80\x04N.")[2] == "None"


@given(value=VALUES, protocol=st.sampled_from(PROTOCOLS), data=st.data())
def test_truncated(c: Filter, value: Any, protocol: int, data: st.DataObject) -> None:
    pickled = pickle.dumps(value, protocol)
    cut = pickled[: data.draw(st.integers(0, len(pickled) - 1))]
    assert c(cut)[0] in (EBADMSG, EILSEQ), cut


@given(value=VALUES, protocol=st.sampled_from(PROTOCOLS), data=st.data())
def test_mutated(c: Filter, value: Any, protocol: int, data: st.DataObject) -> None:
    pickled = bytearray(pickle.dumps(value, protocol))
    changes = st.tuples(st.integers(0, len(pickled) - 1), st.integers(0, 255))
    for at, byte in data.draw(st.lists(changes, min_size=1, max_size=5)):
        pickled[at] = byte
    check_anything(c, bytes(pickled))


OPCODES = [op.code.encode("latin1") for op in pickletools.opcodes]


@given(parts=st.lists(st.one_of(st.sampled_from(OPCODES), st.binary(max_size=3)), max_size=60),
       protocol=st.sampled_from(PROTOCOLS))
def test_random_opcodes(c: Filter, parts: list, protocol: int) -> None:
    check_anything(c, b"\x80" + bytes([protocol]) + b"".join(parts) + b".")


SAFE_OPCODES = [
    b"N", b"\x88", b"K\x01", b"K\x02", b"]", b"}", b")", b"(", b"a", b"e", b"s", b"u", b"t", b"l", b"d",
    b"\x85", b"\x86", b"\x87", b"0", b"1", b"2", b"\x94", b"q\x00", b"q\x01", b"h\x00", b"h\x01",
    b"\x8c\x01a", b"C\x01b", b"G\x7f\xf8\0\0\0\0\0\0", b"\x8a\x09" + b"\1" * 9,
]


@given(parts=st.lists(st.sampled_from(SAFE_OPCODES), max_size=40))
def test_plausible_opcodes(c: Filter, parts: list) -> None:
    """What both accept, both understand alike; Python may accept more, knots for one."""
    data = b"\x80\x04" + b"".join(parts) + b"."
    check_anything(c, data)
    status, again, text = c(data)
    if status == 0 and not {b"1", b"0"} & set(parts):  # Python keeps marks on a stack of their own
        value = pickle.loads(data)
        assert text == repr(value)
        assert same(pickle.loads(again), value)


class Plain:
    pass


class Reduced:
    def __reduce__(self) -> tuple:
        return (os.system, ("exit 1",))


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    "value",
    [Plain(), Plain, Reduced(), os.system, len, complex(1, 2), datetime.date(2000, 1, 1),
     fractions.Fraction(1, 2), collections.OrderedDict(a=1), range(3), slice(1), ...,
     NotImplemented, int, ValueError("x"), bytearray(b"x"), {1, 2}, frozenset([1])],
    ids=lambda v: type(v).__name__,
)
def test_objects_are_refused(c: Filter, value: Any, protocol: int) -> None:
    for data in (value, [value], {"key": (value,)}):
        status, _, _ = c(pickle.dumps(data, protocol))
        assert status in (MP_EUNSAFE, MP_ETYPE)
        if not isinstance(value, (bytearray, set, frozenset)):
            assert status == MP_EUNSAFE


def test_knots_are_refused(c: Filter) -> None:
    knot: list = []
    knot.append(knot)
    turn: dict = {}
    turn["x"] = ([turn],)
    for value in (knot, turn, [knot], (knot,)):
        for protocol in PROTOCOLS:
            assert c(pickle.dumps(value, protocol))[0] == EBADMSG


@pytest.mark.parametrize(
    "data",  # by hand: pickle.dumps() needs as much of Python's stack as a value is deep
    [b"]" * 1000 + b"a" * 999, b")" + b"\x85" * 999, b"}K\x01" * 999 + b"}" + b"s" * 999],
    ids=["list", "tuple", "dict"],
)
def test_depth(c: Filter, data: bytes) -> None:
    status, again, text = c(b"\x80\x04" + data + b".")
    assert status == 0
    assert c(again) == (0, again, text)
    deeper = b"]" + data + b"a"
    assert c(b"\x80\x04" + deeper + b".")[0] == MP_ELIMIT


def test_surrogates_are_refused(c: Filter) -> None:
    for protocol in PROTOCOLS:
        assert c(pickle.dumps("\ud800", protocol))[0] == EILSEQ


def test_old_protocols_are_refused(c: Filter) -> None:
    for protocol in (0, 1):
        assert c(pickle.dumps([1], protocol))[0] == EBADMSG


def test_out_of_band_buffers_are_refused(c: Filter) -> None:
    buffers: list = []
    data = pickle.dumps(pickle.PickleBuffer(b"x"), 5, buffer_callback=buffers.append)
    assert c(data)[0] == MP_ETYPE
