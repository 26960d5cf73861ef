"""Starts and stops holdfastd and runs `holdfast` against it, for the benches and for `make run`. Nothing outlives its `with`."""

import contextlib
import ctypes
import json
import os
import select
import shutil
import signal
import subprocess
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.environ.get('HOLDFAST_BUILD') or os.path.join(ROOT, 'build')
READY_SECONDS = 120
STOP_SECONDS = 60
PR_SET_PDEATHSIG = 1


class Failed(Exception):
    """A program did not do what was asked of it; the text says which and why."""


def program(name):
    """The path of a built program or bench; Failed with the command that builds it."""
    for path in (os.path.join(BUILD, name), os.path.join(BUILD, 'bench', name)):
        if os.access(path, os.X_OK):
            return path
    raise Failed(f'{name} is not built; make build')


def dies_with_us(signal_number):
    """For preexec_fn: a child gets this signal when this process is gone, however it went."""
    libc = ctypes.CDLL(None, use_errno=True)
    return lambda: libc.prctl(PR_SET_PDEATHSIG, signal_number)


def pinned(cpu, command):
    return ['taskset', '-c', str(cpu), *command] if (os.cpu_count() or 1) > 1 else list(command)


def ended_by_signals():
    """SIGTERM and SIGHUP become SystemExit, so that every `with` and `finally` runs."""
    def leave(number, _frame):
        raise SystemExit(128 + number)
    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGHUP, leave)


@contextlib.contextmanager
def scratch(name):
    """A directory of our own on the disk of the build tree, removed at the end."""
    where = os.path.join(BUILD, name)
    os.makedirs(where, exist_ok=True)
    path = tempfile.mkdtemp(dir=where)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        with contextlib.suppress(OSError):
            os.rmdir(where)


def run_json(command, good=(0,), timeout=600):
    """Runs a program that prints one JSON line; Failed when it ends otherwise or says nothing."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=timeout,
                          preexec_fn=dies_with_us(signal.SIGKILL), check=False)
    name = next(os.path.basename(word) for word in command if os.path.isabs(word))
    said = done.stderr.decode(errors='replace').strip()
    if done.returncode not in good:
        raise Failed(f'{name} {" ".join(command[command.index(next(w for w in command if os.path.isabs(w))) + 1:])}: '
                     f'exit {done.returncode}: {said[-600:] or done.stdout.decode(errors="replace")[-600:]}')
    lines = done.stdout.decode().splitlines()
    if not lines:
        raise Failed(f'{name}: no output; {said[-600:]}')
    return json.loads(lines[-1])


class Engine:
    """One holdfastd on a port of its own. start() may be called again after stop() or kill(): same directory, same port."""

    def __init__(self, data, options=(), cpu=0):
        """cpu None: shards and cores as holdfastd chooses them."""
        self.data, self.options, self.cpu = data, list(options), cpu
        self.process = None
        self.address = 'tcp://127.0.0.1:0'
        self.ready_seconds = None
        self.log_path = data.rstrip('/') + '.log'

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.kill()

    def start(self):
        command = [program('holdfastd'), '--data', self.data, '--listen', self.address, *self.options]
        if self.cpu is not None:
            command += ['--shards', '1']
        if self.cpu is not None and (os.cpu_count() or 1) > 1:
            command += ['--cpus', str(self.cpu)]
        began = time.monotonic()
        with open(self.log_path, 'ab') as log:
            log_from = log.tell()
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log,
                                            preexec_fn=dies_with_us(signal.SIGKILL))
        self.await_ready()
        self.ready_seconds = time.monotonic() - began
        self.address = self.listening(log_from)

    def await_ready(self):
        if select.select([self.process.stdout], [], [], READY_SECONDS)[0] and self.process.stdout.readline() == b'ready\n':
            return
        status = self.process.poll()
        self.kill()
        raise Failed(f'holdfastd does not serve ({"no answer" if status is None else f"exit {status}"}): {self.last_words()}')

    def last_words(self):
        with open(self.log_path, encoding='utf-8', errors='replace') as log:
            return log.read()[-600:].strip()

    def listening(self, log_from):
        with open(self.log_path, encoding='utf-8', errors='replace') as log:
            log.seek(log_from)
            for line in log:
                if '"listening"' in line:
                    return json.loads(line)['address']
        raise Failed('holdfastd said ready but not where it listens')

    def kill(self):
        if self.process is None:
            return
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.process = None

    def stop(self):
        """SIGTERM; Failed unless it ends with 0."""
        self.process.terminate()
        try:
            status = self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            status = None
        self.kill()
        if status != 0:
            raise Failed(f'holdfastd stopped with {status}: {self.last_words()}')

    def alive(self):
        return self.process is not None and self.process.poll() is None

    def command(self, *arguments):
        return [program('holdfast'), '--server', self.address, *map(str, arguments), '--json']

    def tool(self, *arguments, good=(0,), cpu=1):
        try:
            return run_json(pinned(cpu, self.command(*arguments)), good)
        except Failed as error:
            if self.alive():
                raise
            raise Failed(f'{error}; holdfastd had ended with {self.process.poll()}: {self.last_words()}') from error


def write_stock(path, skus, quantity):
    """What `load --skus N` draws from."""
    with open(path, 'w', encoding='ascii') as file:
        file.write('sku,location,quantity\n')
        file.writelines(f'SKU{number:06d},1,{quantity}\n' for number in range(1, skus + 1))
