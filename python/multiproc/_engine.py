# SPDX-License-Identifier: MIT
"""The engine of a pool: tasks to workers, their results back, and what the death of a worker means.

Each worker has a queue of its own, and all have one for their news.  Tasks travel in messages: one at first,
more when they are short; a worker has one message to work at and one to go on with.  What it has not claimed
is recalled for others that are idle, so a long task holds nobody up but itself.

All news is heard by one thread, in the order in which it was sent; another one watches for deaths and only
adds the news of each behind what the dead worker had sent.  So when a worker's death is heard, all that it
has told is known, its desk says what it had claimed, and the difference is the one task that it died in.

The lock guards all state.  Results are handed to their jobs without it, because that runs callbacks.
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
        self.again = collections.deque()  # (task, item, tries) that come before those
        self.retries = retries
        self.timeout = timeout
        self.soft_timeout = soft_timeout
        self.timed = int(timeout is not None or soft_timeout is not None)
        self.base = 0  # the number of the first item
        self.listed = False  # among the engine's jobs
        self.low = None  # an event: something was sent since it was cleared
        self.size = 1  # of a message
        self.quick = False  # its tasks are short
        self.cancelled = False
        self.suspects = {}  # task: how many workers died while they unpickled it

    def waiting(self):
        return len(self.again) + len(self.items) - self.at

    def take(self, n):
        """The next tasks, at most n: lists of their numbers, their items and their tries."""
        if self.again:
            taken = [self.again.popleft() for _ in range(min(n, len(self.again)))]
            return [t[0] for t in taken], [t[1] for t in taken], [t[2] for t in taken]
        first, self.at = self.at, min(self.at + n, len(self.items))
        items = self.items[first : self.at]
        if self.at > 1024:  # what is sent is not kept
            del self.items[: self.at]
            self.base += self.at
            numbers = range(self.base - self.at + first, self.base)
            self.at = 0
        else:
            numbers = range(self.base + first, self.base + self.at)
        return numbers, items, None


class _Calls:
    """The results of single calls, which share a job: so they share messages, and what is known of them."""

    _job = None

    def __init__(self):
        self.results = {}

    def _set(self, task, obj):
        self.results.pop(task)._set(0, obj)


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
        self.dead = False
        self.tasks = 0
        self.since = None  # (message, claimed, when): the task that runs, as far as it was looked at
        self.verdict = None  # why it was killed by the pool: the error of its task

    def has_room(self, depth):
        m = self.messages
        return not (self.leaving or self.dead or self.verdict) and len(m) < depth and (
            not m or self.next - m[0].number < 4  # places on the desk
        )


class Engine:
    def __init__(self, ctx, make_process, processes, initializer, initargs, options, limits, wrap):
        self.ctx = ctx
        self.make_process = make_process
        self.processes = processes
        self.worker_args = (initializer, initargs, options["maxtasksperchild"], options["max_memory"], wrap)
        self.name = options["name"]
        self.options = options
        self.state = RUN
        self.lock = threading.RLock()
        self.starting = threading.Lock()
        self.news = ctx.SimpleQueue()
        self.workers = {}
        self.pool = []  # the processes, in the order of their start
        self.jobs = collections.deque()  # that have tasks to send
        self.full = False  # there are such, and no worker has room
        self.later = collections.deque()  # results that are known without a worker
        self.cache = {}  # job number -> result, as long as it is not done
        self.numbers = itertools.count(1)
        self.failures = 0  # workers in a row that died before they were ready
        self.error = None  # why it is broken
        self.timed = int(limits["timeout"] is not None)  # jobs with time limits
        self.figures = dict.fromkeys(("tasks", "failed", "died"), 0)
        self.wake_in, self.wake_out = os.pipe()
        self.over = threading.Event()
        self.calls = Job(_Calls(), wire.CALLS, None, [], **limits)
        self.called = itertools.count()
        self.turn = threading.Lock()  # of whoever hears
        self.rest = threading.Condition(threading.Lock())  # of the thread that hears when nobody else does
        self.poked = False
        self.leaders = 0  # threads that hear for themselves

    # ---- life ----

    def start(self):
        self.repopulate()
        self.hearing = threading.Thread(target=self.hear, name="pool", daemon=True)
        self.watching = threading.Thread(target=self.watch, name="pool-deaths", daemon=True)
        self.hearing.start()
        self.watching.start()

    def repopulate(self):
        """Starts as many workers as are missing."""
        with self.starting:
            started = False
            while self.state != TERMINATE:
                with self.lock:
                    there = sum(not (w.dead or w.leaving) for w in self.workers.values())
                if there >= self.processes:
                    break
                self.start_worker()
                started = True
            if started:
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
        with self.lock:
            self.workers[number] = _Worker(number, process, inbox, desk)
            self.pool.append(process)
            self.send_all()

    def wake(self):
        try:
            os.write(self.wake_out, b"x")
        except OSError:
            pass

    def look(self):
        """Lets whoever hears look at the state again."""
        _core.put_result(self.news, 0, 0, 0, wire.LOOK, None)
        self.poke()

    def poke(self):
        with self.rest:
            self.poked = True
            self.rest.notify()

    def close(self):
        with self.lock:
            if self.state == RUN:
                self.state = CLOSE
        self.look()

    def terminate(self):
        with self.lock:
            self.state = TERMINATE
            self.jobs.clear()
            processes = [w.process for w in self.workers.values() if not w.dead]
        for process in processes:
            if process.exitcode is None:
                process.terminate()
        self.look()
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

    def fail_all(self, error):
        """Every job that is not done fails."""
        with self.lock:
            results = list(self.cache.values())
            self.jobs.clear()
        for result in results:
            result._fail(error)

    # ---- sending ----

    def submit(self, job):
        with self.lock:
            if self.error is not None:
                raise self.error
            self.timed += job.timed
            if job.timed and self.timed == 1:
                self.look()
            self.figures["tasks"] += job.waiting()
            job.listed = True
            self.jobs.append(job)
            self.send_all()

    def call(self, result, call):
        """A single call, without limits of its own."""
        if self.error is not None:
            raise self.error
        with self.lock:
            task = next(self.called)
            self.calls.result.results[task] = result
            result._task_source = self, self.calls, task
            self.figures["tasks"] += 1
            self.feed(self.calls, call)

    def feed(self, job, item):
        """One more task of a job, by the only thread that adds some.  Without the lock when somebody is sure
        to look at the job: it is listed, and there are messages whose answers make workers free."""
        job.items.append(item)
        if job.listed and self.full:
            return
        with self.lock:
            if not job.listed:
                job.listed = True
                self.jobs.append(job)
            self.send_all()

    def send_all(self):
        """Sends what waits to workers that have room: first to those that are idle."""
        while self.jobs:
            job = self.jobs[0]
            if not job.waiting():
                job.listed = False
                if not job.waiting():  # feed() adds, and then looks whether it is listed
                    self.jobs.popleft()
                else:
                    job.listed = True
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
            self.not_sent(worker, message, error)
            return
        worker.next += 1
        worker.messages.append(message)

    def not_sent(self, worker, message, error):
        """A task in it cannot be pickled: finds out which."""
        if len(message.items) == 1:
            self.later.append((message.job, message.tasks[0], False, error))
            self.look()
            return
        for k in range(len(message.items) - 1, -1, -1):
            tries = message.tries[k] if message.tries else 0
            message.job.again.appendleft((message.tasks[k], message.items[k], tries))
        message.job.size = 1

    # ---- hearing ----

    def hear(self):
        """The thread that hears while no other thread does."""
        while not self.is_over():
            with self.rest:
                while not self.poked and (self.leaders or not self.cache):
                    self.rest.wait()
                self.poked = False
            with self.turn:
                if not self.is_over() and not self.leaders:
                    self.hear_once(None if self.cache else 0)
        self.finish()

    def attend(self):
        """There is something to hear, and perhaps nobody who does."""
        if not self.leaders:
            self.poke()

    def announce(self):
        """This thread is going to hear for itself."""
        with self.rest:
            self.leaders += 1

    def follow(self):
        """A leader has what it wanted."""
        with self.rest:
            self.leaders -= 1
            if self.cache and not self.leaders:
                self.rest.notify()

    def lead(self, result):
        """Hears until a result is there: the thread that waits for it, which saves two changes of threads.
        False: another one hears already."""
        if not self.turn.acquire(False):
            return False
        try:
            while not result._event.is_set() and self.state != TERMINATE:
                self.hear_once(1.0)
        finally:
            self.turn.release()
        return True

    def hear_once(self, timeout):
        with self.lock:
            quiet = self.timed == 0 and not self.may_balance()
        news = _core.get_results(self.news, timeout if quiet else TICK)
        done = []
        with self.lock:
            for item in news:
                self.handle(*item, done)
            while self.later:
                done.append(self.later.popleft())
            if not quiet:
                self.tick(done)
            self.send_all()
        news = None
        for job, task, success, value in done:
            self.deliver(job, task, success, value)

    def deliver(self, job, task, success, value):
        if not success:
            self.figures["failed"] += 1
        try:
            job.result._set(task, (success, value))
        except Exception:  # a callback has raised; the thread goes on
            threading.excepthook(threading.ExceptHookArgs((*sys.exc_info(), threading.current_thread())))
        if job.timed and job.result._job not in self.cache:
            with self.lock:
                self.timed -= job.timed
                job.timed = 0

    def handle(self, number, message, task, what, value, done):
        worker = self.workers.get(number)
        if what == wire.LOOK or worker is None:
            return
        if what & wire.UNPICKLED:
            what &= ~wire.UNPICKLED
            what = wire.FAILURE if what == wire.RESULT else what
        if what in (wire.RESULT, wire.FAILURE):
            self.result(worker, message, task, what, value, done)
        elif what == wire.NOT_UNDERSTOOD:
            self.not_understood(worker, message, value, done)
        elif what == wire.READY:
            worker.ready = True
            self.failures = 0
        elif what == wire.BROKEN:
            self.failures += 1
            if self.failures >= TRIES:
                self.break_it(value, done)
        elif what == wire.LEAVING:
            worker.leaving = True
        elif what == wire.DIED:
            self.died(worker, done)

    def result(self, worker, number, task, what, value, done):
        m = worker.messages[0] if worker.messages else None
        if m is None or m.number != number:
            return
        m.done += 1
        worker.tasks += 1
        if value is None and what == wire.FAILURE:
            value = self.interruption(worker, m)
        done.append((m.job, m.tasks[task], what == wire.RESULT, value))
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

    def not_understood(self, worker, number, error, done):
        """The worker could not unpickle the message: one by one, or not at all."""
        m = next((m for m in worker.messages if m.number == number & 0xFFFFFFFF), None)
        if m is None:  # it was recalled
            return
        worker.messages.remove(m)
        if m.limit < len(m.items):
            return
        if len(m.items) == 1:
            done.append((m.job, m.tasks[0], False, error))
            return
        m.job.size = 1
        self.put_back(m, 0)

    def put_back(self, m, first):
        """Tasks of a message from `first` on wait again, before all others."""
        for k in range(len(m.items) - 1, first - 1, -1):
            tries = m.tries[k] if m.tries else 0
            m.job.again.appendleft((m.tasks[k], m.items[k], tries))
        if len(m.items) > first:
            self.list_first(m.job)

    def list_first(self, job):
        if not job.listed:
            job.listed = True
            self.jobs.appendleft(job)

    # ---- death ----

    def watch(self):
        """Adds the news of each death behind what the dead worker has told."""
        poll = select.poll()
        poll.register(self.wake_in, select.POLLIN)
        known = {}
        while not self.over.is_set():
            with self.lock:
                for w in list(self.workers.values()):
                    if w.number not in known.values() and not w.dead:
                        known[w.process.sentinel] = w.number
                        poll.register(w.process.sentinel, select.POLLIN)
            for fd, _ in poll.poll():
                if fd == self.wake_in:
                    os.read(fd, 4096)
                else:
                    poll.unregister(fd)
                    _core.put_result(self.news, known.pop(fd), 0, 0, wire.DIED, None)
                    self.poke()

    def died(self, worker, done):
        worker.dead = True
        worker.process.join()
        exitcode = worker.process.exitcode
        if not worker.ready and not worker.leaving:
            self.failures += exitcode != 0 and self.error is None
            self.check_failures(worker, exitcode, done)
        self.figures["died"] += not worker.leaving
        self.suspect(worker, exitcode, done)
        for m in worker.messages:
            claimed = max(worker.desk.recall(m.number), m.done)
            claimed = min(claimed, len(m.items))
            for k in range(m.done, claimed):
                self.lost(worker, m, k, exitcode, done)
        for m in reversed(worker.messages):
            claimed = worker.desk.look(m.number)
            if m.limit == len(m.items):  # else they were put back before
                self.put_back(m, min(max(claimed, m.done), len(m.items)))
        worker.messages.clear()
        del self.workers[worker.number]
        if worker.process in self.pool:
            self.pool.remove(worker.process)
        worker.inbox = None
        if self.state == RUN or (self.state == CLOSE and self.cache):
            if self.error is None:
                self.missing(done)

    def suspect(self, worker, exitcode, done):
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
            self.lost(worker, m, 0, exitcode, done, "unpickled the arguments of")

    def missing(self, done):
        try:
            self.repopulate()
        except Exception as error:
            if not self.workers:
                self.break_it(error, done)

    def check_failures(self, worker, exitcode, done):
        if self.failures >= TRIES * self.processes and self.error is None:
            self.break_it(
                WorkerDiedError(
                    f"workers of the pool cannot start: the last one, {worker.process.name}, "
                    f"{_how(exitcode)} before it was ready",
                    worker.process.pid,
                    exitcode,
                ),
                done,
            )

    def lost(self, worker, m, k, exitcode, done, doing="ran"):
        """A task whose worker has died inside it."""
        tries = m.tries[k] if m.tries else 0
        if worker.verdict is None and doing == "ran" and tries < m.job.retries and not m.job.cancelled:
            m.job.again.appendleft((m.tasks[k], m.items[k], tries + 1))
            self.list_first(m.job)
            return
        error = worker.verdict or WorkerDiedError(
            f"worker {worker.process.name} (pid {worker.process.pid}) {_how(exitcode)} while it {doing} "
            f"{_describe(m.job, m.tasks[k], m.items[k])}",
            worker.process.pid,
            exitcode,
        )
        done.append((m.job, m.tasks[k], False, error))

    def break_it(self, error, done):
        """The pool is of no use any more: everything fails with that error."""
        if self.error is None:
            self.error = error
            self.look()
            threading.Thread(target=self.fail_all, args=(error,), daemon=True).start()

    # ---- time ----

    def may_balance(self):
        """Whether there are idle workers, and tasks that are sent and not begun."""
        idle = behind = False
        for w in self.workers.values():
            idle = idle or (not w.messages and not w.leaving)
            behind = behind or len(w.messages) > 1 or (w.messages and w.messages[0].limit > 1)
        return idle and behind and not self.jobs

    def tick(self, done):
        now = time.monotonic()
        if self.may_balance():
            for w in list(self.workers.values()):
                for m in list(w.messages):
                    if now - m.sent > TICK and (m.limit > 1 or m is not w.messages[0]):
                        self.take_back(w, m)
        if self.timed:
            for w in list(self.workers.values()):
                if w.messages and not w.verdict:
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

    def cancel(self, job, only=None):
        """Cancels what has not begun, interrupts what runs, of all tasks of a job or one; how many had not
        begun."""
        with self.lock:
            for w in list(self.workers.values()):
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
        for task in tasks:
            self.deliver(job, task, False, error)
        return len(tasks)

    # ---- the end ----

    def is_over(self):
        with self.lock:
            if self.state == TERMINATE:
                return True
            return self.state == CLOSE and not self.cache and not self.jobs

    def finish(self):
        """The last words of the thread that hears."""
        if self.state == TERMINATE:
            self.fail_all(ProcessError("the pool was terminated"))
        with self.lock:
            workers = list(self.workers.values())
            for w in workers:
                if not w.dead:
                    w.inbox.put(None)
        for w in workers:
            w.process.join()
        self.over.set()
        self.wake()
        util.debug("the pool's thread exits")

    def join(self):
        self.hearing.join()
        self.watching.join()
        for process in list(self.pool):
            process.join()

    def info(self):
        """Figures of the pool and of each worker."""
        with self.lock:
            workers = [
                {"name": w.process.name, "pid": w.process.pid, "tasks": w.tasks, "busy": bool(w.messages)}
                for w in self.workers.values()
            ]
            waiting = sum(job.waiting() for job in self.jobs)
            return dict(self.figures, state=self.state, waiting=waiting, workers=workers)


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
