"""dpdk:// before Linux's own stack and tools: it is found, pinged, traded with, from its link and from behind a gateway."""

import functools
import os
import re
import socket

from namespace import enter_namespace, ping, run
from peers_kit import ADDRESSES, FOUR, HERE, SIX, Network, Pcap, Tap, Veth
from harness import HOLDFAST, EndTest, main
from holdfast_client import Line, Result, connect

CLIENT = os.path.join(HERE, '..', 'peers')
TRADE = '''
import sys
sys.path.insert(0, sys.argv[2])
from holdfast_client import Line, Result, connect
with connect(sys.argv[1]) as shop:
    held = shop.place([Line('SKU000001', 1, 1, 5)], 42, 60000)
    assert held.result == Result.OK, held
    settled = shop.settle(held.id, 5, 'EUR', 'far away')
    assert settled.result == Result.OK, settled
    print(shop.session.welcome.frame_bytes_max)
'''


def connect_at_size(address, most):
    """Who hears nothing for a moment takes the path for a smaller one: of a few sessions one has the size that the path carries."""
    for _ in range(9):
        shop = connect(address)
        if shop.session.welcome.frame_bytes_max == most:
            return shop
        shop.session.close()
    return connect(address)


def on_each_link(test):
    """The test once with each kind of device, with an engine there and a Linux that has the other end."""
    @functools.wraps(test)
    def run_each(self):
        for link in (Tap(), Veth(), Pcap()):
            with self.subTest(link.name):
                try:
                    self.begin(link)
                    test(self)
                finally:
                    self.finish()
    return run_each


class Peers(EndTest):
    def begin(self, link, more='', mtu=1500):
        self.link = link
        link.before()
        self.engine = self.start('--listen', f'dpdk://{link.needs}?{ADDRESSES}&mtu={mtu}{more}', '--insecure-listen',
                                 data=os.path.join(self.directory, link.name))
        link.after(mtu)

    def finish(self):
        for engine in self.engines:
            engine.kill()
        self.link.end()
        self.assertEqual(re.findall(r'(?m)^hf\d', run('ip', '-brief', 'link')), [])

    @on_each_link
    def test_who_asks_for_its_address_finds_it_once(self):
        self.assertIn('Received 1 response(s)', run('arping', '-c', '1', '-w', '20', '-I', 'hf0', FOUR))
        # Who looks whether an address is taken hears that it is; one that nobody has is free.
        run('arping', '-D', '-c', '1', '-w', '20', '-I', 'hf0', FOUR, status=1)
        self.assertIn('Received 0 response(s)', run('arping', '-D', '-c', '1', '-w', '1', '-I', 'hf0', '10.9.0.77'))
        for address, other in ((FOUR, '10.9.0.77'), (SIX, 'fd00:9::77')):
            run('ip', 'neighbour', 'flush', 'dev', 'hf0')
            ping(address)
            found = run('ip', 'neighbour', 'show', 'to', address, 'dev', 'hf0')
            self.assertRegex(found, r'lladdr \S+ (router )?(REACHABLE|DELAY|STALE|PROBE)')
            run('ping', '-c', '1', '-W', '0.2', other, status=1)
            self.assertNotIn('lladdr', run('ip', 'neighbour', 'show', 'to', other, 'dev', 'hf0'))
            # Linux believes it again when it asks again, and by itself only.
            mac = re.search(r'lladdr (\S+)', found)[1]
            run('ip', 'neighbour', 'change', address, 'lladdr', mac, 'dev', 'hf0', 'nud', 'probe')
            self.eventually(lambda to=address: 'REACHABLE' in run('ip', 'neighbour', 'show', 'to', to, 'dev', 'hf0'), 'a probe answered')

    @on_each_link
    def test_its_link_local_address_is_found_and_pinged(self):
        ping(SIX, count=1)
        mac = re.search(r'lladdr (\S+)', run('ip', 'neighbour', 'show', 'to', SIX))[1]
        bytes_of = [int(part, 16) for part in mac.split(':')]
        local = 'fe80::' + ':'.join(f'{a << 8 | b:x}' for a, b in ((bytes_of[0] ^ 2, bytes_of[1]), (bytes_of[2], 0xff),
                                                                   (0xfe, bytes_of[3]), (bytes_of[4], bytes_of[5])))
        ping(local + '%hf0', count=2)

    @on_each_link
    def test_pings_of_every_size_that_a_packet_holds_come_back_and_no_larger_ones(self):
        for address, most in ((FOUR, 1472), (SIX, 1452)):
            for size in (0, 1, 15, 16, 56, 57, most - 1, most):
                ping(address, '-s', str(size), '-p', 'a5', '-M', 'do', count=1)
            # It takes no packet apart, and puts none together.
            run('ping', '-c', '1', '-s', '4000', '-W', '0.3', address, status=1)
        run('ping', '-c', '1', '-W', '0.2', '-b', '10.9.0.255', status=1)
        ping(FOUR, '-c', '200', '-i', '0.002', count=1)

    def test_jumbo_frames_where_both_sides_have_them(self):
        try:
            self.begin(Pcap(), mtu=9000)
            for address, most in ((FOUR, 8972), (SIX, 8952)):
                ping(address, '-s', str(most), '-M', 'do', count=2)
            self.stock(self.engine, 1, 1000)
            for address, most in ((f'udp://{FOUR}:7000', 8968), (f'udp://[{SIX}]:7000', 8952)):
                with connect(address, datagram_bytes=most) as shop:
                    self.assertEqual(shop.session.welcome.frame_bytes_max, most)
                    held = shop.place([Line('SKU000001', 1, 1, 5)] * min(256, (most - 128) // 32), 42, 60000)
                    self.assertEqual(held.result, Result.OK, held)
        finally:
            self.finish()

    @on_each_link
    def test_the_client_of_the_page_trades_over_it(self):
        self.stock(self.engine, 2, 1000)
        for address, most in ((f'udp://{FOUR}:7000', 1472), (f'udp://[{SIX}]:7000', 1448)):
            with connect_at_size(address, most) as shop:
                self.assertEqual((shop.session.welcome.frame_bytes_max, shop.session.welcome.shard), (most, 0))
                held = shop.place([Line('SKU000001', 1, 2, 10), Line('SKU000002', 1, 1, 1)], 42, 60000)
                self.assertEqual(held.result, Result.OK, held)
                again = shop.place([Line('SKU000001', 1, 2, 10), Line('SKU000002', 1, 1, 1)], 42, 60000, number=held.id)
                self.assertEqual((again.result, again.repeated), (Result.OK, True))
                self.assertEqual(shop.settle(held.id, 21, 'EUR', 'card').result, Result.OK)
                self.assertEqual(shop.get_order(held.id).items[0].authorised, 21)
                session = shop.session.welcome.session
                # From another address of the same client the session goes on.
                shop.session.link.close()
                shop.session.link = shop.session._make_link()
                self.assertEqual(shop.ship(held.id).result, Result.OK)
                self.assertEqual((shop.session.resumed, shop.session.welcome.session), (1, session))
        self.audit_clean(self.engine)

    @on_each_link
    def test_nothing_but_its_port_says_a_word(self):
        for address in (FOUR, SIX):
            family = socket.AF_INET6 if ':' in address else socket.AF_INET
            with socket.socket(family, socket.SOCK_DGRAM) as one:
                one.settimeout(0.2)
                one.connect((address, 7001))
                one.send(b'anybody?')
                with self.assertRaises(TimeoutError):  # no ICMP error either, which would be ConnectionRefusedError
                    one.recv(100)
            with socket.socket(family, socket.SOCK_STREAM) as one:
                one.settimeout(0.2)
                with self.assertRaises(TimeoutError):
                    one.connect((address, 7000))

    def test_a_client_behind_a_gateway_is_answered_by_way_of_it(self):
        far = Network()
        self.addCleanup(far.end)
        try:
            self.begin(Tap(), '&gateway=10.9.0.1&gateway=fd00:9::1')
            self.stock(self.engine, 4, 1000000)
            for address in (FOUR, SIX):
                ping(address, there=far.run)
            for address in (f'udp://{FOUR}:7000', f'udp://[{SIX}]:7000'):
                # Again for who took a moment's silence for a smaller path.
                self.assertTrue(any(int(far.run('/usr/bin/python3', '-c', TRADE, address, CLIENT)) in (1472, 1448) for _ in range(10)))
                loaded = far.run(HOLDFAST, '--json', '--server', address, 'load', '--skus', '4', '--orders', '200', '--rate', '0')
                self.assertIn('"granted":200', loaded.replace(' ', ''))
            self.audit_clean(self.engine)
        finally:
            self.finish()

    def test_without_a_gateway_nobody_from_beyond_the_link_is_answered(self):
        far = Network()
        self.addCleanup(far.end)
        try:
            self.begin(Tap())
            self.stock(self.engine, 1, 1000)
            ping(FOUR, count=1, there=far.run)  # an echo goes back to where it came from
            with connect(f'udp://{FOUR}:7000') as shop:
                self.assertEqual(shop.get_cell('SKU000001', 1).result, Result.OK)
            impatient = TRADE.replace('argv[1]', 'argv[1], timeout_s=0.3')
            found = far.run('/usr/bin/python3', '-c', impatient, f'udp://{FOUR}:7000', CLIENT, status=1)
            self.assertIn('no answer to HELLO', found)
        finally:
            self.finish()


if __name__ == '__main__':
    enter_namespace()
    main()
