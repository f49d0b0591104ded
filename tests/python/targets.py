# SPDX-License-Identifier: MIT
"""What the processes of the Python tests run.  Fresh images import this module and nothing heavier.

Synchronisation is by events and connections; a target that waits for nothing ever is ended by the test.
"""

from __future__ import annotations

import ctypes
import faulthandler
import importlib
import os
import resource
import signal
import sys
import threading
import time

WAIT = 30.0

if "MULTIPROC_TEST_STACKS" in os.environ:
    try:
        _stacks = open(os.environ["MULTIPROC_TEST_STACKS"], "a", encoding="utf-8")
        faulthandler.register(signal.SIGUSR1, file=_stacks, all_threads=True)
    except OSError:
        pass


# ---- processes ------------------------------------------------------------------------------------


def nothing():
    pass


def describe(package, conn, *args, **kwargs):
    mp = importlib.import_module(package)
    me = mp.current_process()
    parent = mp.parent_process()
    conn.send({
        "args": args, "kwargs": kwargs, "name": me.name, "pid": me.pid, "getpid": os.getpid(),
        "ppid": os.getppid(), "daemon": me.daemon, "parent": parent.pid, "argv": sys.argv,
        "parent alive": parent.is_alive(), "parent name": parent.name, "cwd": os.getcwd(),
        "authkey": bytes(me.authkey), "path": sys.path, "method": mp.get_start_method(True),
        "children": len(mp.active_children()), "stdin": sys.stdin.read(),
    })
    conn.close()


def end(how):
    if how == "exit none":
        sys.exit()
    if how == "exit 7":
        sys.exit(7)
    if how == "exit text":
        sys.stderr = open(os.devnull, "w")
        sys.exit("text")
    if how == "raise":
        sys.stderr = open(os.devnull, "w")
        raise ValueError("on purpose")
    if how == "_exit 9":
        os._exit(9)
    if how.startswith("signal "):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.kill(os.getpid(), int(how.split()[1]))
        time.sleep(WAIT)


def complain(path, how):
    sys.stderr = open(path, "w", encoding="utf-8")
    if how == "exit":
        sys.exit("the last words")
    raise ValueError("on purpose")


def wait_for(event, *_):
    if not event.wait(WAIT):
        sys.exit("the event never came")


def announce_and_wait(ready, event):
    ready.set()
    wait_for(event)


def announce_and_hang(ready):
    ready.set()
    while True:
        time.sleep(WAIT)


def start_child(package, method, target, args, daemon, conn):
    """Starts a child, says its pid, and ends without joining it."""
    ctx = importlib.import_module(package).get_context(method)
    try:
        process = ctx.Process(target=target, args=args, daemon=daemon)
        process.start()
        conn.send(process.pid)
    except BaseException as error:
        conn.send(f"{type(error).__name__}: {error}")


def thread_that_outlives_the_target(conn, event):
    def talk():
        wait_for(event)
        conn.send("from the thread")

    threading.Thread(target=talk).start()


def finalize(package, conn):
    util = importlib.import_module(package + ".util")
    util.Finalize(None, conn.send, args=("finalized",), exitpriority=10)


def join_parent(package, conn):
    parent = importlib.import_module(package).parent_process()
    conn.send(parent.is_alive())
    parent.join(WAIT)
    conn.send(parent.is_alive())


def run_child_that_ends(package, method, target, args, event):
    ctx = importlib.import_module(package).get_context(method)
    ctx.Process(target=target, args=args, daemon=False).start()
    event.wait(WAIT)
    os._exit(0)


class Unpicklable:
    def __reduce__(self):
        raise TypeError("this does not travel")

    def run(self):
        pass


# ---- queues and connections -----------------------------------------------------------------------


def echo_queue(source, sink):
    """Gives back what comes, until None."""
    while (obj := source.get()) is not None:
        sink.put(obj)


def echo_connection(conn):
    """Gives back what comes, until "stop"."""
    while not isinstance(obj := conn.recv(), str) or obj != "stop":
        conn.send(obj)


def echo_bytes(conn):
    while (data := conn.recv_bytes()) != b"stop":
        conn.send_bytes(data)


def put_all(queue, objs):
    for obj in objs:
        queue.put(obj)


def produce(queue, number, count):
    for i in range(count):
        queue.put((number, i))


def consume(source, sink):
    """Gets until None, and tells what came."""
    sink.put(list(iter(source.get, None)))


def get_when(event, queue):
    wait_for(event)
    queue.get()


def put_when(event, queue, obj):
    wait_for(event)
    queue.put(obj)


def work_on(queue):
    for _ in iter(queue.get, None):
        queue.task_done()
    queue.task_done()


def receive_and_use(conn):
    """Gets a connection over a connection and sends over it."""
    other = conn.recv()
    other.send(("over the other one", os.getpid()))
    other.close()
    conn.recv()


def send_connection(package, conn):
    """Sends an end of a new pipe, and then something over the other."""
    a, b = importlib.import_module(package).Pipe()
    conn.send(b)
    b.close()
    a.send("through a pipe of the child")
    assert a.recv() == "thanks"


def use_socket(conn):
    with conn.recv() as sock:
        sock.sendall(b"by the child")


def send_then_die(conn, obj):
    conn.send(obj)
    os.kill(os.getpid(), signal.SIGKILL)


def client(package, address, key, conn):
    connection = importlib.import_module(package + ".connection")
    try:
        with connection.Client(address, authkey=key) as c:
            c.send("hello")
            conn.send(c.recv())
    except Exception as error:
        conn.send(type(error).__name__)


def interrupt_when_it_waits(pid, tid):
    """Sends a signal when a thread sleeps in a system call."""
    end = time.monotonic() + WAIT
    asleep = 0
    while asleep < 5 and time.monotonic() < end:
        with open(f"/proc/{pid}/task/{tid}/stat", encoding="utf-8") as file:
            state = file.read().rpartition(")")[2].split()[0]
        asleep = asleep + 1 if state == "S" else 0
        time.sleep(0.002)
    os.kill(pid, signal.SIGUSR2)


# ---- locks and their relatives --------------------------------------------------------------------


def hold(lock, held, release):
    with lock:
        held.set()
        wait_for(release)


def count_up(lock, value, times):
    """Breaks visibly when the lock does not exclude."""
    for _ in range(times):
        with lock:
            number = value.value
            if number % 10 == 0:
                time.sleep(0)
            value.value = number + 1


def release_it(lock):
    lock.release()


def try_to(obj, method, conn, *args):
    """Calls a method and tells the result, or the exception's name."""
    try:
        conn.send(getattr(obj, method)(*args))
    except Exception as error:
        conn.send(type(error).__name__)


def sleep_on(cond, sleeping, woken, timeout=WAIT):
    with cond:
        sleeping.release()
        if cond.wait(timeout):
            woken.release()


def wait_until_positive(cond, value, conn):
    with cond:
        conn.send(cond.wait_for(lambda: value.value > 3, WAIT))


def meet(barrier, rounds, conn):
    try:
        conn.send([barrier.wait(WAIT) for _ in range(rounds)])
    except threading.BrokenBarrierError:
        conn.send("broken")


def set_value(value, new):
    value.value = new


def double_all(array):
    with array.get_lock():
        for i in range(len(array)):
            array[i] *= 2


class Point(ctypes.Structure):
    _fields_ = [("x", ctypes.c_int), ("y", ctypes.c_double)]


def move_points(points):
    for point in points:
        point.x += 1
        point.y *= 2


def write_shared(package, name, at, data):
    shm = importlib.import_module(package + ".shared_memory").SharedMemory(name)
    shm.buf[at:at + len(data)] = data
    shm.close()


def change_list(shared):
    shared[0] = "longer?"
    shared[1] += 1
    shared.shm.close()
