# SPDX-License-Identifier: MIT
"""How processes are started through libmultiproc: the popen classes, and what a child does first."""

import io
import os
import sys

import _signal as signal

from . import _core, context, process, reduction, spawn, util

__all__ = ["ForkPopen", "Popen", "child_main", "parent_sentinel", "run_child"]

_handles = None  # of the process that is being unpickled: what came along with the pickle


def parent_sentinel():
    """A descriptor that is readable when the parent of this process has ended."""
    return _core.parent_sentinel()


class Handle:
    """A place in the list of handles that travel beside the pickle of a process."""

    def __init__(self, index):
        self.index = index

    def take(self):
        return _handles[self.index]


class Descriptor:
    """A file descriptor among the handles: what DupFd() makes while a process is started."""

    def __init__(self, handle):
        self.handle = handle

    def detach(self):
        return self.handle.take().descriptor()


class Serialized:
    """An object as a context's serializer has pickled it; unpickled, it is that object."""

    def __init__(self, pickle):
        self.pickle = pickle

    def __reduce__(self):
        return reduction.pickle.loads, (self.pickle,)


class Popen:
    """A started process, as process.BaseProcess wants it."""

    method = None
    DupFd = Descriptor

    def __init__(self, process_obj):
        util._flush_std_streams()
        self.returncode = None
        self.finalizer = None
        self.handles = []
        self._launch(process_obj)

    def duplicate_for_child(self, fd):
        return self.share(_core.descriptor(fd))

    def share(self, value):
        """Takes a handle along; what stands for it in the pickle."""
        self.handles.append(value)
        return Handle(len(self.handles) - 1)

    def _start(self, process_obj, run, data):
        target = getattr(process_obj, "_target", None)
        serves = getattr(target, "__name__", None) == "_run_server"  # a manager's, who is nothing without it
        self._child = _core.Child(
            self.method, process_obj.name, bool(process_obj.daemon), run, data, self.handles, serves
        )
        self.pid = self._child.pid()
        self.sentinel = self._child.sentinel()
        self.handles = []

    def _serialized(self, process_obj):
        """With a serializer: the target, and those arguments that cannot be pickled otherwise, by it."""
        dumps = getattr(getattr(process_obj, "_context", None), "_dumps", None)
        if dumps is None:
            return process_obj

        def wrap(value):
            try:
                reduction.ForkingPickler.dumps(value)
                return value
            except Exception:
                return Serialized(dumps(value))

        twin = type(process_obj).__new__(type(process_obj))
        twin.__dict__.update(process_obj.__dict__)
        twin._target = twin._target and Serialized(dumps(twin._target))
        twin._args = tuple(wrap(value) for value in twin._args)
        twin._kwargs = {name: wrap(value) for name, value in twin._kwargs.items()}
        twin.__class__ = type(process_obj).__mro__[1]  # that of the context without a serializer
        return twin

    def _launch(self, process_obj):
        data = spawn.get_preparation_data(process_obj._name)
        file = io.BytesIO()
        # Objects of the interpreter's own package, in programs that use both, ask that one.
        other = sys.modules.get("multiprocessing.context", context)
        for module in (context, other):
            module.set_spawning_popen(self)
        if other is not context:
            for kind, reduce in other.reduction.ForkingPickler._extra_reducers.items():
                reduction.ForkingPickler._extra_reducers.setdefault(kind, reduce)
        try:
            reduction.dump(self._tracker(), file)
            reduction.dump(data, file)
            reduction.dump(self._serialized(process_obj), file)
        finally:
            for module in (context, other):
                module.set_spawning_popen(None)
        self._start(process_obj, None, file.getvalue())

    def _tracker(self):
        """The tracker of names that this process has, if it has one: the child uses it, too."""
        module = sys.modules.get(__package__ + ".resource_tracker")
        fd = module._resource_tracker._fd if module else None
        return None if fd is None else Descriptor(self.duplicate_for_child(fd))

    def poll(self, flag=os.WNOHANG):
        if self.returncode is None:
            self.returncode = self._child.join(0 if flag == os.WNOHANG else None)
        return self.returncode

    def wait(self, timeout=None):
        if self.returncode is None:
            self.returncode = self._child.join(timeout)
        return self.returncode

    def _send_signal(self, sig):
        if self.returncode is None:
            self._child.send(sig)

    def interrupt(self):
        self._send_signal(signal.SIGINT)

    def terminate(self):
        self._send_signal(signal.SIGTERM)

    def kill(self):
        self._send_signal(signal.SIGKILL)

    def close(self):
        if self.finalizer is not None:
            self.finalizer()
        self._child.close()


class ForkPopen(Popen):
    """A copy of this process: nothing is pickled."""

    method = "fork"

    def duplicate_for_child(self, fd):
        return fd

    def _launch(self, process_obj):
        def run():
            return process_obj._bootstrap(parent_sentinel=parent_sentinel())

        self._start(process_obj, run, None)


def run_child(data, handles):
    """In a fresh image, or in a child of the fork server: makes the process of its pickle and runs it."""
    global _handles
    _handles = handles
    file = io.BytesIO(data)
    process.current_process()._inheriting = True
    try:
        tracker = reduction.pickle.load(file)
        if tracker is not None:
            from . import resource_tracker

            resource_tracker._resource_tracker._fd = tracker.detach()
        spawn.prepare(reduction.pickle.load(file))
        process_obj = reduction.pickle.load(file)
    finally:
        del process.current_process()._inheriting
        _handles = None
    return process_obj._bootstrap(parent_sentinel=parent_sentinel())


def _command(image, fd):
    """The command line of a fresh image of the interpreter, as bytes."""
    from . import _alias

    folder = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    main = "server_main" if image else "child_main"
    program = (
        f"import sys; sys.path.insert(0, {folder!r}); from multiproc import _start; "
        f"_start.{main}({fd}, {_alias.installed()})"
    )
    words = [spawn.get_executable(), *util._args_from_interpreter_flags(), "-c", program]
    words.append("--multiprocessing-fork")
    return [os.fsencode(word) for word in words]


def server_main(fd, aliased):
    """The fork server imports what its children are likely to need."""
    import gc
    import pkgutil  # noqa: F401
    import runpy  # noqa: F401

    from . import connection, pool, queues, synchronize  # noqa: F401

    gc.collect()
    gc.freeze()  # what is there before the forks is not looked at again in each child
    child_main(fd, aliased)


def child_main(fd, aliased):
    if aliased:
        from . import _alias

        _alias.install()
    sys.path.pop(0)  # the preparation data bring the parent's path
    _core.child_main(fd)


def _preload(word):
    """In the fork server: imports a module of its preload list; whether it may go on."""
    on_error, _, name = word.partition(":")
    try:
        if name.startswith("sys.path="):
            sys.path[:] = name.partition("=")[2].split(os.pathsep)
        elif name.startswith("__main__="):
            process.current_process()._inheriting = True
            try:
                spawn.import_main_path(name.partition("=")[2])
            finally:
                del process.current_process()._inheriting
        else:
            __import__(name)
    except Exception as error:
        if on_error == "fail":
            raise
        if on_error == "warn" or not isinstance(error, ImportError):
            import warnings

            warnings.warn(f"the fork server cannot preload {name!r}: {error!r}", RuntimeWarning)


_core.set_up(reduction, run_child, _command, _preload, context.BufferTooShort)
