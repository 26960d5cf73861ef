"""What the tests of devices share: a network of their own, and the other end of a memif."""

import array
import fcntl
import os
import socket
import struct
import subprocess
import sys

ABOVE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [os.path.join(ABOVE, 'end'), os.path.join(os.path.dirname(ABOVE), 'bench')]

from harness import WAIT_S  # noqa: E402  (its folder is known by now)
from huge import huge_pages  # noqa: E402, F401  (the benches need them too)

FOLDER = os.path.dirname(os.path.abspath(__file__))
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
    # What was given stays; two lists of suppressions cannot be given.
    os.environ['TSAN_OPTIONS'] = os.environ.get('TSAN_OPTIONS', '') + ':suppressions=' + os.path.join(FOLDER, 'tsan.supp')
    if os.environ.get(INSIDE):
        run('ip', 'link', 'set', 'lo', 'up')
        return
    user = [] if os.geteuid() == 0 else ['--user', '--map-root-user']
    os.environ[INSIDE] = '1'
    os.execvp('unshare', ['unshare', '--net', *user, sys.executable, *sys.argv])


def ping(address, *options, count=3, there=run):
    """Fails unless so many are answered, one after the other. Each is sent again after a while: DPDK's tap can leave a packet lying until
    the next one comes (packets_kit.NUDGE_S), and of several sent at once ping gives up the last too soon."""
    for _ in range(count):
        there('ping', '-c', '1', '-i', '1', '-w', str(WAIT_S // 2), *options, address)


class Bridge:
    """A memif's client end that is an interface of Linux."""

    program = BRIDGE

    def __init__(self, *words, **more):
        """`words`: the memif's socket, the interface."""
        self.process = subprocess.Popen([self.program, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **more)

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


SIOCETHTOOL, ETHTOOL_STXCSUM = 0x8946, 0x17  # linux/sockios.h, linux/ethtool.h


def send_sums(interface):
    """Has an interface write the checksums of what leaves by it, which no wire will do for it: a packet between two ends of a veth has
    none otherwise."""
    word = array.array('B', struct.pack('II', ETHTOOL_STXCSUM, 0))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack('16sP8x', interface.encode(), word.buffer_info()[0])
        fcntl.ioctl(any_socket, SIOCETHTOOL, request)


def make_cable(ours, theirs, *addresses, mtu=1500):
    """Two interfaces that are each other's end: ours is the engine's, theirs has addresses of Linux."""
    run('ip', 'link', 'add', ours, 'mtu', str(mtu), 'type', 'veth', 'peer', 'name', theirs, 'mtu', str(mtu))
    send_sums(theirs)
    for address in addresses:
        run('ip', 'address', 'add', address, 'dev', theirs, *(['nodad'] if ':' in address else []))
    for interface in (ours, theirs):
        run('ip', 'link', 'set', interface, 'up')
