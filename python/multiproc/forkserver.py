# SPDX-License-Identifier: MIT
"""The fork server is the library's: here is what it is told to import before it forks."""

from . import _core, _stdlib

_stdlib.inherit(globals())


def set_forkserver_preload(modules_names, *, on_error="ignore"):
    """The modules that the fork server imports when it starts; what happens when one cannot be: 'ignore',
    'warn' or 'fail' (the server does not start, nor do its children)."""
    if not all(type(name) is str for name in modules_names):
        raise TypeError("module_names must be a list of strings")
    if on_error not in ("ignore", "warn", "fail"):
        raise ValueError(f"on_error must be 'ignore', 'warn' or 'fail', not {on_error!r}")
    _forkserver._preload_modules = list(modules_names)
    words = ["ignore:sys.path=" + os.pathsep.join(path for path in sys.path if type(path) is str)]
    for name in modules_names:
        if name == "__main__":
            path = spawn.get_preparation_data("ignore").get("init_main_from_path")
            if path is None:
                continue
            name += "=" + path
        words.append(f"{on_error}:{name}")
    _core.set_preload(words)


_forkserver.set_forkserver_preload = set_forkserver_preload
