# SPDX-License-Identifier: MIT
"""The engine of a pool: tasks to workers, their results back, and what the death of a worker means.

Each worker has a queue of its own, and all have one for their news.  Tasks travel in messages: one at first,
more when they are short; a worker has one message to work at and one to go on with.  What it has not claimed
is recalled for others that are idle, so a long task holds nobody up but itself.

One thread has all the state: it hears the workers' news in the order in which they were sent, and what other
threads ask for (post).  So there are no locks, and a signal handler that raises, which runs in the main
thread only, cannot leave anything half done.  A second thread watches for deaths, and adds the news of each
behind what the dead worker had sent.  So when a worker's death is heard, all that it has told is known, its
desk says what it had claimed, and the difference is the one task that it died in.
"""

import collections
import itertools
import os
import select
import signal
import sys
import threading
import time

from . import _core, util
from . import _worker as wire
from .context import CancelledError, ProcessError, TimeoutError, WorkerDiedError

__all__ = ["Engine", "Job"]

RUN, CLOSE, TERMINATE = "RUN", "CLOSE", "TERMINATE"

LONG = 0.004  # seconds that a message of many tasks may take
MOST = 512  # tasks in a message
TICK = 0.005  # how often time limits and idle workers are looked after
TRIES = 3  # workers in a row that fail before they are ready: so many for each worker


class Job:
    """The tasks of one call, as far as they have not been sent; their results go to `result`."""

    def __init__(self, result, kind, func, items, retries=0, timeout=None, soft_timeout=None):
        self.result = result
        self.kind = kind
        self.func = func
        self.items = items  # a list, from which `at` are sent; more may be added at the end
        self.at = 0
        self.base = 0  # the number of the first item
        self.again = collections.deque()  # (task, item, tries) that come before those
        self.retries = retries
        self.timeout = timeout
        self.soft_timeout = soft_timeout
        self.listed = False  # among the engine's jobs
        self.low = None  # an event: something was sent since it was cleared
        self.size = 1  # of a message
        self.quick = False  # its tasks are short
        self.suspects = {}  # task: how many workers died while they unpickled it

    def timed(self):
        return self.timeout is not None or self.soft_timeout is not None

    def waiting(self):
        return len(self.again) + len(self.items) - self.at

    def take(self, n):
        """The next tasks, at most n: lists of their numbers, their items and their tries."""
        if self.again:
            taken = [self.again.popleft() for _ in range(min(n, len(self.again)))]
            return [t[0] for t in taken], [t[1] for t in taken], [t[2] for t in taken]
        first, end = self.at, min(self.at + n, len(self.items))
        items, numbers = self.items[first:end], range(self.base + first, self.base + end)
        self.at = end
        if end > 1024:  # what is sent is not kept
            del self.items[:end]
            self.base += end
            self.at = 0
        return numbers, items, None


class _Calls:
    """The results of single calls, which share a job: so they share messages, and what is known of them."""

    def __init__(self):
        self.results = {}

    def _set(self, task, obj):
        self.results.pop(task)._set(0, obj)

    def _fail(self, error):
        while self.results:
            self.results.popitem()[1]._fail(error)

    def _is_done(self):
        return not self.results


class _Message:
    """Tasks that were sent to a worker together."""

    __slots__ = ("number", "job", "tasks", "items", "tries", "done", "limit", "sent")

    def __init__(self, number, job, tasks, items, tries):
        self.number = number
        self.job = job
        self.tasks = tasks
        self.items = items
        self.tries = tries
        self.done = 0  # so many have answered
        self.limit = len(items)  # so many will
        self.sent = time.monotonic()

    def tries_of(self, k):
        return self.tries[k] if self.tries else 0


class _Worker:
    """A worker, as the pool sees it."""

    def __init__(self, number, process, inbox, desk):
        self.number = number
        self.process = process
        self.inbox = inbox
        self.desk = desk
        self.messages = collections.deque()
        self.next = 1  # the number of the next message
        self.ready = False
        self.leaving = False
        self.tasks = 0
        self.since = None  # (message, claimed, when): the task that runs, as far as it was looked at
        self.verdict = None  # why it was killed by the pool: the error of its task

    def has_room(self, depth):
        m = self.messages
        return not (self.leaving or self.verdict) and len(m) < depth and (
            not m or self.next - m[0].number < 4  # places on the desk
        )


class Engine:
    def __init__(self, ctx, make_process, processes, initializer, initargs, options, limits, wrap):
        self.ctx = ctx
        self.make_process = make_process
        self.processes = processes
        self.worker_args = (initializer, initargs, options["maxtasksperchild"], options["max_memory"], wrap)
        self.name = options["name"]
        self.state = RUN
        self.news = ctx.SimpleQueue()
        self.inputs = collections.deque()  # what other threads ask for
        self.sleeping = False  # the thread that hears: a knock wakes it
        self.workers = {}
        self.pool = []  # the processes, in the order of their start
        self.cache = {}  # job number -> result, as the interpreter's pools have it
        self.jobs = collections.deque()  # that have tasks to send
        self.open = set()  # that are not done
        self.full = False  # there are tasks to send, and no worker has room
        self.done = collections.deque()  # results that are to be handed to their jobs
        self.calls = Job(_Calls(), wire.CALLS, None, [], **limits)
        self.numbers = itertools.count(1)
        self.failures = 0  # workers in a row that died before they were ready
        self.error = None  # why it is broken
        self.figures = dict.fromkeys(("tasks", "failed", "died"), 0)
        self.wake_in, self.wake_out = os.pipe()
        self.over = threading.Event()

    # ---- life ----

    def start(self):
        self.repopulate()
        self.hearing = threading.Thread(target=self.hear, name="pool", daemon=True)
        self.watching = threading.Thread(target=self.watch, name="pool-deaths", daemon=True)
        self.hearing.start()
        self.watching.start()

    def repopulate(self):
        """Starts as many workers as are missing."""
        while self.state != TERMINATE and self.error is None:
            if sum(not w.leaving for w in self.workers.values()) >= self.processes:
                break
            self.start_worker()
        self.wake()

    def start_worker(self):
        number = next(self.numbers)
        inbox, desk = self.ctx.SimpleQueue(), wire.Desk()
        process = self.make_process(
            self.ctx, target=wire.work, args=(number, inbox, self.news, desk, *self.worker_args)
        )
        process.name = process.name.replace("Process", "PoolWorker")
        if self.name:
            process.name = f"{self.name}-{number}"
        process.daemon = True
        process.start()
        util.debug("added worker")
        self.workers[number] = _Worker(number, process, inbox, desk)
        self.pool.append(process)

    def wake(self):
        """The thread that watches for deaths looks again."""
        try:
            os.write(self.wake_out, b"x")
        except OSError:
            pass

    def knock(self):
        """The thread that hears looks again."""
        _core.put_result(self.news, 0, 0, 0, wire.LOOK, None)

    def terminate(self):
        """Ends the workers at once; by any thread, also one of the pool's own."""
        self.state = TERMINATE
        processes = [w.process for w in list(self.workers.values())]
        for process in processes:
            if process.exitcode is None:
                process.terminate()
        self.knock()
        limit = time.monotonic() + 1
        for process in processes:
            process.join(max(0, limit - time.monotonic()))
            if process.exitcode is None:
                process.kill()
                process.join()
        me = threading.current_thread()
        for thread in (self.hearing, self.watching):
            if thread is not me and thread.is_alive():
                thread.join()

    def join(self):
        self.hearing.join()
        self.watching.join()
        for process in list(self.pool):
            process.join()

    def info(self):
        """Figures of the pool and of each worker."""
        workers = [
            {"name": w.process.name, "pid": w.process.pid, "tasks": w.tasks, "busy": bool(w.messages)}
            for w in list(self.workers.values())
        ]
        waiting = sum(job.waiting() for job in list(self.jobs))
        return dict(self.figures, state=self.state, waiting=waiting, workers=workers)

    # ---- from other threads ----

    def post(self, what, *args):
        """Asks the thread that hears to do something.  In one step, the append, so it is asked or not."""
        if self.error is not None:
            raise self.error
        self.inputs.append((what, args))
        if self.sleeping:
            self.sleeping = False
            self.knock()

    def close(self):
        if self.state == RUN:
            self.state = CLOSE
            self.knock()

    def feed(self, job, item):
        """One more task of a job, by the only thread that adds some."""
        job.items.append(item)
        if not job.listed:
            self.post(self.more, job)
        elif self.sleeping and not self.full:
            self.sleeping = False
            self.knock()

    def cancel(self, job, result):
        """Cancels what has not begun, interrupts what runs; how many tasks had not begun."""
        answer, there = [], threading.Event()
        self.post(self.do_cancel, job, result, answer, there)
        while not there.wait(0.1) and not self.over.is_set():
            pass
        return answer[0] if answer else 0

    # ---- the thread that hears ----

    def hear(self):
        while not self.is_over():
            busy = self.may_balance() or any(job.timed() for job in self.open)
            self.sleeping = True
            if self.inputs:  # post() adds, and then looks whether we sleep
                self.sleeping = False
            news = _core.get_results(self.news, (TICK if busy else None) if self.sleeping else 0)
            self.sleeping = False
            while self.inputs:
                what, args = self.inputs.popleft()
                what(*args)
                what = args = None
            for item in news:
                self.handle(*item)
            news = item = None
            if busy:
                self.tick()
            self.send_all()
            if self.done:
                self.deliver()
        self.finish()

    def is_over(self):
        if self.state == TERMINATE:
            return True
        return self.state == CLOSE and not (self.open or self.jobs or self.inputs or self.feeding())

    def feeding(self):
        """Whether iterators still read their arguments."""
        return any(getattr(result, "_length", 0) is None for result in list(self.cache.values()))

    def submit(self, job):
        self.open.add(job)
        self.figures["tasks"] += job.waiting()
        self.list_job(job)

    def call(self, result, call):
        task = self.calls.base + len(self.calls.items)
        self.calls.result.results[task] = result
        self.calls.items.append(call)
        self.figures["tasks"] += 1
        self.open.add(self.calls)
        self.list_job(self.calls)

    def more(self, job):
        self.list_job(job)

    def settle(self, job):
        """The number of a job's tasks is known now: perhaps all have answered."""
        if job.result._is_done():
            self.open.discard(job)

    def list_job(self, job, first=False):
        if not job.listed:
            job.listed = True
            (self.jobs.appendleft if first else self.jobs.append)(job)

    def deliver(self):
        """Hands results to their jobs."""
        touched = set()
        while self.done:
            job, task, success, value = self.done.popleft()
            touched.add(job)
            try:
                job.result._set(task, (success, value))
            except Exception:  # a callback has raised; the thread goes on
                report = threading.ExceptHookArgs((*sys.exc_info(), threading.current_thread()))
                threading.excepthook(report)
            if not success:
                self.figures["failed"] += 1
        job = value = None
        for job in touched:
            if job.result._is_done():
                self.open.discard(job)

    # ---- sending ----

    def send_all(self):
        """Sends what waits to workers that have room: first to those that are idle."""
        while self.jobs:
            job = self.jobs[0]
            if not job.waiting():
                job.listed = False
                if job.waiting():  # feed() adds, and then looks whether it is listed
                    job.listed = True
                else:
                    self.jobs.popleft()
                continue
            worker = self.choose(2 if job.quick else 1)
            if worker is None:
                self.full = True
                return
            share = -(-job.waiting() // (2 * max(1, self.processes)))
            self.send(worker, job, max(1, min(job.size, share)))
            if job.low is not None:
                job.low.set()
        self.full = False

    def choose(self, depth):
        best = None
        for w in self.workers.values():
            if w.has_room(depth) and (best is None or len(w.messages) < len(best.messages)):
                best = w
                if not w.messages:
                    break
        return best

    def send(self, worker, job, n):
        tasks, items, tries = job.take(n)
        message = _Message(worker.next & 0xFFFFFFFF, job, tasks, items, tries)
        worker.desk.post(message.number)
        try:
            worker.inbox.put((job.kind, job.func, items))
        except Exception as error:
            self.not_sent(message, error)
            return
        worker.next += 1
        worker.messages.append(message)

    def not_sent(self, message, error):
        """A task in it cannot be pickled: finds out which."""
        if len(message.items) == 1:
            self.done.append((message.job, message.tasks[0], False, error))
        else:
            message.job.size = 1
            self.put_back(message, 0)

    def put_back(self, m, first):
        """Tasks of a message from `first` on wait again, before all others."""
        for k in range(len(m.items) - 1, first - 1, -1):
            m.job.again.appendleft((m.tasks[k], m.items[k], m.tries_of(k)))
        if len(m.items) > first:
            self.list_job(m.job, first=True)

    # ---- news ----

    def handle(self, number, message, task, what, value):
        worker = self.workers.get(number)
        if what == wire.LOOK or worker is None:
            return
        if what & wire.UNPICKLED:
            what &= ~wire.UNPICKLED
            what = wire.FAILURE if what == wire.RESULT else what
        if what in (wire.RESULT, wire.FAILURE):
            self.result(worker, message, task, what, value)
        elif what == wire.NOT_UNDERSTOOD:
            self.not_understood(worker, message, value)
        elif what == wire.READY:
            worker.ready = True
            self.failures = 0
        elif what == wire.BROKEN:
            self.failures += 1
            if self.failures >= TRIES:
                self.break_it(value)
        elif what == wire.LEAVING:
            worker.leaving = True
        elif what == wire.DIED:
            self.died(worker)

    def result(self, worker, number, task, what, value):
        m = worker.messages[0] if worker.messages else None
        if m is None or m.number != number:
            return
        m.done += 1
        worker.tasks += 1
        if value is None and what == wire.FAILURE:
            value = self.interruption(worker, m)
        self.done.append((m.job, m.tasks[task], what == wire.RESULT, value))
        m.items[task] = None
        if m.done >= m.limit:
            self.finished(worker, m)

    def finished(self, worker, m):
        worker.messages.popleft()
        job, now = m.job, time.monotonic()
        took = now - m.sent
        if worker.messages:
            worker.messages[0].sent = now
        if took < LONG / 4:
            job.size = min(MOST, job.size * 2)
        elif took > LONG and job.size > 1:
            job.size //= 2
        job.quick = took < LONG * 2

    def not_understood(self, worker, number, error):
        """The worker could not unpickle the message: one by one, or not at all."""
        m = next((m for m in worker.messages if m.number == number & 0xFFFFFFFF), None)
        if m is None:  # it was recalled
            return
        worker.messages.remove(m)
        if m.limit == len(m.items):
            self.not_sent(m, error)

    # ---- death ----

    def watch(self):
        """Adds the news of each death behind what the dead worker has told."""
        poll = select.poll()
        poll.register(self.wake_in, select.POLLIN)
        known = {}
        while not self.over.is_set():
            for w in list(self.workers.values()):
                if w.number not in known.values():
                    known[w.process.sentinel] = w.number
                    poll.register(w.process.sentinel, select.POLLIN)
            for fd, _ in poll.poll():
                if fd == self.wake_in:
                    os.read(fd, 4096)
                else:
                    poll.unregister(fd)
                    _core.put_result(self.news, known.pop(fd), 0, 0, wire.DIED, None)
            self.forget_heard(poll, known)

    def forget_heard(self, poll, known):
        """Waits until the deaths that were told have been heard: a sentinel's number is used again then."""
        for _ in range(2000):
            if all(number in known.values() or w.process.exitcode is None
                   for number, w in list(self.workers.items())) or self.over.is_set():
                return
            time.sleep(0.001)

    def died(self, worker):
        worker.process.join()
        exitcode = worker.process.exitcode
        if not worker.ready and not worker.leaving:
            self.failures += exitcode != 0
            self.check_failures(worker, exitcode)
        self.figures["died"] += not worker.leaving
        self.suspect(worker, exitcode)
        for m in reversed(worker.messages):
            if m.limit < len(m.items):  # what was not begun was put back before
                first = len(m.items)
            else:
                first = min(max(worker.desk.recall(m.number), m.done), len(m.items))
            self.put_back(m, first)
            for k in range(m.done, min(first, m.limit)):
                self.lost(worker, m, k, exitcode)
        worker.messages.clear()
        del self.workers[worker.number]
        if worker.process in self.pool:
            self.pool.remove(worker.process)
        if self.state == RUN or (self.state == CLOSE and not self.is_over()):
            self.replace()

    def replace(self):
        try:
            self.repopulate()
        except Exception as error:
            if not self.workers:
                self.break_it(error)

    def check_failures(self, worker, exitcode):
        if self.failures >= TRIES * self.processes:
            self.break_it(
                WorkerDiedError(
                    f"workers of the pool cannot start: the last one, {worker.process.name}, "
                    f"{_how(exitcode)} before it was ready",
                    worker.process.pid,
                    exitcode,
                )
            )

    def suspect(self, worker, exitcode):
        """The worker had taken a message and claimed no task of it: it died while it unpickled that, or was
        killed just then.  The tasks are tried again, one by one; the second time it was the task."""
        m = worker.messages[0] if worker.messages else None
        taken = worker.next - 1 - worker.inbox.qsize()
        if m is None or m.number > taken & 0xFFFFFFFF or worker.desk.look(m.number) > 0:
            return
        m.job.size = 1
        if len(m.items) > 1:
            return
        task = m.tasks[0]
        m.job.suspects[task] = m.job.suspects.get(task, 0) + 1
        if m.job.suspects[task] > 1 + m.job.retries:
            worker.messages.popleft()
            self.lost(worker, m, 0, exitcode, "unpickled the arguments of")

    def lost(self, worker, m, k, exitcode, doing="ran"):
        """A task whose worker has died inside it."""
        tries = m.tries_of(k)
        if worker.verdict is None and doing == "ran" and tries < m.job.retries:
            m.job.again.appendleft((m.tasks[k], m.items[k], tries + 1))
            self.list_job(m.job, first=True)
            return
        error = worker.verdict or WorkerDiedError(
            f"worker {worker.process.name} (pid {worker.process.pid}) {_how(exitcode)} while it {doing} "
            f"{_describe(m.job, m.tasks[k], m.items[k])}",
            worker.process.pid,
            exitcode,
        )
        self.done.append((m.job, m.tasks[k], False, error))

    def break_it(self, error):
        """The pool is of no use any more: everything fails with that error."""
        if self.error is None:
            self.error = error
            self.fail_all(error)

    def fail_all(self, error):
        self.jobs.clear()
        self.open.clear()
        self.calls.result._fail(error)
        for result in list(self.cache.values()):
            result._fail(error)

    # ---- time ----

    def may_balance(self):
        """Whether there are idle workers, and tasks that are sent and not begun."""
        idle = behind = False
        for w in self.workers.values():
            idle = idle or (not w.messages and not w.leaving)
            behind = behind or len(w.messages) > 1 or (w.messages and w.messages[0].limit > 1)
        return idle and behind and not self.jobs

    def tick(self):
        now = time.monotonic()
        if self.may_balance():
            for w in self.workers.values():
                for m in list(w.messages):
                    if now - m.sent > TICK and (m.limit > 1 or m is not w.messages[0]):
                        self.take_back(w, m)
        for w in self.workers.values():
            if w.messages and not w.verdict and w.messages[0].job.timed():
                self.check_time(w, w.messages[0], now)

    def take_back(self, worker, m):
        """Recalls what is not begun, for others."""
        if m.limit < len(m.items):
            return
        claimed = min(worker.desk.recall(m.number), len(m.items))
        m.limit = max(claimed, m.done)
        self.put_back(m, m.limit)
        if m.done >= m.limit:
            worker.messages.remove(m)

    def check_time(self, worker, m, now):
        claimed = worker.desk.look(m.number)
        if claimed <= m.done:
            worker.since = None
            return
        if worker.since is None or worker.since[:2] != (m.number, claimed):
            worker.since = (m.number, claimed, now)
            return
        took, job = now - worker.since[2], m.job
        if job.timeout is not None and took > job.timeout:
            what = _describe(job, m.tasks[claimed - 1], m.items[claimed - 1])
            worker.verdict = TimeoutError(f"{what} took longer than {job.timeout} s")
            worker.process.kill()
        elif job.soft_timeout is not None and took > job.soft_timeout:
            self.interrupt(worker, m, claimed - 1, soft=1)

    def interrupt(self, worker, m, k, soft):
        note = (m.number << 32 | k) << 1 | soft
        if worker.desk.note() != note:
            worker.desk.set_note(note)
            try:
                os.kill(worker.process.pid, signal.SIGINT)
            except OSError:
                pass

    def interruption(self, worker, m):
        if worker.desk.note() & 1:
            return TimeoutError(f"a task took longer than {m.job.soft_timeout} s")
        return CancelledError("the task was cancelled")

    def do_cancel(self, job, result, answer, there):
        only = None  # or the one task of a job that many calls share
        if job is self.calls:
            only = next((task for task, r in job.result.results.items() if r is result), -1)
        for w in self.workers.values():
            for m in list(w.messages):
                if m.job is job and (only is None or only in m.tasks):
                    self.take_back(w, m)
                    claimed = w.desk.look(m.number)
                    running = w.messages and m is w.messages[0] and claimed > m.done
                    if running and (only is None or m.tasks[claimed - 1] == only):
                        self.interrupt(w, m, claimed - 1, soft=0)
        waiting = []
        while job.waiting():
            tasks, items, tries = job.take(MOST)
            waiting.extend(zip(tasks, items, tries or itertools.repeat(0)))
        tasks = [t[0] for t in waiting if only is None or t[0] == only]
        if only is None:
            job.retries = 0
        else:
            job.again.extend(t for t in waiting if t[0] != only)
        error = CancelledError("the task was cancelled")
        self.done.extend((job, task, False, error) for task in tasks)
        answer.append(len(tasks))
        there.set()

    # ---- the end ----

    def finish(self):
        """The last words of the thread that hears."""
        if self.state == TERMINATE:
            self.fail_all(ProcessError("the pool was terminated"))
        workers = list(self.workers.values())
        for w in workers:
            w.inbox.put(None)
        for w in workers:
            w.process.join()
        self.over.set()
        self.wake()
        util.debug("the pool's thread exits")


def _how(exitcode):
    if exitcode is not None and exitcode < 0:
        try:
            return f"was killed by {signal.Signals(-exitcode).name}"
        except ValueError:
            return f"was killed by signal {-exitcode}"
    return f"ended with exit code {exitcode}"


def _describe(job, task, item):
    func = item[0] if job.kind == wire.CALLS else job.func
    name = getattr(func, "__qualname__", None) or repr(func)
    return name if job.kind == wire.CALLS else f"{name}, task {task}"
