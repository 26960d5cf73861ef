"""What the tests of devices share: a network of their own, and the other end of a memif."""

import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'end'))

from harness import WAIT_S  # noqa: E402  (the harness stands in the folder beside)

INSIDE = 'HF_TEST_IN_NAMESPACE'
BRIDGE = os.environ.get('HF_BRIDGE', '')


def run(*words, status=0):
    done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=WAIT_S,
                          check=False)
    if done.returncode != status:
        raise AssertionError(f'{" ".join(words)}: exit {done.returncode}\n{done.stdout}')
    return done.stdout


def enter_namespace():
    """Runs the calling file again in a network of its own; who is not root is root in there alone."""
    if os.environ.get(INSIDE):
        run('ip', 'link', 'set', 'lo', 'up')
        return
    user = [] if os.geteuid() == 0 else ['--user', '--map-root-user']
    os.environ[INSIDE] = '1'
    os.execvp('unshare', ['unshare', '--net', *user, sys.executable, *sys.argv])


class Bridge:
    """A memif's client end that is an interface of Linux."""

    def __init__(self, socket, interface):
        self.process = subprocess.Popen([BRIDGE, socket, interface], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def wait_ready(self):
        if self.process.stdout.readline().strip() != 'ready':
            self.stop()
            raise AssertionError('the bridge found no peer')
        return self

    def stop(self):
        if self.process.stdin.closed:
            return
        self.process.stdin.close()
        try:
            self.process.wait(WAIT_S)
        finally:
            self.process.kill()
            self.process.wait()
            self.process.stdout.close()
