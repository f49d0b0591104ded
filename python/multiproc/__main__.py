# SPDX-License-Identifier: MIT
"""python -m multiproc [--method NAME] [-m module | program.py] args...
python -m multiproc --path

Runs a program in which `multiprocessing` is multiproc, here and in all processes that it starts.
--method makes fork, spawn or forkserver the default; --path prints a folder that has the same effect as
this command when it stands first on PYTHONPATH.
"""

import os
import runpy
import sys

import multiproc

__all__ = ["main"]


def _run(path):
    """As python does it: the program's module is __main__ to the end, also for its threads and for what it
    does at exit, and what __mp_main__ means."""
    import io
    import types

    if os.path.isdir(path) or not path.endswith(".py"):  # a folder or an archive with a __main__
        runpy.run_path(path, run_name="__main__")
        return
    module = types.ModuleType("__main__")
    module.__file__ = path
    module.__builtins__ = __builtins__
    sys.modules["__main__"] = sys.modules["__mp_main__"] = module
    with io.open_code(path) as file:
        code = compile(file.read(), path, "exec")
    exec(code, module.__dict__)


def _run_module(name):
    """The same for -m: the module is found, and run as __main__."""
    import types

    _, spec, code = runpy._get_module_details(name)
    module = types.ModuleType("__main__")
    module.__file__ = sys.argv[0] = spec.origin
    module.__spec__ = spec
    module.__package__ = spec.parent
    module.__loader__ = spec.loader
    module.__builtins__ = __builtins__
    sys.modules["__main__"] = sys.modules["__mp_main__"] = module
    exec(code, module.__dict__)


def main():
    words = sys.argv[1:]
    if words == ["--path"]:
        print(os.path.join(os.path.dirname(os.path.abspath(multiproc.__file__)), "path"))
        return
    if not words or words[0] in ("-h", "--help"):
        print(__doc__.strip())
        sys.exit(0 if words else 2)
    multiproc.install()
    if words[0] == "--method" and len(words) > 2:
        default = multiproc.context._default_context
        default._default_context = multiproc.context._concrete_contexts[words[1]]
        words = words[2:]
    if words[0] == "-m":
        sys.argv = words[1:]
        sys.path[0] = os.getcwd()
        _run_module(words[1])
    else:
        sys.argv = words
        sys.path[0] = os.path.dirname(os.path.abspath(words[0]))
        _run(words[0])


if __name__ == "__main__":
    main()
