"""What the tests of peers share: links between Linux and a device, and other networks behind them. All in the namespace of the test."""

import os
import subprocess
import sys

from namespace import run, send_sums

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, '..', 'peers'))

ADDRESSES = 'ip=10.9.0.2/24&ip=fd00:9::2/64&port=7000'
FOUR, SIX = '10.9.0.2', 'fd00:9::2'


def set_kernel(name, value):
    with open('/proc/sys/net/' + name, 'w', encoding='ascii') as out:
        out.write(str(value))


def address_interface(interface, four='10.9.0.1/24', six='fd00:9::1/64'):
    run('ip', 'address', 'add', four, 'dev', interface)
    run('ip', 'address', 'add', six, 'dev', interface, 'nodad')
    run('ip', 'link', 'set', interface, 'up')


class Tap:
    """A tap device of DPDK: Linux has `hf0`."""

    name, interface, needs = 'tap', 'hf0', 'net_tap0,iface=hf0'

    def before(self):
        """What must be there before the engine."""

    def after(self, mtu=1500):
        run('ip', 'link', 'set', self.interface, 'mtu', str(mtu))
        address_interface(self.interface)

    def end(self):
        """With the engine the interface is gone."""


class Veth:
    """Two ends of a cable: Linux has `hf0`, an af_packet device the other."""

    name, interface, needs = 'veth', 'hf0', 'net_af_packet0,iface=hf1'

    def before(self):
        run('ip', 'link', 'add', 'hf0', 'type', 'veth', 'peer', 'name', 'hf1')
        set_kernel('ipv6/conf/hf1/disable_ipv6', 1)  # the engine speaks for this end, not Linux
        send_sums('hf0')
        run('ip', 'link', 'set', 'hf1', 'mtu', '9000', 'up')

    def after(self, mtu=1500):
        run('ip', 'link', 'set', self.interface, 'mtu', str(mtu))
        address_interface(self.interface)

    def end(self):
        run('ip', 'link', 'delete', 'hf0')


class Pcap(Veth):
    """The same with a pcap device, which has an address of its own beside that of the interface."""

    name, needs = 'pcap', 'net_pcap0,rx_iface_in=hf1,tx_iface=hf1'


class Network:
    """Another network namespace, behind a cable from this one: 10.10.0.2 and fd00:10::2, which go by 10.10.0.1 and fd00:10::1 of here."""

    def __init__(self):
        self.process = subprocess.Popen(['unshare', '--net', 'sh', '-c', 'echo there; exec cat'], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)
        if self.process.stdout.readline() != 'there\n':
            self.end()
            raise AssertionError('no other namespace')
        run('ip', 'link', 'add', 'far0', 'type', 'veth', 'peer', 'name', 'far1')
        run('ip', 'link', 'set', 'far1', 'netns', str(self.process.pid))
        for interface in ('far0', 'all'):
            set_kernel(f'ipv4/conf/{interface}/forwarding', 1)
            set_kernel(f'ipv6/conf/{interface}/forwarding', 1)
        send_sums('far0')
        address_interface('far0', '10.10.0.1/24', 'fd00:10::1/64')
        self.run('ip', 'address', 'add', '10.10.0.2/24', 'dev', 'far1')
        self.run('ip', 'address', 'add', 'fd00:10::2/64', 'dev', 'far1', 'nodad')
        self.run('ip', 'link', 'set', 'far1', 'up')
        self.run('ip', 'route', 'add', 'default', 'via', '10.10.0.1')
        self.run('ip', 'route', 'add', 'default', 'via', 'fd00:10::1')

    def words(self, *words):
        return ['nsenter', f'--net=/proc/{self.process.pid}/ns/net', *words]

    def run(self, *words, status=0):
        return run(*self.words(*words), status=status)

    def end(self):
        if self.process.stdin.closed:
            return
        run('ip', 'link', 'delete', 'far0')
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()
