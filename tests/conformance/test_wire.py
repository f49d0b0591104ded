# SPDX-License-Identifier: MIT
"""Owns the tests of C programs and Python's own multiprocessing over one wire: connections and managers.

WIRE_PEER is the C program; each test runs with every interpreter that is found.
"""
import os
import shutil
import subprocess
import sys

import pytest

PEER = os.environ["WIRE_PEER"]
NAMES = [sys.executable, "python3.9", "python3.10", "python3.12", "python3.13"]
NAMES += os.environ.get("MULTIPROC_PYTHONS", "").split()
KEY = "secret"


def works(name):
    path = shutil.which(name)
    if not path:
        return None
    done = subprocess.run([path, "-c", "import multiprocessing, sys; assert sys.version_info >= (3, 7)"], capture_output=True, check=False)
    return path if done.returncode == 0 else None


PYTHONS = list(dict.fromkeys(path for path in map(works, NAMES) if path))
every_python = pytest.mark.parametrize("python", PYTHONS)


@pytest.fixture
def started():
    """Starts programs, and ends them."""
    running = []

    def start(words):
        process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        running.append(process)
        return process

    yield start
    for process in running:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def peer(mode, address, key=KEY, md5=True):
    return [PEER, mode, address, key] + ["md5"] * md5


def run(words, timeout=60, text=None):
    done = subprocess.run(words, capture_output=True, text=True, timeout=timeout, input=text, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


def old(python):
    """Before 3.12: md5 is all that it knows."""
    code = "import sys; print(sys.version_info < (3, 12))"
    return run([python, "-c", code]) == ["True"]


LISTENER = """
from multiprocessing.connection import Listener
with Listener({address}, authkey=b"secret") as listener:
    a = listener.address
    a = a.decode() if isinstance(a, bytes) else a
    print(f"{{a[0]}}:{{a[1]}}" if isinstance(a, tuple) else a.replace("\\0", "@"), flush=True)
    with listener.accept() as c:
        got = c.recv()
        print(got, flush=True)
        for value in [got, {{"a": [1, 2.5, None]}}, b"x" * 100000, 2 ** 100, {{1, 2}}]:
            c.send(value)
"""


@every_python
@pytest.mark.parametrize("address", ["('127.0.0.1', 0)", "None", "'\\0mp_wire_%d'" % os.getpid()])
def test_client_in_c(python, address, started):
    listener = started([python, "-c", LISTENER.format(address=address)])
    where = listener.stdout.readline().strip()
    lines = run(peer("connect", where))
    assert lines[0] == "[42, None, 'hello']"
    assert lines[1] == "{'a': [1, 2.5, None]}"
    assert lines[2] == repr(b"x" * 100000)
    assert lines[3] == repr(2 ** 100)
    assert lines[4] in ("MP_ETYPE", "MP_EUNSAFE")  # a set is no value
    assert listener.stdout.readline() == "[42, None, 'hello']\n"


CLIENT = """
import sys
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client
host, colon, port = sys.argv[1].rpartition(":")
address = (host, int(port)) if colon else sys.argv[1].replace("@", "\\0")
try:
    c = Client(address, authkey=sys.argv[2].encode())
except (AuthenticationError, EOFError) as error:
    print(type(error).__name__)
    sys.exit()
for value in [[42, None, "hello"], (1.5, b"bytes"), "y" * 200000]:
    c.send(value)
    assert c.recv() == value
c.send_bytes(b"")
assert c.recv_bytes() == b""
print("good")
"""


@every_python
def test_listener_in_c(python, started):
    for address in ["127.0.0.1:0", ""]:
        listener = started(peer("listen", address))
        where = listener.stdout.readline().strip()
        assert run([python, "-c", CLIENT, where, KEY]) == ["good"]
        assert listener.stdout.readline().startswith("OK")
        assert run([python, "-c", CLIENT, where, "wrong"]) == ["AuthenticationError"]
        assert listener.stdout.readline().startswith("EACCES")
        assert run([python, "-c", CLIENT, where, KEY]) == ["good"]


@every_python
def test_md5_must_be_allowed(python, started):
    listener = started(peer("listen", "", md5=False))
    where = listener.stdout.readline().strip()
    answer = run([python, "-c", CLIENT, where, KEY])
    assert answer == (["AuthenticationError"] if old(python) else ["good"])
    line = listener.stdout.readline()
    assert ("md5" in line) == old(python)


SERVER = """
from multiprocessing.managers import SyncManager
class Thing:
    def double(self, x):
        return x * 2
    def fail(self, x):
        raise ValueError("no " + str(x))
SyncManager.register("Thing", Thing)
manager = SyncManager(("127.0.0.1", 0), authkey=b"secret")
server = manager.get_server()
print("%s:%d" % server.address, flush=True)
server.serve_forever()
"""


@every_python
def test_python_manager_from_c(python, started):
    server = started([python, "-c", SERVER])
    where = server.stdout.readline().strip()
    words = [
        "dict __setitem__ x", "dict __getitem__ x", "dict __getitem__ y", "dict keys -", "dict __iter__ -",
        "Thing double 21", "Thing fail z", "Thing nothing -", "Queue put 7", "Queue get -",
        "Queue get_nowait -", "list append 5", "list __len__ -", "Nonsense x -",
    ]
    lines = run(peer("use", where), text="\n".join(words))
    assert lines == [
        "None", "1", "MP_EREMOTE KeyError: 'y'", "['x']", "'x'", "StopIteration",
        "42", "MP_EREMOTE ValueError: no z", lines[8], "None", "7",
        "MP_EREMOTE Empty", "None", "1", "KeyError: 'Nonsense'", "0 objects",
    ]
    assert "nothing" in lines[8]


USER = """
import queue, sys, threading
from multiprocessing.managers import *
from multiprocessing.managers import RemoteError
class M(SyncManager):
    pass
M.register("Greeter", exposed=("greet",))
host, colon, port = sys.argv[1].rpartition(":")
m = M(address=(host, int(port)) if colon else sys.argv[1].replace("@", "\\0"), authkey=b"secret")
m.connect()
d = m.dict({"a": 1}, b=2)
d["c"] = [1, 2]
assert d.copy() == {"a": 1, "b": 2, "c": [1, 2]} and len(d) == 3 and "a" in d and list(d) == ["a", "b", "c"]
assert sorted(d.keys()) == ["a", "b", "c"] and dict(d.items()) == d.copy() and d.pop("a") == 1
try:
    d["nothing"]
    raise AssertionError
except KeyError as error:
    assert error.args == ("nothing",)
assert str(d) == "{'b': 2, 'c': [1, 2]}"
l = m.list([3, 1, 2])
l.append(4); l.sort(); l += [9, 8]
assert l[:] == [1, 2, 3, 4, 9, 8] and l[1:3] == [2, 3] and l[::-2] == [8, 4, 2] and l[-1] == 8
del l[0]; l[0:2] = ["x"]; l.reverse()
assert list(l) == [8, 9, 4, "x"] and l.index(9) == 1 and l + [1] == [8, 9, 4, "x", 1]
import random
ours, theirs = m.list(list(range(10))), list(range(10))
some = [None, 0, 1, 2, 5, 9, 10, 11, -1, -2, -10, -11, sys.maxsize, -sys.maxsize - 1, 10**30, -10**30]
for i in range(1500):
    part = slice(random.choice(some), random.choice(some), random.choice([None, 1] + some))
    what = random.choice(["get", "set", "del"])
    new = [random.random() for _ in range(random.choice([0, 1, 3, 10]))]
    results = []
    for x in [ours, theirs]:
        try:
            results.append(x[part] if what == "get" else x.__setitem__(part, new) if what == "set" else x.__delitem__(part))
        except ValueError:
            results.append(ValueError)
    assert results[0] == results[1], (part, what, results, theirs)
    if i % 10 == 0:
        theirs = list(range(10))
        ours[:] = theirs
    assert ours[:] == theirs, (part, what, theirs)
assert m.list([1, 2, 1]).index(1, 1) == 2
try:
    ours["a":]
    raise AssertionError
except TypeError:
    pass
n = m.Namespace(x=5)
n.y = "why"
assert (n.x, n.y) == (5, "why")
try:
    n.z
    raise AssertionError
except AttributeError:
    pass
v = m.Value("i", 3)
v.value += 1
assert v.value == 4
q = m.Queue(1)
q.put("job")
try:
    q.put("more", timeout=0.05)
    raise AssertionError
except queue.Full:
    pass
assert q.get() == "job" and q.empty()
try:
    q.get(timeout=0.05)
    raise AssertionError
except queue.Empty:
    pass
lock = m.Lock()
got = []
with lock:
    t = threading.Thread(target=lambda: (lock.acquire(), got.append(1), lock.release()))
    t.start()
    t.join(0.1)
    assert not got
t.join()
assert got == [1]
e = m.Event()
threading.Timer(0.1, e.set).start()
assert e.wait(20) and e.is_set()
c = m.Condition()
with c:
    threading.Timer(0.1, lambda: (c.acquire(), c.notify_all(), c.release())).start()
    assert c.wait(20)
    assert not c.wait(0.05)
b = m.Barrier(2)
threading.Thread(target=b.wait).start()
assert b.wait(20) in (0, 1) and b.parties == 2 and not b.broken
g = m.Greeter(name="world")
assert g.greet("hello") == "hello, world"
try:
    g.greet(5)
    raise AssertionError
except ValueError as error:
    assert str(error) == "a greeting is a word"
import datetime, decimal
lock2 = m.Lock()
lock2.acquire()
sys.setrecursionlimit(20000)
deep = []
for i in range(1100):
    deep = [deep] if i % 2 else (deep,)
for bad in [datetime.date(2020, 1, 1), [decimal.Decimal(1)], {"x": slice(1, 2)}, lock, slice(1), deep]:
    for call in [l.append, q.put, d.__contains__, lambda bad: d.update(k=bad), g.greet]:
        try:
            call(bad)
            raise AssertionError(bad)
        except (TypeError, RemoteError) as error:
            pass
assert list(l) == [8, 9, 4, "x"] and q.empty() and len(d) == 2
assert not lock2.acquire(False)  # the server has not given up the connection
try:
    m.list([datetime.date(2020, 1, 1)])
    raise AssertionError
except RemoteError as error:
    assert "TypeError" in str(error)
try:
    m.Greeter()
    raise AssertionError
except RemoteError as error:
    assert "TypeError" in str(error)
print("good")
"""


@every_python
def test_c_manager_from_python(python, started):
    for address in ["127.0.0.1:0", ""]:
        server = started(peer("serve", address))
        where = server.stdout.readline().strip()
        assert run([python, "-c", USER, where]) == ["good"]
        assert run([python, "-c", USER, where]) == ["good"]  # it serves on


HOLDER = """
import os, sys
from multiprocessing.managers import SyncManager
m = SyncManager(address=sys.argv[1].replace("@", "\\0"), authkey=b"secret")
m.connect()
d = m.dict()
"""


def test_a_python_client_that_is_killed_gives_its_lock_back(started):
    server = started(peer("serve", ""))
    where = server.stdout.readline().strip()
    code = HOLDER + """
lock = m.Lock()
pid = os.fork()
if pid == 0:
    lock.acquire()
    os.kill(os.getpid(), 9)
os.waitpid(pid, 0)
print(lock.acquire(timeout=20))
"""
    assert run([sys.executable, "-c", code, where]) == ["True"]
