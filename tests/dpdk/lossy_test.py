"""Orders over devices on a cable that loses, doubles and holds back packets of every kind, ARP too: every order is answered, and logged
once; request numbers pass the end of their space on the way."""

import os
import sys
from collections import Counter

from namespace import Bridge, enter_namespace
from harness import EndTest, main, run_tool, scaled  # its folder is known by now

LOSSY_BRIDGE = os.environ.get('HF_LOSSY_BRIDGE', '')
SEED = int(os.environ.get('HF_TEST_SEED', '20261125'))


class LossyBridge(Bridge):
    """A cable between an engine's memif and a client's."""

    program = LOSSY_BRIDGE

    def stop(self):
        """(carried, lost, doubled, overtaken)."""
        self.process.stdin.close()
        counts = tuple(map(int, self.process.stdout.read().split()))
        self.process.wait()
        self.process.stdout.close()
        return counts


class Lossy(EndTest):
    def start_on_memif(self):
        socket, served = os.path.join(self.directory, 'engine.sock'), os.path.join(self.directory, 'client.sock')
        address = f'dpdk://net_memif0,role=server,socket-abstract=no,socket={socket}?ip=10.9.0.2/24&ip=fd00:9::2/64&port=7000'
        engine = self.start('--listen', address, '--insecure-listen')
        # What the thread sanitizer would say of memif's own thread at its end stops its runtime: the bridge is no code under test.
        quiet = {'RUNTIME_DIRECTORY': self.directory, 'TSAN_OPTIONS': os.environ.get('TSAN_OPTIONS', '') + ':report_bugs=0'}
        bridge = LossyBridge(socket, served, str(SEED), env=os.environ | quiet)
        self.addCleanup(bridge.process.kill)
        bridge.wait_ready()
        return engine, bridge, f'dpdk://net_memif0,role=client,socket-abstract=no,socket={served}'

    def logged_once(self, engine, acked, orders):
        """Each id of the acked file has one PLACE in the log, and there are no others."""
        with open(acked, encoding='utf-8') as lines:
            placed = Counter(words[0] for words in map(str.split, lines) if len(words) == 2)
        self.assertEqual((len(placed), max(placed.values())), (orders, 1))
        records = Counter(record['id'] for record in self.follow(engine) if record['command'] == 'PLACE')
        self.assertEqual((set(records), max(records.values())), (set(placed), 1))

    def trade(self, engine, address, orders, acked):
        found = run_tool(address, 'load', '--skus', 4, '--connections', 3, '--rate', 0, '--orders', orders, '--settle', 20, '--cancel', 20,
                         '--batch', 2, '--inflight', 16, '--acked', acked, '--first-number', (1 << 64) - orders // 6)
        self.assertEqual(found.status, 0, str(found))
        self.assertEqual([found.json[name] for name in ('orders', 'granted', 'unanswered')], [orders, orders, 0], str(found))
        self.assertGreater(found.json['frames_resent'], 0)
        # Only a copy that its sender's BYE overtook may find no session: no sender lost one that it still had.
        self.assertEqual(found.json['sessions_replaced'], 0, str(found))
        self.logged_once(engine, acked, orders)

    def judge(self, engine, bridge, acked):
        carried, *faults = bridge.stop()
        self.assertGreater(carried, 0)
        for count in faults:
            self.assertGreater(count, carried // 80)  # one in twenty is meant
        net = self.status(engine)['shards'][0]['net']
        self.assertGreater(net['resend_waiting'] + net['resend_answered'], 0, net)
        for name in ('bad_frame', 'bad_crc', 'credit_overrun', 'resend_lost'):
            self.assertEqual(net[name], 0, net)
        self.audit_clean(engine, acked)
        state = self.digest(engine)
        self.assertEqual(engine.stop(), 0)
        self.kept(state)

    def test_every_order_is_answered_and_logged_once_over_a_bad_memif(self):
        engine, bridge, device = self.start_on_memif()
        self.stock(engine, 4, 1000000)
        acked = os.path.join(self.directory, 'acked')
        self.trade(engine, device + '?ip=10.9.0.1/24&to=10.9.0.2:7000', scaled(1500, 100000), acked)
        self.judge(engine, bridge, acked)

    def test_so_it_is_over_ipv6(self):
        engine, bridge, device = self.start_on_memif()
        self.stock(engine, 4, 1000000)
        acked = os.path.join(self.directory, 'acked')
        self.trade(engine, device + '?ip=fd00:9::1/64&to=[fd00:9::2]:7000', scaled(500, 30000), acked)
        self.judge(engine, bridge, acked)


if __name__ == '__main__':
    if not LOSSY_BRIDGE:
        sys.exit('HF_LOSSY_BRIDGE names no program: run this with `meson test --suite dpdk`')
    enter_namespace()
    main()
