"""dpdk:// over a memif: its other end is a bridge to an interface of Linux, whose stack is the peer."""

import glob
import json
import os
import signal

from namespace import Bridge, enter_namespace, ping, run
from harness import EndTest, main, run_tool, scaled, start_tool  # its folder is known by now


class Memif(EndTest):
    def start_on_memif(self, options='', config=None, **more):
        socket = os.path.join(self.directory, 'memif.sock')
        self.socket = socket
        address = f'dpdk://net_memif0,role=server,socket-abstract=no,socket={socket}?ip=10.9.0.2/24&ip=fd00:9::2/64&port=7000{options}'
        return self.start(*(['--config', config] if config else []), '--listen', address, '--insecure-listen', **more)

    def connect_bridge(self, *buffer_bytes):
        bridge = Bridge(self.socket, 'hf1', *buffer_bytes)
        self.addCleanup(bridge.stop)
        bridge.wait_ready()
        run('ip', 'address', 'add', '10.9.0.1/24', 'dev', 'hf1')
        run('ip', 'address', 'add', 'fd00:9::1/64', 'dev', 'hf1', 'nodad')
        run('ip', 'link', 'set', 'hf1', 'up')
        return bridge

    def test_several_shards_share_a_device_that_has_one_queue(self):
        engine = self.start_on_memif(shards=3)
        self.stock(engine, 4, 1000000)
        self.connect_bridge()
        ping('10.9.0.2')
        for address in ('udp://10.9.0.2:7000', 'udp://10.9.0.2:7002', 'udp://[fd00:9::2]:7001'):
            self.load(address)
        self.audit_clean(engine)
        shards = self.status(engine)['shards']
        for shard in shards:
            self.assertGreater(shard['net']['datagrams_in'], 0, shards)
        self.assertEqual(engine.stop(), 0)

    def test_packets_of_9000_bytes_come_whole_in_one_buffer_and_in_many(self):
        engine = self.start_on_memif('&mtu=9000')
        self.stock(engine, 4, 1000000)
        for buffer_bytes in ('9216', '2048'):
            bridge = self.connect_bridge(buffer_bytes)
            run('ip', 'link', 'set', 'hf1', 'mtu', '9000')
            ping('10.9.0.2', '-s', '8972', '-M', 'do')
            self.load('udp://10.9.0.2:7000')
            bridge.stop()
        self.assertEqual(engine.stop(), 0, engine.text())

    def link_is(self, engine, up, changes):
        def found():
            device = self.tool(engine, 'status')['devices']['0']
            return (device['link_up'], device['link_changes']) == (up, changes)
        self.eventually(found, f'link_up {up} after {changes} changes')

    def load(self, address, *options):
        found = run_tool(address, 'load', '--skus', 4, '--connections', 3, '--rate', 0, '--orders', 400, '--batch', 4, '--inflight', 8,
                         *options)
        self.assertEqual(found.status, 0, str(found))
        self.assertEqual([found.json[name] for name in ('orders', 'granted', 'unanswered')], [400, 400, 0], str(found))
        return found.json

    def test_linux_pings_and_trades_through_a_memif_whose_client_comes_goes_and_comes_again(self):
        engine = self.start_on_memif()
        self.stock(engine, 4, 1000000)
        acked = os.path.join(self.directory, 'acked')
        for turn in range(2):
            bridge = self.connect_bridge()
            for address in ('10.9.0.2', 'fd00:9::2'):
                ping(address)
            self.load('udp://10.9.0.2:7000', *(['--acked', acked] if turn else []))
            self.load('udp://[fd00:9::2]:7000')
            self.link_is(engine, 1, 2 * turn + 1)
            bridge.stop()
            self.link_is(engine, 0, 2 * turn + 2)
        self.audit_clean(engine, acked)
        state = self.digest(engine)
        self.assertEqual(engine.stop(), 0)
        self.kept(state)
        self.assertFalse(os.path.exists(self.socket))

    def packets_in(self, engine):
        return self.status(engine)['shards'][0].get('packets', {}).get('in', 0)  # there are none before the first

    def stream(self, engine, client):
        """A client to which answers stream. One that a slow machine let find no engine in its few seconds begins again."""
        def begun():
            before = self.packets_in(engine)
            load = start_tool(client, 'load', '--skus', 4, '--connections', 4, '--rate', 0, '--batch', 8, '--inflight', 64,
                              '--seconds', 600)
            self.addCleanup(load.kill)
            self.eventually(lambda: load.poll() is not None or self.packets_in(engine) > before + 200, 'a stream of packets')
            if load.poll() is None:
                return load
            out, err = load.communicate()
            self.assertEqual((load.returncode, json.loads(out)['orders']), (3, 0), out + err)
            return None
        return self.eventually(begun, 'a client that reaches the engine')

    def test_clients_that_are_killed_while_answers_stream_to_them_take_no_engine_with_them(self):
        engine = self.start_on_memif('&mtu=9000')
        self.stock(engine, 4, 1000000000)

        # Each has an Ethernet address of its own, and all the same address of IP: the engine must see that it moves.
        client = f'dpdk://net_memif0,role=client,socket-abstract=no,socket={self.socket}?ip=10.9.0.10/24&to=10.9.0.2:7000&mtu=9000'
        turns = scaled(6, 60)
        for _ in range(turns):
            load = self.stream(engine, client)
            load.kill()
            said = load.communicate()
            self.assertEqual(load.returncode, -signal.SIGKILL, said)  # it had not ended before
            self.eventually(lambda: not self.tool(engine, 'status')['devices']['0']['link_up'], 'the end of the link')
        # The table of orders may be full by now, and that is an answer; a slow machine's first try may come to nothing.
        last = ('load', '--skus', 4, '--connections', 3, '--rate', 0, '--orders', 400, '--batch', 4, '--inflight', 8)
        self.eventually(lambda: run_tool(client, *last).status == 0, 'answers for the last client')
        self.audit_clean(engine)
        self.assertEqual(engine.stop(), 0, engine.text())

    def test_an_engine_starts_where_a_killed_one_left_its_socket_and_its_files_and_leaves_those_of_one_that_lives(self):
        os.environ['TMPDIR'] = self.directory
        self.addCleanup(os.environ.pop, 'TMPDIR')
        config = self.write('config.yaml', 'insecure-listen: true\ndpdk:\n  eal: --telemetry\n')

        def files():
            return set(glob.glob(os.path.join(self.directory, 'hf-eal-*')))
        self.start_on_memif('', config).kill()
        left = files()
        self.assertEqual(len(left), 1)
        self.assertTrue(os.path.exists(self.socket))
        second = self.start_on_memif('', config)
        kept = files()
        self.assertEqual((len(kept), kept & left), (1, set()))
        third = self.refused_start(5, 'another process listens on its socket', options=second.arguments[3:],
                                   data=os.path.join(self.directory, 'other'))
        self.assertEqual(files(), kept, third)
        bridge = self.connect_bridge()
        ping('10.9.0.2')
        bridge.stop()
        self.assertEqual(second.stop(), 0)
        self.assertEqual((files(), os.path.exists(self.socket)), (set(), False))


if __name__ == '__main__':
    enter_namespace()
    main()
