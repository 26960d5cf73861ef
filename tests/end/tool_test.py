"""The tool as scripts call it: exit statuses, one line of JSON, stock files."""

import json
import os
import signal
import socket

import harness

STOCK = 'sku,location,quantity\nAPPLE,1,10\nPEAR,1,20\nAPPLE,2,30\n'


class Tool(harness.EndTest):
    def setUp(self):
        super().setUp()
        self.engine = self.start(shards=2)
        self.file = self.write('stock.csv', STOCK)

    def refused(self, status, *arguments, said=()):
        done = harness.run_tool(self.engine.address, *arguments)
        self.assertEqual(done.status, status, str(done))
        for word in said:
            self.assertIn(word, done.err + done.out)
        return done

    def test_an_import_and_the_same_again(self):
        found = self.tool(self.engine, 'stock', 'import', self.file)
        self.assertEqual((found['rows'], found['applied'], found['refused']), (3, 3, 0))
        state = self.digest(self.engine)
        found = self.tool(self.engine, 'stock', 'import', self.file)
        self.assertEqual((found['rows'], found['applied'], found['refused']), (3, 0, 0))
        self.unchanged(self.engine, state)
        cell = self.tool(self.engine, 'stock', 'get', 'APPLE', 2)
        self.assertEqual((cell['sellable'], cell['available']), (30, 30))

    def test_an_import_sets_absolute_numbers_under_live_holds(self):
        self.tool(self.engine, 'stock', 'import', self.file)
        self.tool(self.engine, 'order', 'place', 'APPLE:1:4')
        more = self.write('more.csv', STOCK.replace('APPLE,1,10', 'APPLE,1,15'))
        found = self.tool(self.engine, 'stock', 'import', more)
        self.assertEqual(found['applied'], 1)
        cell = self.tool(self.engine, 'stock', 'get', 'APPLE', 1)
        self.assertEqual((cell['sellable'], cell['reserved'], cell['available']), (15, 4, 11))

    def test_lines_that_are_no_stock_are_named(self):
        cases = {'APPLE,1': '2', 'APPLE,1,ten': '2', 'APPLE,one,10': '2', ',1,10': '2', 'APPLE,0,10': '2',
                 'AN-SKU-THAT-IS-TOO-LONG,1,10': '2',
                 'APPLE,1,-3': '2', 'APPLE,1,99999999999': '2', 'PEAR,1,1\nAPPLE,1,x': '3'}
        for text, number in cases.items():
            with self.subTest(text=text):
                path = self.write('bad.csv', 'sku,location,quantity\n' + text + '\n')
                done = harness.run_tool(self.engine.address, 'stock', 'import', path)
                self.assertIn(done.status, (1, 2), str(done))
                self.assertIn(number, done.err + done.out)
        done = harness.run_tool(self.engine.address, 'stock', 'import', self.write('bad.csv', 'location,sku,quantity\n1,A,1\n'))
        self.assertNotEqual(done.status, 0)
        self.assertIn('sku,location,quantity', done.err)
        self.refused(2, 'stock', 'import', os.path.join(self.directory, 'nothing.csv'), said=['nothing.csv'])

    def test_a_refused_row_is_named_by_line_and_code_and_ends_with_1(self):
        engine = self.start('--max-cells', '2', data=os.path.join(self.directory, 'few'))
        done = harness.run_tool(engine.address, 'stock', 'import', self.file)
        self.assertEqual(done.status, 1, str(done))
        self.assertEqual((done.json['rows'], done.json['applied'], done.json['refused']), (3, 2, 1))
        self.assertEqual(done.json['refused_by_code'], {'FULL': 1})
        self.assertIn('line 4: FULL', done.err)

    def test_every_command_prints_exactly_one_line_of_json(self):
        self.tool(self.engine, 'stock', 'import', self.file)
        order = self.tool(self.engine, 'order', 'place', 'APPLE:1:2:99', 'PEAR:1:1', '--customer', 5)['id']
        self.assertRegex(order, '^[0-9a-f]{32}$')
        for words in (['sku', 'define', 'FIG', '--name', 'a fig'], ['sku', 'get', 'APPLE'], ['location', 'define', '9'],
                      ['location', 'list'], ['stock', 'receive', 'FIG', '9', '5'],
                      ['stock', 'adjust', 'FIG', '9', '-1', '--reason', 'eaten'],
                      ['stock', 'set', 'FIG', '9', '7'], ['stock', 'get', 'FIG', '9'],
                      ['order', 'get', order], ['order', 'extend', order, '--ttl', '60000'],
                      ['order', 'settle', order, '--amount', '198', '--currency', 'EUR', '--payment', 'p1'],
                      ['order', 'result', order, '--intent', '1', '--status', 'captured', '--amount', '198', '--currency', 'EUR'],
                      ['order', 'ship', order], ['status'], ['digest'], ['audit'], ['version']):
            with self.subTest(words=words):
                found = harness.run_tool(self.engine.address, *words)
                self.assertEqual(found.status, 0, str(found))
                self.assertIsInstance(found.json, dict)
                text = harness.run_tool(self.engine.address, *words[:1], '--help', as_json=False)
                self.assertIn(text.status, (0, 2), str(text))

    def test_a_refusal_ends_with_1_and_names_its_code(self):
        self.tool(self.engine, 'stock', 'import', self.file)
        done = self.refused(1, 'order', 'place', 'APPLE:1:11', said=['SHORT'])
        self.assertEqual((done.json['result'], done.json['short']), ('SHORT', [{'line': 0, 'asked': 11, 'available': 10}]))
        self.refused(1, 'order', 'place', 'FIG:1:1', said=['UNKNOWN_SKU'])
        self.refused(1, 'order', 'get', '0' * 31 + '1', said=['UNKNOWN_ORDER'])
        self.refused(1, 'order', 'cancel', '0' * 31 + '1')
        order = self.tool(self.engine, 'order', 'place', 'APPLE:1:1')['id']
        self.tool(self.engine, 'order', 'cancel', order)
        self.refused(1, 'order', 'ship', order, said=['BAD_STATE', 'CANCELLED'])

    def test_usage_ends_with_2_and_sends_nothing(self):
        state = self.digest(self.engine)
        for words in ([], ['nonsense'], ['order'], ['order', 'place'], ['order', 'place', 'APPLE'], ['order', 'place', 'APPLE:1:0'],
                      ['order', 'place', 'APPLE:1:2147483648'], ['order', 'place', 'A' * 17 + ':1:1'], ['order', 'get', 'short'],
                      ['order', 'settle', '0' * 32], ['load', '--skus', '5'], ['load', '--rate', '5', '--orders', '5', '--batch', '0'],
                      ['status', 'more'], ['journal', 'replay'], ['stock', 'import']):
            with self.subTest(words=words):
                done = self.refused(2, *words)
                self.assertNotEqual(done.err, '')
        done = harness.run_tool('udp://nowhere', 'status')
        self.assertEqual(done.status, 2, str(done))
        self.unchanged(self.engine, state)

    def test_nobody_there_ends_with_3(self):
        address = self.engine.address
        self.engine.stop()
        taken = socket.socket()  # so that nobody else listens there
        self.addCleanup(taken.close)
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(self.engine.host_port)
        for words in (['status'], ['order', 'place', 'APPLE:1:1'], ['stock', 'import', self.file],
                      ['load', '--rate', '0', '--orders', '5', '--skus', '1']):
            with self.subTest(words=words):
                done = harness.run_tool(address, *words)
                self.assertEqual(done.status, 3, str(done))
                self.assertNotEqual(done.err, '')

    def test_the_server_is_named_by_the_environment(self):
        os.environ['HOLDFAST_SERVER'] = self.engine.address
        try:
            done = harness.subprocess.run([harness.HOLDFAST, 'digest', '--json'], stdout=harness.subprocess.PIPE, timeout=harness.WAIT_S,
                                          check=True)
        finally:
            del os.environ['HOLDFAST_SERVER']
        self.assertIn('digest', json.loads(done.stdout))

    def test_one_id_placed_twice_by_hand_is_one_order(self):
        self.tool(self.engine, 'stock', 'import', self.file)
        order = self.tool(self.engine, 'order', 'place', 'APPLE:1:2')['id']
        again = self.tool(self.engine, 'order', 'place', 'APPLE:1:2', '--id', order)
        self.assertTrue(again['repeated'])
        self.refused(1, 'order', 'place', 'APPLE:1:3', '--id', order, said=['ID_REUSED'])
        self.assertEqual(self.tool(self.engine, 'stock', 'get', 'APPLE', 1)['reserved'], 2)

    def test_follow_keeps_its_cursor(self):
        self.tool(self.engine, 'stock', 'import', self.file)
        cursor = os.path.join(self.directory, 'cursor')
        follow = lambda: [json.loads(line) for line in harness.run_tool(self.engine.address, 'follow', '--cursor', cursor,
                                                                        '--until-end').out.splitlines()]
        first = follow()
        order = self.tool(self.engine, 'order', 'place', 'APPLE:1:2')['id']
        second = [record for record in follow() if record['command'] != 'MARK']
        self.assertEqual([(record['command'], record['id'], record['result']) for record in second], [('PLACE', order, 'OK')])
        positions = [record['position'] for record in first + second]
        self.assertEqual(positions, sorted(set(positions)))
        self.engine.kill()
        self.engine = self.start(shards=1)
        self.tool(self.engine, 'order', 'cancel', order)
        third = [record for record in follow() if record['command'] != 'MARK']
        self.assertEqual([(record['command'], record['order_id'], record['term']) for record in third], [('CANCEL', order, 2)])

    def test_a_trace_is_replayed_and_repeated_under_new_ids(self):
        self.tool(self.engine, 'stock', 'import', self.write('s.csv', 'sku,location,quantity\nAPPLE,1,1000\nPEAR,1,1000\n'))
        trace = self.write('trace.csv', 'time,order,customer,store,sku,quantity,price\n'
                           '5,a,1,1,APPLE,2,100\n5,a,1,1,PEAR,1,50\n20,b,2,1,PEAR,3,50\n')
        found = self.tool(self.engine, 'load', '--trace', trace, '--connections', 2, '--batch', 2, '--inflight', 2)
        self.assertEqual((found['orders'], found['granted']), (2, 2))
        found = self.tool(self.engine, 'load', '--trace', trace, '--connections', 2, '--batch', 4, '--inflight', 2, '--rate', 0,
                          '--orders', 9)
        self.assertEqual((found['orders'], found['granted']), (9, 9))
        apple = self.tool(self.engine, 'stock', 'get', 'APPLE', 1)
        pear = self.tool(self.engine, 'stock', 'get', 'PEAR', 1)
        self.assertEqual((apple['reserved'], pear['reserved']), (2 + 5 * 2, 4 + 5 + 4 * 3))
        self.refused(2, 'load', '--trace', self.write('t.csv', 'time,order\n1,2\n'), said=['time,order,customer,store,sku,quantity,price'])

    def test_a_load_report_adds_up(self):
        self.tool(self.engine, 'stock', 'import', self.write('s.csv', 'sku,location,quantity\n' +
                                                             ''.join('SKU%06d,1,20\n' % number for number in range(1, 11))))
        acked = self.write('acked', '')
        found = self.tool(self.engine, 'load', '--skus', 10, '--zipf', 1.1, '--lines', 2, '--qty', 3, '--connections', 3, '--batch', 5,
                          '--inflight', 2,
                          '--rate', 2000, '--orders', 300, '--settle', 40, '--cancel', 30, '--ttl', 60000, '--seed', 7, '--acked', acked)
        self.assertEqual(found['orders'], 300)
        self.assertEqual(found['granted'] + found['short'] + found['busy'] + sum(found['refused'].values()) + found['errors'] +
                         found['unanswered'], 300)
        for name in ('response_us', 'service_us'):
            self.assertTrue({'p50', 'p90', 'p99', 'p999', 'max'} <= found[name].keys())
        with open(acked, encoding='ascii') as lines:
            words = [line.split() for line in lines]
        self.assertEqual(sum(len(one) == 2 for one in words), 300 - found['unanswered'] - found['errors'])
        self.assertEqual({one[1] for one in words if len(one) == 3} - {'SETTLE', 'PAYMENT_RESULT', 'SHIP', 'CANCEL', 'settle', 'result',
                                                                       'ship', 'cancel'},
                         set())
        self.audit_clean(self.engine, acked)

    def test_a_load_without_an_end_in_time_ends_when_the_engine_falls_silent(self):
        self.stock(self.engine, 10, 1000)
        self.engine.process.send_signal(signal.SIGSTOP)
        try:
            # The kernel takes the connections all the same. It waits 3 s for a WELCOME, hence only at the full count.
            if harness.FULL:
                self.refused(3, 'load', '--skus', 10, '--rate', 0, '--orders', 100, '--patience', 0.3, said=['does not answer'])
            self.engine.process.send_signal(signal.SIGCONT)
            load = harness.start_tool(self.engine.address, 'load', '--skus', 10, '--rate', 100, '--orders', 100000, '--patience', 3,
                                      '--acked', self.write('acked', ''))
            self.eventually(lambda: os.path.getsize(os.path.join(self.directory, 'acked')) > 0, 'an answer')
            self.engine.process.send_signal(signal.SIGSTOP)
            out, err = load.communicate(timeout=harness.WAIT_S)
            self.assertEqual(load.returncode, 3, out + err)
            self.assertIn('has not answered for 3 s', err)
            self.assertGreater(json.loads(out)['unanswered'], 0)
        finally:
            self.engine.process.send_signal(signal.SIGCONT)

    def test_a_load_ends_when_the_engine_is_gone(self):
        self.tool(self.engine, 'stock', 'import', self.file)
        acked = self.write('acked', '')
        load = harness.start_tool(self.engine.address, 'load', '--skus', 5, '--rate', 500, '--seconds', 5, '--acked', acked)
        self.eventually(lambda: os.path.getsize(acked) > 0, 'an answer')
        self.engine.kill()
        out, err = load.communicate(timeout=harness.WAIT_S)
        self.assertEqual(load.returncode, 0, out + err)
        found = json.loads(out)
        self.assertGreater(found['unanswered'] + found['errors'] + found['unsent'], 0, found)

    def test_an_acknowledgement_that_is_not_in_the_log_is_missed(self):
        self.tool(self.engine, 'stock', 'import', self.file)
        order = self.tool(self.engine, 'order', 'place', 'APPLE:1:2')['id']
        lie = '%032x' % (int(order, 16) ^ 5)
        done = self.refused(1, 'audit', '--acked', self.write('acked', f'{order} OK\n{lie} OK\n'))
        self.assertEqual((done.json['acked'], done.json['acked_missing']), (2, 1))

    def test_offline_commands_agree_with_the_live_ones(self):
        self.tool(self.engine, 'stock', 'import', self.file)
        for number in range(5):
            self.tool(self.engine, 'order', 'place', f'APPLE:1:{number % 2 + 1}')
        live = self.follow(self.engine)
        state = self.digest(self.engine)
        self.assertEqual(self.engine.stop(), 0)
        audit = self.tool(None, 'audit', '--data', self.data)
        dump = harness.run_tool(None, 'journal', 'dump', '--data', self.data)
        self.assertEqual(dump.status, 0, str(dump))
        dumped = [json.loads(line) for line in dump.out.splitlines()]
        positions = [record['position'] for record in dumped]
        self.assertEqual(positions[:len(live)], [record['position'] for record in live])
        # A mark of time may have come before the end.
        self.assertLessEqual({record['command'] for record in dumped[len(live):]}, {'MARK'})
        self.assertEqual((audit['violations'], audit['position']), (0, positions[-1]))
        self.kept(state)
        self.kept((audit['position'], audit['digest']))
        verify = self.tool(None, 'journal', 'verify', '--data', self.data)
        self.assertEqual(verify['records'], len(dumped))
        self.assertEqual(self.tool(None, 'journal', 'info', '--data', self.data)['partitions'], 16)
        for position in [record['position'] for record in live][::4]:
            found = self.replay(until=position)
            self.assertEqual(found['position'], position)
        self.refused(2, 'journal', 'replay', '--data', os.path.join(self.directory, 'nowhere'))


if __name__ == '__main__':
    harness.main()
