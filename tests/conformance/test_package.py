# SPDX-License-Identifier: MIT
"""The Python package: programs that know nothing of it, and what it does beyond the standard library.

MULTIPROC_SITE is the folder that has the package.  Programs in examples/python run as they are, by
`python -m multiproc`, under every start method; those of the notes in ../shared/seeds too, where they are.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SEEDS = ROOT.parent / "shared" / "seeds"
METHODS = ["fork", "spawn", "forkserver"]
ENVIRONMENT = dict(os.environ, PYTHONPATH=os.environ["MULTIPROC_SITE"])
EXPECTED = {
    "process_hello.py": ["hello Robert"],
    "queue_hello.py": ["[42, None, 'hello']"],
    "pipe_hello.py": ["[42, None, 'hello']"],
    "pool_square.py": ["[1, 4, 9, 16, 25]"],
}


def run(*words: str, cwd: Path | None = None) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, *words], env=ENVIRONMENT, cwd=cwd, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=120, check=False,
    )


def program(tmp_path: Path, text: str) -> str:
    path = tmp_path / "program.py"
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_examples(name: str, method: str) -> None:
    done = run("-m", "multiproc", "--method", method, str(ROOT / "examples" / "python" / name))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == EXPECTED[name]


@pytest.mark.parametrize("method", METHODS)
def test_workers(method: str) -> None:
    done = run("-m", "multiproc", "--method", method, str(ROOT / "examples/python/queue_workers.py"))
    lines = done.stdout.splitlines()
    assert (done.returncode, done.stderr) == (0, "")
    assert lines[-1] == "[2, 4, 6, 8, 10]"
    assert sorted(lines[:-1]) == [f"Process-{n} working on {n}" for n in range(1, 6)]


def seed_programs() -> list[str]:
    texts = []
    for note in sorted(SEEDS.glob("*.txt")) if SEEDS.is_dir() else []:
        blocks = re.findall(r"^( *)```py\n(.*?)^ *```", note.read_text(encoding="utf-8"), re.M | re.S)
        for indent, block in blocks:
            text = re.sub(rf"^{indent}", "", block, flags=re.M)
            if "__main__" in text and "multiprocessing" in text:
                texts.append(text)
    return texts


@pytest.mark.skipif(not seed_programs(), reason="the notes are not there")
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("index", range(len(seed_programs())))
def test_programs_of_the_notes(tmp_path: Path, index: int, method: str) -> None:
    text = seed_programs()[index]
    words = ["-m", "multiproc", "--method", method]
    if "set_start_method" in text:
        words = ["-m", "multiproc"]
    path = program(tmp_path, text)
    done = run(*words, path, cwd=tmp_path)
    plain = subprocess.run(
        [sys.executable, path], capture_output=True, text=True, timeout=120, check=False,
        stdin=subprocess.DEVNULL, cwd=tmp_path,
    )
    assert done.returncode == plain.returncode, done.stderr
    assert len(done.stdout.splitlines()) == len(plain.stdout.splitlines()), done.stdout
    for line in re.findall(r"# (?:prints|Outputs:) \"?(\[.*?\])\"?$", text, re.M):
        if sorted(line) in [sorted(x) for x in plain.stdout.splitlines()]:
            assert sorted(line) in [sorted(x) for x in done.stdout.splitlines()]


@pytest.mark.parametrize("method", METHODS)
def test_a_killed_holder_of_a_lock(tmp_path: Path, method: str) -> None:
    """The next one gets the lock, with a warning that can be made an error."""
    text = f"""
import multiprocessing as mp, os, signal, warnings
def hold(lock, held):
    lock.acquire()
    held.set()
    os.kill(os.getpid(), signal.SIGKILL)
if __name__ == "__main__":
    mp.set_start_method({method!r})
    lock, held = mp.Lock(), mp.Event()
    p = mp.Process(target=hold, args=(lock, held))
    p.start()
    assert held.wait(30)
    p.join()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert lock.acquire(timeout=30)
    print(p.exitcode, [w.category.__name__ for w in caught])
"""
    done = run("-m", "multiproc", program(tmp_path, text))
    assert done.stdout == "-9 ['OwnerDiedWarning']\n", done.stderr


@pytest.mark.parametrize("method", METHODS)
def test_killed_users_of_a_queue(tmp_path: Path, method: str) -> None:
    """Killing those that put and get at random leaves the queue working for everybody else."""
    text = f"""
import multiprocessing as mp, os, random, signal, time
def put(q):
    while True:
        q.put(b"x" * random.choice([1, 100, 20000]))
def get(q):
    while True:
        q.get()
if __name__ == "__main__":
    mp.set_start_method({method!r})
    q = mp.Queue(100)
    for trial in range(8):
        ps = [mp.Process(target=f, args=(q,), daemon=True) for f in (put, get)]
        for p in ps:
            p.start()
        time.sleep(random.random() / 20)
        for p in ps:
            p.kill()
            p.join()
        while not q.empty():
            q.get(timeout=30)
    q.put("alive")
    print(q.get(timeout=30), q.qsize())
"""
    done = run("-m", "multiproc", program(tmp_path, text))
    assert done.stdout == "alive 0\n", done.stderr


def test_a_producer_may_exit_at_once(tmp_path: Path) -> None:
    """Joining a producer before its queue is drained works, and the queue is exact."""
    text = """
import multiproc as mp
def put(q):
    for i in range(50000):
        q.put(i)
if __name__ == "__main__":
    q = mp.Queue()
    p = mp.Process(target=put, args=(q,))
    p.start()
    p.join()
    print(q.qsize(), q.empty(), [q.get() for _ in range(3)], len(q.get_many(100)))
"""
    done = run(program(tmp_path, text))
    assert done.stdout == "50000 False [0, 1, 2] 100\n", done.stderr
