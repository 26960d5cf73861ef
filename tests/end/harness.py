"""Starts the real programs as an operator would, and speaks the protocol as somebody else's client would.

meson gives the programs by HOLDFASTD and HOLDFAST. HF_TEST_SCALE is `default` or `full`. Nothing here waits for a time
that a slow (sanitizer) build could miss: WAIT_S only ends what hangs.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest

HOLDFASTD = os.environ.get('HOLDFASTD', '')
HOLDFAST = os.environ.get('HOLDFAST', '')
FULL = os.environ.get('HF_TEST_SCALE', 'default') == 'full'
WAIT_S = 60

SMALL = ['--partitions', '16', '--max-skus', '4096', '--max-cells', '8192', '--max-orders', '200000', '--max-lines', '400000',
         '--max-command-ids', '200000', '--max-limits', '4096', '--log-ahead', '4M', '--segment-bytes', '4M']


def scaled(default, full):
    """A count for this run."""
    return full if FULL else default


def make_directory(under=None):
    return tempfile.mkdtemp(prefix='hf-end-', dir=under)


class Engine:
    """One holdfastd: started on a port of the kernel's choice, read by threads so that it never blocks on a pipe."""

    def __init__(self, data, *options, shards=1, listen='tcp://127.0.0.1:0', small=True, preexec=None):
        # A bare program's first words win, so a test's own options come last.
        self.arguments = [HOLDFASTD, '--data', data, '--listen', listen, '--shards', str(shards)] + (SMALL if small else []) + list(options)
        self.data = data
        self.log = []
        self.address = None
        self.addresses = []  # in the order of --listen
        self.ready = threading.Event()
        self.ended = threading.Event()
        self.process = subprocess.Popen(self.arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        text=True, errors='replace', preexec_fn=preexec)
        self.readers = [threading.Thread(target=self._read_out, daemon=True), threading.Thread(target=self._read_log, daemon=True)]
        for reader in self.readers:
            reader.start()

    def _read_out(self):
        for line in self.process.stdout:
            if line.strip() == 'ready':
                self.ready.set()
        self.ended.set()
        self.ready.set()

    def _read_log(self):
        for line in self.process.stderr:
            self.log.append(line)
            if '"listening"' in line:
                self.addresses.append(json.loads(line)['address'])
                self.address = self.addresses[0]

    def wait_ready(self):
        """Until it serves; fails with its log if it ended instead."""
        if not self.ready.wait(WAIT_S) or self.ended.is_set():
            self.kill()
            raise AssertionError('holdfastd did not start: ' + self.text())
        deadline = time.monotonic() + WAIT_S
        while self.address is None and time.monotonic() < deadline:
            time.sleep(0.001)
        return self

    def wait_end(self):
        """Its exit status."""
        try:
            status = self.process.wait(WAIT_S)
        except subprocess.TimeoutExpired as late:
            raise AssertionError('holdfastd goes on: ' + self.text()) from late
        for reader in self.readers:
            reader.join(WAIT_S)
        self.process.stdout.close()
        self.process.stderr.close()
        return status

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.wait_end()

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        return self.wait_end() if not self.process.stdout.closed else self.process.returncode

    def text(self):
        return ''.join(self.log)

    def messages(self):
        """The log's objects; every line must be one."""
        return [json.loads(line) for line in self.log]

    @property
    def host_port(self):
        host, port = self.address[len('tcp://'):].rsplit(':', 1)
        return host, int(port)


class Done:
    """What a run of the tool left."""

    def __init__(self, arguments, status, out, err):
        self.arguments, self.status, self.out, self.err = arguments, status, out, err

    @property
    def json(self):
        lines = self.out.splitlines()
        if len(lines) != 1:
            raise AssertionError(f'{self} printed {len(lines)} lines instead of one')
        return json.loads(lines[0])

    def __str__(self):
        return f'{" ".join(self.arguments)}: exit {self.status}\n{self.out[-2000:]}{self.err[-4000:]}'


def run_tool(address, *arguments, as_json=True):
    words = [HOLDFAST] + (['--server', address] if address else []) + (['--json'] if as_json else []) + [str(a) for a in arguments]
    environment = {name: value for name, value in os.environ.items() if name != 'HOLDFAST_SERVER'}
    done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors='replace',
                          timeout=WAIT_S * 2, env=environment, check=False)
    return Done(words[1:], done.returncode, done.stdout, done.stderr)


def start_tool(address, *arguments):
    """The tool beside the test, for what runs while the engine is killed."""
    words = [HOLDFAST, '--server', address, '--json'] + [str(a) for a in arguments]
    return subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors='replace')


class EndTest(unittest.TestCase):
    """A test with engines, directories and clients that are all gone when it ends."""

    def setUp(self):
        self.directory = make_directory()
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)
        self.data = os.path.join(self.directory, 'data')
        self.engines = []
        self.addCleanup(self._end_engines)

    def _end_engines(self):
        for engine in self.engines:
            engine.kill()

    def launch(self, *options, data=None, **more):
        """Starts an engine without waiting for it."""
        engine = Engine(data or self.data, *options, **more)
        self.engines.append(engine)
        return engine

    def start(self, *options, **more):
        return self.launch(*options, **more).wait_ready()

    def refused_start(self, status, *words, options=(), **more):
        """An engine that must end by itself with this status, saying all these words."""
        engine = self.launch(*options, **more)
        self.assertEqual(engine.wait_end(), status, engine.text())
        for word in words:
            self.assertIn(word, engine.text())
        return engine

    def connect(self, engine, **more):
        from protocol import Client  # both modules stand beside each other
        client = Client(engine.host_port, **more)
        self.addCleanup(client.close)
        return client

    def tool(self, engine, *arguments, status=0):
        done = run_tool(engine.address if engine else None, *arguments)
        self.assertEqual(done.status, status, str(done))
        return done.json if done.out else None

    def status(self, engine):
        """With the numbers of every shard: on a busy machine one may be too late for a single status."""
        def whole():
            found = self.tool(engine, 'status')
            return found if all(shard['answers_status'] for shard in found['shards']) else None
        return self.eventually(whole, 'numbers of every shard')

    def digest(self, engine):
        """(position, digest) of the live state."""
        found = self.tool(engine, 'digest')
        return found['position'], found['digest']

    def replay(self, data=None, until=None, shards=1, status=0):
        arguments = ['journal', 'replay', '--data', data or self.data, '--shards', shards]
        if until is not None:
            arguments += ['--until', until]
        return self.tool(None, *arguments, status=status)

    def kept(self, state, data=None, shards=1):
        """Asserts that a stopped directory replays to (position, digest)."""
        found = self.replay(data, state[0], shards)
        self.assertEqual((found['position'], found['digest']), state)

    def follow(self, engine, after=0):
        """Every durable record that ends beyond `after`, as objects."""
        done = run_tool(engine.address, 'follow', '--from', after, '--until-end')
        self.assertEqual(done.status, 0, str(done))
        return [json.loads(line) for line in done.out.splitlines()]

    def unchanged(self, engine, state):
        """Asserts that a live engine has taken nothing since (position, digest) but the marks of time."""
        now = self.digest(engine)
        if now != state:
            self.assertGreater(now[0], state[0])
            since = self.follow(engine, state[0])
            self.assertEqual({record['command'] for record in since} - {'MARK', 'FORGET'}, set(), since)

    def audit_clean(self, engine, acked=None):
        arguments = ['audit'] + (['--acked', acked] if acked else [])
        found = self.tool(engine, *arguments)
        for name in ('violations', 'acked_missing', 'acked_wrong'):
            self.assertEqual(found[name], 0, found)
        return found

    def load_granted(self, address, seconds, *options):
        """What `holdfast load` says of 200 orders a second, each of which is granted, however late the answers are."""
        load = start_tool(address, 'load', '--skus', 4, '--connections', 2, '--rate', 200, '--orders', int(200 * seconds),
                          '--patience', 100, *options)
        out, err = load.communicate(timeout=seconds + 200)
        self.assertEqual(load.returncode, 0, err)
        found = json.loads(out)
        self.assertEqual((found['granted'], found['unanswered'], found['errors']), (found['orders'], 0, 0), found)
        return found

    def write(self, name, text):
        path = os.path.join(self.directory, name)
        with open(path, 'w', encoding='utf-8') as out:
            out.write(text)
        return path

    def stock(self, engine, skus, quantity, locations=(1,), name='SKU%06d'):
        """Imports `quantity` of SKU000001.. at each location."""
        rows = ''.join(f'{name % sku},{location},{quantity}\n' for sku in range(1, skus + 1) for location in locations)
        path = self.write('stock.csv', 'sku,location,quantity\n' + rows)
        found = self.tool(engine, 'stock', 'import', path)
        self.assertEqual((found['rows'], found['applied'], found['refused']), (skus * len(locations), skus * len(locations), 0))
        return path

    def eventually(self, judge, what):
        """Looks until judge() is true."""
        deadline = time.monotonic() + WAIT_S
        while time.monotonic() < deadline:
            found = judge()
            if found:
                return found
            time.sleep(0.01)
        raise AssertionError(f'{what} never happened')


def main():
    """Runs the calling file's tests; without programs to test, says so."""
    if not os.path.exists(HOLDFASTD) or not os.path.exists(HOLDFAST):
        sys.exit('HOLDFASTD and HOLDFAST name no programs: run this with `meson test --suite end`')
    unittest.main(module='__main__', verbosity=1)
