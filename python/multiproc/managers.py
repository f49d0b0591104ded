# SPDX-License-Identifier: MIT
"""Managers: the interpreter's, on the connections of this package; a client that is killed gives back the
locks that it held.  One that ends in good order says goodbye, and its locks stay as they are, for another
process may release them."""

import os
import weakref

from . import _stdlib

_stdlib.inherit(globals())

_held = threading.local()  # of a thread that serves a client: the locks that the client holds


class _ManagedLock:
    """A lock that knows in which thread of the server, and so for which client, it was taken."""

    def __init__(self):
        self._lock = threading.Lock()
        self._list = None

    def acquire(self, blocking=True, timeout=None):
        got = self._lock.acquire(blocking, -1 if timeout is None or not blocking else max(timeout, 0))
        if got:
            self._list = _held.__dict__.setdefault("locks", [])
            self._list.append(self)
        return got

    def release(self):
        holder = self._list
        self._lock.release()
        if holder is not None and self in holder:
            holder.remove(self)

    def locked(self):
        return self._lock.locked()

    def __repr__(self):
        return repr(self._lock).replace("_thread.lock", "managed lock")


GOODBYE = "#GOODBYE"
_connections = weakref.WeakSet()  # of this process, to servers
_pid = None  # of the process that has said that it will say goodbye


def _say_goodbye(connections=_connections):
    for connection in list(connections):
        try:
            connection.send((None, GOODBYE, (), {}))
        except Exception:  # the server is gone
            pass


def _connect(self, inherited=BaseProxy._connect):
    global _pid
    inherited(self)
    if _pid != os.getpid():
        _pid = os.getpid()
        _connections.clear()  # those of a process that forked this one stay in use there
        util.Finalize(None, _say_goodbye, exitpriority=-100)
    _connections.add(self._tls.connection)


def _decref(token, authkey, state, tls, mine, *more, inherited=BaseProxy._decref):
    connection = getattr(tls, "connection", None)
    if connection in _connections and mine <= {token.id}:  # it is closed with the last object
        _say_goodbye([connection])
    inherited(token, authkey, state, tls, mine, *more)


BaseProxy._connect = _connect
BaseProxy._decref = staticmethod(_decref)


class _Client:
    """A client's connection, as the server sees it: it hears the goodbye, unless the client goes on after it."""

    def __init__(self, connection):
        self._connection = connection
        self.left = False

    def recv(self):
        while True:
            request = self._connection.recv()
            self.left = type(request) is tuple and len(request) == 4 and request[1] == GOODBYE
            if not self.left:
                return request

    def __getattr__(self, name):
        return getattr(self._connection, name)


def _give_back(server):
    """The client of this thread was killed."""
    for lock in list(_held.__dict__.get("locks", ())):
        lock.release()
    for entry in list(server.id_to_obj.values()):
        owned = getattr(entry[0], "_is_owned", None)
        try:
            while owned is not None and owned():
                entry[0].release()
        except Exception:  # no lock of threading's: it may have another meaning
            pass


class Server(Server):
    """The server of a manager."""

    def serve_client(self, conn):
        client = _Client(conn)
        try:
            super().serve_client(client)
        finally:
            if not client.left:
                _give_back(self)


BaseManager._Server = Server
SyncManager.register("Lock", _ManagedLock, AcquirerProxy)

if not hasattr(SyncManager, "set"):
    _BaseSetProxy = MakeProxyType(
        "_BaseSetProxy",
        (
            "__and__", "__contains__", "__iand__", "__ior__", "__isub__", "__iter__", "__ixor__", "__len__",
            "__or__", "__rand__", "__ror__", "__rsub__", "__rxor__", "__sub__", "__xor__", "__ge__", "__gt__",
            "__le__", "__lt__", "add", "clear", "copy", "difference", "difference_update", "discard",
            "intersection", "intersection_update", "isdisjoint", "issubset", "issuperset", "pop", "remove",
            "symmetric_difference", "symmetric_difference_update", "union", "update",
        ),
    )

    class SetProxy(_BaseSetProxy):
        """A set that a manager holds, as newer versions of Python have it."""

        _method_to_typeid_ = {"__iter__": "Iterator"}

        def __ior__(self, value):
            self._callmethod("__ior__", (value,))
            return self

        def __iand__(self, value):
            self._callmethod("__iand__", (value,))
            return self

        def __ixor__(self, value):
            self._callmethod("__ixor__", (value,))
            return self

        def __isub__(self, value):
            self._callmethod("__isub__", (value,))
            return self

    _BaseSetProxy._method_to_typeid_ = {"__iter__": "Iterator"}
    SyncManager.register("set", set, SetProxy)
