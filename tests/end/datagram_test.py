"""udp:// listeners: the programs trade over them; on a path that loses, doubles and reorders, every order is answered and logged once."""

import json
import os
import signal
import time
import unittest
from collections import Counter

from harness import EndTest, main, run_tool, scaled, start_tool
from lossy import LossyPath

SEED = int(os.environ.get('HF_TEST_SEED', '20261122'))


class Datagrams(EndTest):
    def start_udp(self, *options, **more):
        engine = self.start('--listen', 'udp://127.0.0.1:0', *options, **more)
        self.eventually(lambda: len(engine.addresses) >= 2, 'a second address in the log')
        return engine

    def path(self, engine, **more):
        host, port = engine.addresses[1][len('udp://'):].rsplit(':', 1)
        path = LossyPath((host, int(port)), SEED, **more)
        self.addCleanup(path.stop)
        return path

    def load(self, address, orders, *more):
        found = run_tool(address, 'load', '--skus', 4, '--connections', 3, '--rate', 0, '--orders', orders, '--settle', 20, '--cancel', 20,
                         *more)
        self.assertEqual(found.status, 0, str(found))
        self.assertEqual((found.json['orders'], found.json['granted'], found.json['unanswered']), (orders, orders, 0), str(found))
        return found.json

    def totals(self, engine):
        counts = Counter()
        for shard in self.status(engine)['shards']:
            counts.update(shard['net'])
        return counts

    def logged_once(self, engine, acked, orders):
        """Each id of the acked file has one PLACE in the log, and there are no others."""
        with open(acked, encoding='utf-8') as lines:
            placed = Counter(words[0] for words in map(str.split, lines) if len(words) == 2)
        self.assertEqual((len(placed), max(placed.values())), (orders, 1))
        records = Counter(record['id'] for record in self.follow(engine) if record['command'] == 'PLACE')
        self.assertEqual(set(records), set(placed))
        self.assertEqual(max(records.values()), 1)

    def test_orders_over_udp_are_kept(self):
        engine = self.start_udp()
        self.stock(engine, 4, 1000000)
        self.load(engine.addresses[1], 400, '--batch', 4, '--inflight', 8)
        self.audit_clean(engine)
        state = self.digest(engine)
        self.assertEqual(engine.stop(), 0)
        self.kept(state)

    def test_several_shards_have_datagram_ports_of_their_own(self):
        engine = self.start_udp(shards=2)
        self.stock(engine, 4, 1000000)
        self.load(engine.addresses[1], 400, '--batch', 2, '--inflight', 8)
        for shard in self.status(engine)['shards']:
            self.assertGreater(shard['net']['datagrams_in'], 0)
            self.assertLess(shard['forwarded'], shard['commands'] / 2)
        self.audit_clean(engine)

    def test_every_order_is_answered_and_logged_once_through_loss_copies_and_reordering(self):
        engine = self.start_udp()
        self.stock(engine, 4, 1000000)
        path = self.path(engine)
        acked = os.path.join(self.directory, 'acked')
        orders = scaled(3000, 100000)
        # Request numbers pass the end of their space in the middle of the run.
        found = self.load(path.address, orders, '--batch', 2, '--inflight', 16, '--acked', acked, '--first-number', (1 << 64) - orders // 6)
        self.assertGreater(found['frames_resent'], 0)
        for count in (path.dropped, path.doubled, path.overtaken):
            self.assertGreater(count, 0)
        counts = self.totals(engine)
        for name in ('resend_waiting', 'resend_answered'):
            self.assertGreater(counts[name], 0, counts)
        for name in ('bad_frame', 'bad_crc', 'credit_overrun', 'resend_lost'):
            self.assertEqual(counts[name], 0, counts)
        # Only a copy that its sender's BYE overtook may find no session: no sender lost one that it still had.
        self.assertEqual(found['sessions_replaced'], 0, found)
        self.logged_once(engine, acked, orders)
        self.audit_clean(engine, acked)

    def test_a_client_that_moves_keeps_its_session(self):
        engine = self.start_udp()
        self.stock(engine, 4, 1000000)
        path = self.path(engine, drop=0.01, double=0.01, hold=0.01, move_every=100)
        acked = os.path.join(self.directory, 'acked')
        found = self.load(path.address, 1000, '--batch', 1, '--inflight', 8, '--acked', acked)
        self.assertGreater(path.moved, 3)
        self.assertEqual(found['connections_made'] - found['sessions_resumed'], 3, found)
        counts = self.totals(engine)
        self.assertGreater(counts['addresses_changed'], 3, counts)
        self.assertEqual(counts['accepted'] - counts['closed'], counts['connections'])
        self.logged_once(engine, acked, 1000)
        self.audit_clean(engine, acked)

    def test_a_path_of_small_datagrams_is_found_out_and_bounds_the_lines_of_an_order(self):
        engine = self.start_udp()
        self.stock(engine, 60, 1000000)
        path = self.path(engine, drop=0, double=0, hold=0, bytes_max=1472)
        # Small records can be followed over it, however many there are.
        far = [json.loads(line) for line in run_tool(path.address, 'follow', '--until-end').out.splitlines()]
        # A mark of time may be logged between the two.
        told = lambda records: [record['position'] for record in records if record['command'] != 'MARK']
        self.assertEqual(told(far), told(self.follow(engine)))
        def load_of(lines):
            found = run_tool(path.address, 'load', '--skus', 60, '--lines', lines, '--batch', 64, '--rate', 0, '--orders', 50)
            self.assertEqual(found.status, 0, str(found))
            return found.json
        # A client that waits too long for an answer takes the path for a smaller one.
        self.eventually(lambda: load_of(42)['granted'] == 50, 'room for 42 lines')
        self.assertEqual(load_of(43)['refused'], {'TOO_LARGE': 50})
        self.assertGreater(path.too_large, 0)
        # What does not fit a datagram has to be asked elsewhere, and the tool says so.
        self.assertEqual(run_tool(path.address, 'digest').status, 0)
        self.assertIn('TOO_LARGE', str(run_tool(path.address, 'follow', '--until-end')))
        self.assertIn('TOO_LARGE', str(run_tool(path.address, 'status')))
        self.audit_clean(engine)

    def test_a_session_that_the_engine_forgot_is_opened_anew(self):
        engine = self.start_udp('--session-idle', '0.2')
        self.stock(engine, 4, 1000000)
        acked = os.path.join(self.directory, 'acked')
        found = run_tool(engine.addresses[1], 'load', '--skus', 4, '--rate', 1.5, '--orders', 4, '--acked', acked)
        self.assertEqual((found.status, found.json['granted'], found.json['unanswered']), (0, 4, 0), str(found))
        self.assertGreater(self.totals(engine)['session_expired'], 0)
        self.logged_once(engine, acked, 4)

    def test_numbers_pass_the_end_of_their_space_on_every_transport(self):
        path = os.path.join(self.directory, 'sock')
        engine = self.start_udp('--listen', 'unix://' + path)
        self.stock(engine, 4, 1000000)
        for address in (engine.addresses[0], engine.addresses[1], 'unix://' + path):
            for inflight in (1, 7):
                self.load(address, 100, '--inflight', inflight, '--first-number', (1 << 64) - 5)
        self.assertEqual(self.totals(engine)['credit_overrun'], 0)
        self.audit_clean(engine)

    def test_sessions_outlive_a_silence_of_an_engine_of_several_shards(self):
        engine = self.start_udp(shards=2)
        self.stock(engine, 4, 1000000)
        acked = os.path.join(self.directory, 'acked')
        load = start_tool(engine.addresses[1], 'load', '--skus', 4, '--connections', 6, '--rate', 200, '--orders', 1000, '--acked', acked)
        self.eventually(lambda: os.path.exists(acked) and os.path.getsize(acked) > 4000, 'a hundred answers')
        engine.process.send_signal(signal.SIGSTOP)
        try:
            time.sleep(4)
        finally:
            engine.process.send_signal(signal.SIGCONT)
        out, err = load.communicate(timeout=60)
        found = json.loads(out)
        self.assertEqual((load.returncode, found['granted'], found['unanswered']), (0, 1000, 0), err)
        self.assertGreater(found['sessions_resumed'], 0, found)
        self.assertEqual(found['sessions_replaced'], 0, found)
        self.audit_clean(engine, acked)

    def test_clients_come_back_to_an_engine_that_was_killed(self):
        engine = self.start_udp()
        self.stock(engine, 4, 1000000)
        acked = os.path.join(self.directory, 'acked')
        load = start_tool(engine.addresses[1], 'load', '--skus', 4, '--connections', 2, '--batch', 1, '--inflight', 4, '--rate', 400,
                          '--orders', 1600, '--acked', acked)
        self.eventually(lambda: os.path.exists(acked) and os.path.getsize(acked) > 4000, 'a hundred answers')
        engine.process.send_signal(signal.SIGKILL)
        engine.wait_end()
        again = self.start('--listen', engine.addresses[1], listen=engine.address)
        out, err = load.communicate(timeout=60)
        found = json.loads(out)
        self.assertEqual(load.returncode, 0, err)
        self.assertGreater(found['granted'], 500, found)
        self.assertGreater(found['connections_made'], 2, found)
        self.audit_clean(again, acked)


if __name__ == '__main__':
    main()
