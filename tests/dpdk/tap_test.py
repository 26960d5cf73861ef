"""dpdk:// over a tap device in a network namespace of its own: Linux's stack is the peer, the programs are what they are elsewhere.

Nothing outside the namespace is touched; with it the device is gone.
"""

import os
import re

from namespace import enter_namespace, ping, run
from harness import EndTest, main, run_tool  # its folder is known by now

DEVICE = 'dpdk://net_tap0,iface=hf0?ip=10.9.0.2/24&ip=fd00:9::2/64&port=7000'
FOUR, SIX = 'udp://10.9.0.2:7000', 'udp://[fd00:9::2]:7000'


class Tap(EndTest):
    def start_on_tap(self, device=DEVICE, **more):
        engine = self.start('--listen', device, '--insecure-listen', **more)
        run('ip', 'address', 'add', '10.9.0.1/24', 'dev', 'hf0')
        run('ip', 'address', 'add', 'fd00:9::1/64', 'dev', 'hf0', 'nodad')
        run('ip', 'link', 'set', 'hf0', 'up')
        return engine

    def test_linux_finds_pings_and_trades_with_it_over_ipv4_and_ipv6(self):
        engine = self.start_on_tap()
        run('ip', 'route', 'flush', 'cache')
        for address in ('10.9.0.2', 'fd00:9::2'):
            ping(address, count=5)
        ping('10.9.0.2', '-s', '1472', '-M', 'do', count=1)
        neighbours = run('ip', 'neighbour', 'show', 'dev', 'hf0')
        for address in ('10.9.0.2', 'fd00:9::2'):
            self.assertRegex(neighbours, re.escape(address) + r' lladdr \S+ (router )?(REACHABLE|DELAY|STALE|PROBE)')
        # Nobody answers for an address that is not there, nor where all would.
        run('ping', '-c', '1', '-W', '0.2', '10.9.0.3', status=1)
        run('ping', '-c', '1', '-W', '0.2', '-b', '10.9.0.255', status=1)

        self.stock(engine, 4, 1000000)
        acked = os.path.join(self.directory, 'acked')
        for address in (FOUR, SIX):
            found = run_tool(address, 'load', '--skus', 4, '--connections', 3, '--rate', 0, '--orders', 400, '--batch', 4, '--inflight', 8,
                             '--settle', 20, '--cancel', 20, *(['--acked', acked] if address == FOUR else []))
            self.assertEqual(found.status, 0, str(found))
            self.assertEqual([found.json[name] for name in ('orders', 'granted', 'unanswered')], [400, 400, 0], str(found))
        self.audit_clean(engine, acked)
        net = self.status(engine)['shards'][0]['net']
        self.assertGreaterEqual(net['datagrams_in'], 200, net)
        self.assertEqual([net[name] for name in ('bad_frame', 'bad_crc', 'datagrams_unsent')], [0, 0, 0], net)
        state = self.digest(engine)
        self.assertEqual(engine.stop(), 0)
        self.assertEqual(len(engine.messages()), len(engine.log))
        self.kept(state)
        self.assertNotIn('hf0', run('ip', '-brief', 'link'))

    def test_a_flood_of_packets_for_nobody_leaves_others_served(self):
        # A null device always has another packet of zeros.
        engine = self.start('--listen', DEVICE.replace('net_tap0,iface=hf0', 'net_null0'), '--insecure-listen')
        self.stock(engine, 4, 1000000)
        found = self.tool(engine, 'load', '--skus', 4, '--rate', 0, '--orders', 50)
        self.assertEqual((found['granted'], found['unanswered']), (50, 0), found)
        self.audit_clean(engine)
        self.assertEqual(engine.stop(), 0)

    def test_what_cannot_be_a_device_is_refused_with_a_sentence(self):
        self.refused_start(2, 'dpdk://DEVICE-ARGS?ip=', options=('--listen', 'dpdk://net_tap0', '--insecure-listen'))
        self.refused_start(2, "'vlan'", options=('--listen', DEVICE + '&vlan=4095', '--insecure-listen'))
        self.refused_start(2, '--insecure-listen', options=('--listen', DEVICE))

    def test_several_shards_have_a_queue_each_and_hand_on_what_is_anothers(self):
        engine = self.start_on_tap(shards=2)
        self.stock(engine, 4, 1000000)
        for address in (FOUR, 'udp://10.9.0.2:7001', 'udp://[fd00:9::2]:7001'):
            ping('10.9.0.2')
            found = run_tool(address, 'load', '--skus', 4, '--connections', 4, '--rate', 0, '--orders', 400, '--batch', 4, '--inflight', 8)
            self.assertEqual([found.json[name] for name in ('orders', 'granted', 'unanswered')], [400, 400, 0], str(found))
        self.audit_clean(engine)
        shards = self.status(engine)['shards']
        for shard in shards:
            self.assertGreater(shard['net']['datagrams_in'], 0, shards)
        self.assertEqual(engine.stop(), 0)

    def test_a_device_that_is_not_there_is_refused(self):
        missing = DEVICE.replace('net_tap0,iface=hf0', 'net_af_packet0,iface=none')
        self.refused_start(5, 'net_af_packet0', options=('--listen', missing, '--insecure-listen'))


if __name__ == '__main__':
    enter_namespace()
    main()
