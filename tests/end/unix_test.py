"""unix:// listeners: the programs trade over them, alone and beside TCP, with several shards, and leave nothing behind."""

import os
import signal
import unittest

from harness import EndTest, main, run_tool


class UnixSockets(EndTest):
    def setUp(self):
        super().setUp()
        self.path = os.path.join(self.directory, 'engine.sock')
        self.address = 'unix://' + self.path

    def trade(self, address, orders=400):
        found = run_tool(address, 'load', '--skus', 4, '--connections', 3, '--batch', 4, '--inflight', 8, '--rate', 0, '--orders', orders,
                         '--settle', 20, '--cancel', 20)
        self.assertEqual(found.status, 0, str(found))
        self.assertEqual((found.json['orders'], found.json['granted'], found.json['errors']), (orders, orders, 0), str(found))

    def test_orders_over_a_unix_socket_are_kept_and_the_path_is_gone_after_a_stop(self):
        engine = self.start(listen=self.address)
        self.assertEqual(engine.address, self.address)
        self.stock(engine, 4, 1000000)
        self.trade(engine.address)
        self.audit_clean(engine)
        state = self.digest(engine)
        self.assertEqual(engine.stop(), 0)
        self.assertEqual([name for name in os.listdir(self.directory) if name.startswith('engine')], [])
        self.kept(state)

    def test_a_socket_and_a_port_lead_to_one_engine_of_several_shards(self):
        engine = self.start('--listen', self.address, shards=2)
        self.stock(engine, 4, 1000000)
        self.trade(self.address)
        self.trade(engine.address)
        self.assertEqual(self.digest(engine)[1], self.tool_at(self.address, 'digest')['digest'])
        for shard in self.status(engine)['shards']:
            self.assertEqual((shard['forwarded'] > shard['commands'] / 2, shard['commands'] > 0), (False, True), shard)
        self.audit_clean(engine)
        self.assertEqual(engine.stop(), 0)
        self.assertFalse(os.path.exists(self.path))
        self.assertFalse(os.path.exists(self.path + '.1'))

    def tool_at(self, address, *arguments):
        done = run_tool(address, *arguments)
        self.assertEqual(done.status, 0, str(done))
        return done.json

    def test_a_killed_engine_s_socket_does_not_stop_the_next(self):
        engine = self.start(listen=self.address)
        engine.process.send_signal(signal.SIGKILL)
        engine.wait_end()
        self.assertTrue(os.path.exists(self.path))
        again = self.start(listen=self.address)
        self.tool(again, 'status')

    def test_a_second_engine_on_the_path_is_refused(self):
        engine = self.start(listen=self.address)
        self.refused_start(5, 'in use', data=os.path.join(self.directory, 'other'), listen=self.address)
        self.tool(engine, 'status')

    def test_a_path_too_long_for_a_socket_gets_a_short_one_that_is_logged(self):
        engine = self.start(listen='unix://' + os.path.join(self.directory, 'x' * 200))
        self.assertLess(len(engine.address), 7 + 108)
        self.tool(engine, 'status')
        self.assertEqual(engine.stop(), 0)
        self.assertFalse(os.path.exists(engine.address[len('unix://'):]))


if __name__ == '__main__':
    main()
