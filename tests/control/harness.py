"""Starts probe_server (given by PROBE_SERVER) and asks it what it counted. Nothing here waits for a time that a slow build could miss."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

PROBE_SERVER = os.environ.get('PROBE_SERVER', '')
WAIT_S = 60


class Server:
    """One server on a port of the kernel's choice; options as name=value."""

    def __init__(self, *listen, files_max=None, **options):
        words = list(listen or ['tcp://127.0.0.1:0']) + [f'{name}={value}' for name, value in options.items()]
        # Not with a preexec_fn: that forks, and grpcio's handlers of forks can wait for each other for ever.
        limit = ['prlimit', f'--nofile={files_max}'] if files_max else []
        self.process = subprocess.Popen([*limit, PROBE_SERVER, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        words = self.process.stdout.readline().split()
        if not words or words[0] != 'ready':
            self.process.wait(WAIT_S)
            raise AssertionError(f'probe_server did not start: {words}')
        self.ports = [int(word) for word in words[1:]]
        self.port = self.ports[0]

    def order(self, line):
        """The answer's line."""
        self.process.stdin.write(line + '\n')
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def counters(self):
        found, line = {}, self.order('counters')
        while line != 'end':
            name, value = line.split()
            found[name] = int(value)
            line = self.process.stdout.readline().strip()
        return found

    def wait_counter(self, name, least):
        """Until the counter is at least that; its value. Fails after WAIT_S."""
        deadline = time.monotonic() + WAIT_S
        while True:
            counters = self.counters()
            if counters[name] >= least:
                return counters[name]
            if time.monotonic() > deadline:
                raise AssertionError(f'{name} stays below {least}: {counters}')
            time.sleep(0.01)

    def wait_gone(self):
        """Until no connection and no call is left."""
        deadline = time.monotonic() + WAIT_S
        while self.counters()['connections'] > 0 or self.order('live') != '0':
            if time.monotonic() > deadline:
                raise AssertionError(f"left over: {self.counters()['connections']} connections, {self.order('live')} calls")
            time.sleep(0.01)

    def stop(self):
        """Its exit status; sanitizers speak through it."""
        if self.process.poll() is None:
            self.process.stdin.write('quit\n')
            self.process.stdin.flush()
        status = self.process.wait(WAIT_S)
        self.process.stdin.close()
        self.process.stdout.close()
        return status


class Case(unittest.TestCase):
    """Servers and directories of a test end with it; a server that does not end well fails it."""

    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix='hf-control-')
        self.servers = []

    def tearDown(self):
        statuses = [server.stop() for server in self.servers]
        shutil.rmtree(self.directory)
        self.assertEqual(statuses, [0] * len(statuses))

    def serve(self, *listen, **options):
        server = Server(*listen, **options)
        self.servers.append(server)
        return server


def main():
    sys.stdout.reconfigure(line_buffering=True)
    unittest.main(verbosity=1)
