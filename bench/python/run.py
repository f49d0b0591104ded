# SPDX-License-Identifier: MIT
"""Owns one measurement: a fresh interpreter runs it and prints the seconds that one operation took.

    run.py LIBRARY CASE NUMBER

LIBRARY is "multiproc", "multiprocessing", or a peer that peers.py knows.  CASE is a function of one
of the modules beside this file and its arguments, as in "channels.queue 4 1 int".  NUMBER is how many
operations.  Nothing is imported here that the case does not need, since children by spawn run this
file again.
"""

import sys


def main():
    # type: () -> None
    import importlib

    library, (module, *words), number = sys.argv[1], sys.argv[2].split(), int(sys.argv[3])
    module, function = module.split(".")
    if library in ("multiproc", "multiprocessing"):
        mp = importlib.import_module(library)
    else:
        import peers

        mp = peers.load(library)
        module = getattr(mp, "module", module)
    seconds = getattr(importlib.import_module(module), function)(mp, number, *words)
    if seconds is not None:
        print(seconds)


if __name__ == "__main__":
    main()
