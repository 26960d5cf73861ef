"""Packets as scapy makes them, on a link where nothing but the test and the engine speaks."""

import errno
import logging
import socket
import struct
import time

from scapy.all import ARP, ICMP, IP, TCP, UDP, Dot1Q, Ether, Raw, conf
from scapy.layers.inet6 import (ICMPv6EchoRequest, ICMPv6ND_NA, ICMPv6ND_NS, ICMPv6NDOptDstLLAddr, ICMPv6NDOptSrcLLAddr, IPv6,
                                IPv6ExtHdrFragment, IPv6ExtHdrHopByHop)
from scapy.layers.sctp import SCTP

from namespace import run
from peers_kit import FOUR, SIX, set_kernel
from harness import WAIT_S
from protocol import BYE, HELLO, REQUEST, WELCOME, command, frame, line

MINE, MY_FOUR, MY_SIX = '02:00:00:00:09:09', '10.9.0.54', 'fd00:9::3636'
PORT, MY_PORT, COOKIE = 7000, 40000, 7
DROPS = 'not_ours', 'malformed', 'bad_checksum', 'fragments', 'unserved', 'held_back'
TAKEN = 'datagrams', 'arp_answered', 'neighbour_answered', 'echo_answered', 'neighbours_told', *DROPS  # all that comes in
DATAGRAM_DROPS = 'bad_frame', 'bad_crc', 'bad_version', 'too_large', 'addresses_asked', 'session_expired', 'datagrams_late'
# DPDK's tap looks for packets only after a signal, whose counter is not atomic: a lost one leaves the last packet there until the next.
# So a packet for somebody else is sent where nothing has come for this long.
NUDGE_S = 5
SOL_PACKET, PACKET_AUXDATA, PACKET_IGNORE_OUTGOING, VLAN_VALID = 263, 8, 23, 1 << 4  # linux/if_packet.h
SO_RCVBUFFORCE = 33  # asm-generic/socket.h
logging.getLogger('scapy').setLevel(logging.ERROR)
conf.verb = 0


def is_question(packet):
    return ICMPv6ND_NS in packet or ARP in packet and packet[ARP].op == 1


class Wire:
    """Frames to and from `hf0`, on which Linux itself has no address."""

    def __init__(self, interface='hf0'):
        run('ip', 'link', 'set', interface, 'up')
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        self.socket.bind((interface, 0))
        self.socket.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
        self.socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 24)
        self.socket.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
        self.socket.setblocking(False)
        self.nudges = 0
        self.rest()

    def rest(self):
        """Nothing is missed from here on."""
        self.patience = time.monotonic() + NUDGE_S

    def nudge(self):
        """To be called again and again while something is missed. Whoever counts subtracts `nudges` from `in` and `not_ours`."""
        if time.monotonic() > self.patience:
            self.rest()
            self.send(Ether(src=MINE, dst='02:00:00:00:00:77') / IP(src=MY_FOUR, dst=FOUR) / UDP(sport=MY_PORT, dport=PORT))
            self.nudges += 1

    @staticmethod
    def quiet():
        """To be called before the engine makes the interface: Linux will not say a word on it."""
        set_kernel('ipv6/conf/default/disable_ipv6', 1)

    def send(self, packet):
        raw = bytes(packet)
        while True:
            try:
                self.socket.send(raw)
                return len(raw)
            except OSError as problem:
                if problem.errno not in (errno.EAGAIN, errno.ENOBUFS):
                    raise
                time.sleep(0.001)  # its queue is full

    def received(self):
        """What has come since, as bytes, tags where they were."""
        found = []
        while True:
            try:
                raw, told, _, sender = self.socket.recvmsg(65536, 256)
            except BlockingIOError:
                return found
            if sender[2] == socket.PACKET_OUTGOING:
                continue
            for level, kind, data in told:
                status, tag = struct.unpack_from('I', data)[0], struct.unpack_from('H', data, 16)[0]
                if (level, kind) == (SOL_PACKET, PACKET_AUXDATA) and status & VLAN_VALID:
                    raw = raw[:12] + struct.pack('>HH', 0x8100, tag) + raw[12:]
            found.append(raw)

    def ask(self, packet, wait_s=WAIT_S):
        """The first answer to it; the engine's own questions are none."""
        self.send(packet)
        self.rest()
        deadline = time.monotonic() + wait_s
        while time.monotonic() < deadline:
            found = [packet for packet in map(Ether, self.received()) if not is_question(packet)]
            if found:
                return found[0]
            self.nudge()
            time.sleep(0.001)
        raise AssertionError(f'no answer to {packet.summary()}')

    def close(self):
        self.socket.close()


def hello(cookie=(0, 0), size=240):
    return frame(HELLO, credits=64, payload=struct.pack('<QQQQ', 7, 0, *cookie) + bytes(size - 96))


def request(session=0x1234567800000007):
    place = command(0x301, (5, 7), [line('SKU000001', 1, 1, 1)], struct.pack('<QIB', 1, 1, 0), 1000)
    return frame(REQUEST, session, 1, count=1, payload=place)


def sealed(data, at, change):
    """The frame with other bytes there, and a checksum that holds."""
    from protocol import crc32c
    data = data[:at] + change + data[at + len(change):]
    data = data[:12] + bytes(4) + data[16:]
    return data[:12] + struct.pack('<I', crc32c(data)) + data[16:]


class Kinds:
    """Packets for an engine at this Ethernet address, each kind under the one counter of `packets` that it belongs to."""

    def __init__(self, mac):
        self.ether = Ether(src=MINE, dst=mac)
        self.four = self.ether / IP(src=MY_FOUR, dst=FOUR)
        self.six = self.ether / IPv6(src=MY_SIX, dst=SIX)
        self.udp = UDP(sport=MY_PORT, dport=PORT)
        self.solicit = Ether(src=MINE, dst='33:33:ff:00:00:02') / IPv6(src=MY_SIX, dst='ff02::1:ff00:2', hlim=255)
        self.arp = Ether(src=MINE, dst='ff:ff:ff:ff:ff:ff') / ARP(hwsrc=MINE, psrc=MY_FOUR, pdst=FOUR)

    def four_from(self, source, dst=FOUR):
        return self.ether / IP(src=source, dst=dst) / self.udp / hello()

    def six_from(self, source, dst=SIX):
        return self.ether / IPv6(src=source, dst=dst) / self.udp / hello()

    def tampered(self, packet, at, change):
        """Bytes of the whole packet changed after scapy has written its checksums."""
        raw = bytes(packet)
        return Ether(raw[:at] + change + raw[at + len(change):])

    @staticmethod
    def to(**more):
        return UDP(sport=MY_PORT, dport=PORT, **more)

    def ip(self, **more):
        return self.ether / IP(src=MY_FOUR, dst=FOUR, **more)

    def ip6(self, **more):
        return self.ether / IPv6(src=MY_SIX, dst=SIX, **more)

    def good(self):
        lla = ICMPv6NDOptSrcLLAddr(lladdr=MINE)
        return {
            'arp_answered': [self.arp, self.ether / ARP(hwsrc=MINE, psrc=MY_FOUR, pdst=FOUR),
                             Ether(src=MINE, dst='ff:ff:ff:ff:ff:ff') / ARP(hwsrc=MINE, psrc='0.0.0.0', pdst=FOUR)],
            'neighbour_answered': [self.solicit / ICMPv6ND_NS(tgt=SIX) / lla,
                                   self.ip6(hlim=255) / ICMPv6ND_NS(tgt=SIX) / lla],
            'echo_answered': [self.four / ICMP(id=1, seq=2) / b'hello', self.six / ICMPv6EchoRequest(id=3, seq=4, data=b'hello'),
                              self.four / ICMP() / bytes(1400), self.six / ICMPv6EchoRequest(data=bytes(1401))],
        }

    def not_ours(self):
        other, group = '02:00:00:00:00:77', '01:00:5e:00:00:01'
        ask = self.udp / hello()
        packets = [Ether(src=MINE, dst=other) / IP(src=MY_FOUR, dst=FOUR) / ask,
                   Ether(src=MINE, dst=other) / IPv6(src=MY_SIX, dst=SIX) / ask,
                   Ether(src=group, dst=self.ether.dst) / IP(src=MY_FOUR, dst=FOUR) / ask,
                   Ether(src=self.ether.dst, dst=self.ether.dst) / IP(src=MY_FOUR, dst=FOUR) / ask,
                   Ether(src=MINE, dst='ff:ff:ff:ff:ff:ff') / IP(src=MY_FOUR, dst=FOUR) / ask,
                   Ether(src=MINE, dst='ff:ff:ff:ff:ff:ff') / IP(src=MY_FOUR, dst=FOUR) / ICMP(),
                   self.four / UDP(sport=MY_PORT, dport=PORT + 1) / hello(), self.six / UDP(sport=MY_PORT, dport=PORT + 1) / hello(),
                   self.four / UDP(sport=0, dport=PORT) / hello(), self.ether / Dot1Q(vlan=7) / IP(src=MY_FOUR, dst=FOUR) / ask,
                   self.ether / IP(src='10.9.0.255', dst=FOUR) / ICMP(), self.ether / IP(src=MY_FOUR, dst='10.9.0.255') / ICMP()]
        packets += [self.four_from(source) for source in (FOUR, '0.0.0.0', '127.0.0.1', '224.0.0.1', '255.255.255.255', '10.9.0.255')]
        packets += [self.six_from(source) for source in (SIX, '::', '::1', 'ff02::1', '::ffff:10.9.0.9')]
        packets += [self.four_from(MY_FOUR, dst) for dst in ('10.9.0.3', '10.9.0.255', '224.0.0.1', '255.255.255.255', '127.0.0.1')]
        packets += [self.six_from(MY_SIX, dst) for dst in ('fd00:9::3', 'ff02::1', '::ffff:10.9.0.2', '::1')]
        whole = 'ff:ff:ff:ff:ff:ff'
        packets += [Ether(src=MINE, dst=whole) / ARP(hwsrc=MINE, psrc=MY_FOUR, pdst='10.9.0.3'),
                    Ether(src=MINE, dst=whole) / ARP(hwsrc=other, psrc=MY_FOUR, pdst=FOUR),
                    Ether(src=MINE, dst=whole) / ARP(hwsrc=MINE, psrc='192.0.2.1', pdst=FOUR),
                    Ether(src=MINE, dst=whole) / ARP(hwsrc=MINE, psrc=FOUR, pdst=FOUR),
                    self.ether / ARP(op=2, hwsrc=MINE, psrc=MY_FOUR, pdst=FOUR),
                    self.solicit / ICMPv6ND_NS(tgt='fd00:9::3') / ICMPv6NDOptSrcLLAddr(lladdr=MINE),
                    self.ether / IPv6(src='2001:db8::1', dst=SIX, hlim=255) / ICMPv6ND_NS(tgt=SIX) / ICMPv6NDOptSrcLLAddr(lladdr=MINE),
                    self.ip6(hlim=255) / ICMPv6ND_NA(tgt=MY_SIX, S=1) / ICMPv6NDOptDstLLAddr(lladdr=MINE)]
        return packets

    def malformed(self):
        ask = self.udp
        lla = ICMPv6NDOptSrcLLAddr(lladdr=MINE)
        near = self.ip6(hlim=255)
        return [self.ip(len=500) / ask / hello(), self.ip(len=19) / ask / hello(),
                self.ip(version=5) / ask / hello(), self.ip(ihl=4) / ask,
                self.ip(len=24) / ask / hello(),
                self.four / self.to(len=400) / hello(), self.four / self.to(len=7) / hello(),
                self.ip6(plen=500) / ask / hello(), self.ip6(version=4) / ask,
                self.six / self.to(len=400) / hello(), self.ip6(plen=4) / ask / hello(),
                Ether(bytes(self.four)[:30]), Ether(bytes(self.six)[:40]), Ether(bytes(self.arp)[:40]),
                self.ip(proto=1) / b'1234', self.ip6(nh=58) / b'1234',
                Ether(src=MINE, dst='33:33:ff:00:00:02') / IPv6(src=MY_SIX, dst='ff02::1:ff00:2', hlim=255, nh=58) / bytes([135, 0, 0, 0]),
                self.ip6(hlim=64) / ICMPv6ND_NS(tgt=SIX) / lla,
                near / ICMPv6ND_NS(tgt=SIX) / Raw(b'\x01\x00' + bytes(6)), near / ICMPv6ND_NS(tgt=SIX) / Raw(b'\x01\x09' + bytes(6)),
                Ether(bytes(self.ether / Dot1Q(vlan=7))[:16])]

    def bad_checksum(self):
        ask = self.udp
        return [self.ip(chksum=0x1234) / ask / hello(), self.ip(chksum=1) / ICMP(),
                self.four / self.to(chksum=0x1234) / hello(), self.six / self.to(chksum=0x1234) / hello(),
                self.six / self.to(chksum=0) / hello(), self.four / ICMP(chksum=1), self.six / ICMPv6EchoRequest(cksum=1),
                self.tampered(self.four / ask / hello(), 100, b'\x55'), self.tampered(self.six / ask / hello(), 120, b'\x55')]

    def fragments(self):
        ask = self.udp
        return [self.ip(flags='MF') / ask / hello(), self.ip(frag=30) / hello(),
                self.ip(flags='MF', frag=30) / hello(), self.ip(flags='MF') / ICMP(),
                self.six / IPv6ExtHdrFragment(m=1, id=5) / ask / hello(), self.six / IPv6ExtHdrFragment(offset=30, id=5) / hello(),
                self.six / IPv6ExtHdrFragment(id=5) / ask / hello()]

    def unserved(self):
        ask = self.udp
        return [self.four / TCP(dport=PORT, flags='S'), self.six / TCP(dport=PORT, flags='S'), self.four / SCTP(dport=PORT),
                self.ip(options=[b'\x07\x07\x04\x00\x00\x00\x00\x00']) / ask / hello(),
                self.six / IPv6ExtHdrHopByHop() / ask / hello(), Ether(src=MINE, dst=self.ether.dst, type=0x88cc) / bytes(50),
                Ether(src=MINE, dst=self.ether.dst, type=0x88a8) / bytes(50), self.four / ICMP(type=13), self.four / ICMP(type=0),
                self.four / ICMP(type=3, code=3) / bytes(36), self.four / ICMP(type=8, code=1), self.ip(proto=2) / bytes(8),
                self.ether / ARP(op=3, hwsrc=MINE, psrc=MY_FOUR, pdst=FOUR),
                self.ether / ARP(hwtype=6, hwsrc=MINE, psrc=MY_FOUR, pdst=FOUR)]

    def datagrams(self):
        """By the counter of the datagrams that they belong to."""
        good, late = request(), frame(BYE, 77)
        return {
            'bad_frame': [b'', b'x', bytes(64), good[:-8], good + bytes(8), sealed(good, 0, b'h'), sealed(good, 5, b'\x09'),
                          frame(WELCOME), hello(size=232), sealed(hello(), 34, b'\x01'), sealed(hello(), 40, b'\x01')],
            'bad_crc': [good[:-1] + b'\x01', hello()[:-1] + b'\x01'],
            'bad_version': [sealed(good, 4, b'\x02')],
            'addresses_asked': [hello(), hello((1, 2)), hello((1 << 63, 5), 1448), hello((int(time.time() * 1000), 5), 1232)],
            'session_expired': [good, request(0)],
            'datagrams_late': [late],
        }
