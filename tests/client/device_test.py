"""dpdk:// of the client: the tool and the load generator trade over a memif with an engine on its other end, without huge pages.

A memif is memory that two processes share and a unix socket by which they find each other: no interface of the kernel's, no namespace.
"""

import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'end'))

from harness import EndTest, main, run_tool  # noqa: E402  (the harness stands in the folder beside)

# As the tests of tests/dpdk: DPDK's libraries lock unseen.
SUPPRESSIONS = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'dpdk', 'tsan.supp')
os.environ['TSAN_OPTIONS'] = os.environ.get('TSAN_OPTIONS', '') + ':suppressions=' + SUPPRESSIONS


class Device(EndTest):
    def setUp(self):
        super().setUp()
        self.socket = os.path.join(self.directory, 'memif')

    def address(self, role, keys):
        return f'dpdk://net_memif0,role={role},socket-abstract=no,socket={self.socket}?{keys}'

    def start_on_memif(self, keys='', **more):
        address = self.address('server', f'ip=10.9.0.2/24&ip=fd00:9::2/64&port=7000{keys}')
        return self.start('--listen', address, '--insecure-listen', **more)

    def four(self, keys=''):
        return self.address('client', f'ip=10.9.0.1/24&to=10.9.0.2:7000{keys}')

    def six(self, keys=''):
        return self.address('client', f'ip=fd00:9::1/64&to=[fd00:9::2]:7000{keys}')

    def load(self, address, *options):
        found = run_tool(address, 'load', '--skus', 4, '--connections', 3, '--rate', 0, '--orders', 400, '--inflight', 8, *options)
        self.assertEqual(found.status, 0, str(found))
        self.assertEqual([found.json[name] for name in ('orders', 'granted', 'unanswered')], [400, 400, 0], str(found))
        return found.json

    def test_the_tool_and_the_load_generator_trade_over_a_memif_with_ipv4_and_ipv6(self):
        engine = self.start_on_memif()
        self.stock(engine, 4, 1000000)
        placed = run_tool(self.four(), 'order', 'place', 'SKU000001:1:2')
        self.assertEqual((placed.status, placed.json['result']), (0, 'OK'), str(placed))
        got = run_tool(self.six(), 'order', 'get', placed.json['id'])
        self.assertEqual((got.status, got.json['result']), (0, 'OK'), str(got))
        acked = os.path.join(self.directory, 'acked')
        self.load(self.four(), '--batch', 4, '--settle', 20, '--cancel', 20, '--acked', acked)
        self.load(self.six(), '--batch', 4, '--settle', 20)
        # At a rate, with the times at which orders are due.
        self.load(self.four(), '--batch', 2, '--rate', 4000)
        self.audit_clean(engine, acked)
        net = self.status(engine)['shards'][0]['net']
        self.assertEqual([net[name] for name in ('bad_frame', 'bad_crc')], [0, 0], net)
        state = self.digest(engine)
        self.assertEqual(engine.stop(), 0)
        self.kept(state)

    def test_a_frame_of_64_orders_fits_a_packet_of_9000_bytes_and_not_one_of_1500(self):
        engine = self.start_on_memif('&mtu=9000')
        self.stock(engine, 4, 1000000)
        # Who hears nothing for a moment takes the path for a smaller one: of a few loads one has the size that the path carries.
        large = self.four('&mtu=9000')
        self.assertTrue(any(self.load(large, '--batch', 64, '--connections', 1)['frames'] == 7 for _ in range(10)))
        self.assertGreaterEqual(self.load(self.four(), '--batch', 64, '--connections', 1)['frames'], 400 // 14)
        self.audit_clean(engine)

    def test_short_frames_after_long_ones_come_once_each(self):
        engine = self.start_on_memif('&mtu=9000')
        self.stock(engine, 4, 1000000)
        # HELLO has 8,972 bytes, a frame of one order 160: twenty times round the ring of 1,024 places.
        found = run_tool(self.four('&mtu=9000'), 'load', '--skus', 4, '--connections', 8, '--rate', 0, '--orders', 20480, '--inflight', 32,
                         '--batch', 1)
        self.assertEqual((found.status, found.json['granted']), (0, 20480), str(found))
        net = self.status(engine)['shards'][0]['net']
        self.assertEqual(net['datagrams_late'], 0, net)
        self.assertLessEqual(net['resend_waiting'] + net['resend_answered'], found.json['frames_resent'], net)

    def test_orders_find_the_shard_of_their_partition(self):
        engine = self.start_on_memif(shards=2)
        self.stock(engine, 4, 1000000)
        self.load(self.four(), '--batch', 4)
        self.audit_clean(engine)
        for shard in self.status(engine)['shards']:
            self.assertGreater(shard['net']['datagrams_in'], 0, shard)

    def test_an_address_that_names_no_device_or_no_engine_is_refused_with_a_sentence(self):
        for address, status, words in (
                ('dpdk://net_memif0', 2, r'to=ADDRESS:PORT'),
                ('dpdk://?ip=10.9.0.1/24&to=10.9.0.2:7000', 2, r'to=ADDRESS:PORT'),
                (self.address('client', 'ip=10.9.0.1/24'), 2, r'needs to='),
                (self.address('client', 'to=10.9.0.2:7000'), 2, r'ip=ADDRESS/PREFIX of its own'),
                (self.four('&port=7000'), 2, r"'port'"),
                (self.four('&vlan=4095'), 2, r"'vlan'"),
                (self.address('client', 'ip=10.9.0.1/24&to=somewhere:7000'), 2, r"'to'"),
                (self.four('&queues=2'), 2, r"'queues'"),
                (self.four(), 3, r'cannot be reached: Network is down'),
                ('dpdk://net_nothing0?ip=10.9.0.1/24&to=10.9.0.2:7000', None, r'net_nothing0: DPDK finds no such device'),
        ):
            found = run_tool(address, 'status')
            self.assertRegex(found.err, re.compile(words), str(found))
            self.assertIn(found.status, (status,) if status else (2, 3), str(found))


if __name__ == '__main__':
    main()
