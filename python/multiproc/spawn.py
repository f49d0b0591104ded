# SPDX-License-Identifier: MIT
"""What a fresh process does before its target: the interpreter's, with a shorter way to the main module."""

from . import _stdlib

_stdlib.inherit(globals(), {"runpy": None})

_inherited_fixup = _fixup_main_from_path


def _fixup_main_from_path(main_path):
    """Runs the program's main file under the name __mp_main__; a plain file without runpy, which is slow
    to import."""
    current = sys.modules["__main__"]
    name = os.path.splitext(os.path.basename(main_path))
    plain = name[1] == ".py" and name[0] != "ipython" and os.path.isfile(main_path)
    if not plain or getattr(current, "__file__", None) == main_path:
        return _inherited_fixup(main_path)
    import io

    with io.open_code(main_path) as file:
        code = compile(file.read(), main_path, "exec")
    old_main_modules.append(current)
    module = types.ModuleType("__mp_main__")
    module.__dict__.update(
        __file__=main_path, __cached__=None, __doc__=None, __loader__=None, __package__="", __spec__=None
    )
    before, script = sys.modules.get("__mp_main__"), sys.argv[0]
    sys.modules["__mp_main__"] = module
    sys.argv[0] = main_path
    try:
        exec(code, module.__dict__)
    except BaseException:
        if before is None:
            del sys.modules["__mp_main__"]
        else:
            sys.modules["__mp_main__"] = before
        raise
    finally:
        sys.argv[0] = script
    sys.modules["__main__"] = sys.modules["__mp_main__"] = module
