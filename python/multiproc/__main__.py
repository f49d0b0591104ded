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
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = words
        sys.path[0] = os.path.dirname(os.path.abspath(words[0]))
        runpy.run_path(words[0], run_name="__main__")


if __name__ == "__main__":
    main()
