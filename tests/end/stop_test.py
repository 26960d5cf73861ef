"""Clean stops, and the ways to run it that are not the default."""

import os
import threading

import harness
import protocol as p

STATUS_FIELDS = ('version', 'position', 'durable_position', 'term', 'shards', 'memory', 'log', 'results')


class Stop(harness.EndTest):
    def short_life(self, *options, shards=1, data=None, **more):
        """Starts, sells, settles; (engine, position and digest)."""
        engine = self.start(*options, shards=shards, data=data, **more)
        client = self.connect(engine)
        client.provide('GOOD', 1, 1000)
        for _ in range(10):
            order, answer = client.place([('GOOD', 1, 2)])
            self.assertEqual(answer.result, 'OK')
            self.assertEqual(client.settle(order).result, 'OK')
        self.audit_clean(engine)
        return engine, self.digest(engine)

    def stopped_sound(self, engine, state, data=None):
        self.assertEqual(engine.stop(), 0, engine.text())
        found = self.tool(None, 'journal', 'verify', '--data', data or self.data)
        self.assertEqual((found['torn_tail_bytes'], found['damaged']), (0, None))
        self.kept(state, data)
        again = self.start(data=data)
        self.unchanged(again, state)
        self.assertFalse(any('torn' in line for line in again.log), again.text())
        return again

    def test_sigterm_ends_with_0_and_a_sound_log(self):
        for shards in (1, 2, 3):
            with self.subTest(shards=shards):
                data = os.path.join(self.directory, f'data{shards}')
                engine, state = self.short_life(shards=shards, data=data)
                self.stopped_sound(engine, state, data).stop()

    def test_sigterm_under_load_answers_what_is_in_flight(self):
        engine = self.start(shards=2)
        self.stock(engine, 100, 100000)
        acked = self.write('acked', '')
        load = harness.start_tool(engine.address, 'load', '--skus', 100, '--lines', 2, '--connections', 4, '--batch', 8, '--inflight', 4,
                                  '--rate', 3000, '--seconds', 20, '--settle', 50, '--acked', acked)
        self.eventually(lambda: os.path.getsize(acked) > 20000, 'load')
        self.assertEqual(engine.stop(), 0, engine.text())
        out, err = load.communicate(timeout=harness.WAIT_S)
        self.assertEqual(load.returncode, 0, out + err)
        found = self.tool(None, 'journal', 'verify', '--data', self.data)
        self.assertEqual((found['torn_tail_bytes'], found['damaged']), (0, None))
        self.audit_clean(self.start(shards=3), acked)

    def test_a_request_during_the_drain_is_told(self):
        engine = self.start()
        clients = [self.connect(engine) for _ in range(4)]
        clients[0].provide('GOOD', 1, 1 << 30)
        told, stopping = [], threading.Event()

        def send(client):
            try:
                while True:
                    got = client.send(*[p.place(client.fresh('GOOD'), [('GOOD', 1, 1)]) for _ in range(20)]) and client.receive()
                    told.extend([got.result] if got.kind == p.REFUSED else [answer.result for answer in got.answers()])
                    if len(told) > 200:
                        stopping.set()
            except (ConnectionError, OSError):
                stopping.set()
        threads = [threading.Thread(target=send, args=[client]) for client in clients]
        for thread in threads:
            thread.start()
        stopping.wait(harness.WAIT_S)
        self.assertEqual(engine.stop(), 0, engine.text())
        for thread in threads:
            thread.join(harness.WAIT_S)
        self.assertEqual(set(told) - {'OK', 'DRAINING', 'BUSY'}, set())
        again = self.start()
        self.assertEqual(self.connect(again).cell('GOOD', 1)['reserved'], told.count('OK'), 'what was answered is there, and nothing else')
        self.audit_clean(again)

    def test_a_client_that_does_not_read_does_not_hold_up_a_stop_for_ever(self):
        engine = self.start()
        client = self.connect(engine, credits=64)
        client.provide('GOOD', 1, 10)
        for _ in range(40):
            client.send(*[p.get_cell('GOOD', 1)] * 400)
        self.assertEqual(engine.stop(), 0, engine.text())

    def test_async_durability_says_so(self):
        engine, _ = self.short_life('--durability', 'async')
        client = self.connect(engine)
        self.assertEqual(client.welcome_flags & 1, 1)
        self.assertTrue(client.place([('GOOD', 1, 1)])[1].flags & p.ASYNC)
        self.assertIn('async', engine.text())
        self.assertTrue(self.tool(engine, 'order', 'place', 'GOOD:1:1')['async'])
        state = self.digest(engine)
        self.stopped_sound(engine, state)

    def test_sync_durability_says_nothing_of_the_kind(self):
        engine, _ = self.short_life()
        client = self.connect(engine)
        self.assertEqual(client.welcome_flags & 1, 0)
        self.assertFalse(client.place([('GOOD', 1, 1)])[1].flags & p.ASYNC)

    def test_a_drainer_of_its_own(self):
        engine, state = self.short_life('--drainer', 'thread', shards=2)
        self.stopped_sound(engine, state)

    def test_every_way_to_idle(self):
        for idle in ('spin', 'pause', 'sleep'):
            with self.subTest(idle=idle):
                data = os.path.join(self.directory, idle)
                engine, state = self.short_life('--idle', idle, data=data)
                self.stopped_sound(engine, state, data).stop()

    def test_more_shards_than_cores(self):
        engine, state = self.short_life('--idle', 'spin', shards=(os.cpu_count() or 1) + 1)
        self.stopped_sound(engine, state)

    def test_named_cores_and_touched_tables(self):
        engine, state = self.short_life('--cpus', str(sorted(os.sched_getaffinity(0))[0]), '--prefault')
        self.stopped_sound(engine, state)

    def test_a_file_system_without_direct_writes_is_used_and_said(self):
        shared = harness.make_directory('/dev/shm')
        self.addCleanup(harness.shutil.rmtree, shared, ignore_errors=True)
        data = os.path.join(shared, 'data')
        engine, state = self.short_life(data=data)
        direct = self.status(engine)['log']['direct']
        self.assertEqual('O_DIRECT' in engine.text(), not direct, 'the log says what status says')
        self.assertEqual(direct, 0)
        engine.kill()
        self.kept(state, data)
        again = self.start(data=data)
        self.unchanged(again, state)
        self.stopped_sound(again, state, data).stop()

    def test_status_has_what_operators_look_at(self):
        engine, _ = self.short_life(shards=2)
        status = self.status(engine)
        self.assertEqual([name for name in STATUS_FIELDS if name not in status], [])
        self.assertEqual(len(status['shards']), 2)
        self.assertTrue({'cell_bytes', 'order_bytes'} <= status['memory'].keys())
        self.assertTrue({'bytes', 'segments', 'bytes_per_order'} <= status['log'].keys())
        self.assertGreaterEqual(status['position'], status['durable_position'])
        self.assertEqual(status['term'], 1)
        self.assertGreater(status['results']['OK'], 20)
        self.connect(engine).place([('GOOD', 1, 1 << 30)])
        self.assertEqual(self.status(engine)['results']['SHORT'], 1)
        self.assertEqual(status['log']['bytes_per_order'] > 0, True)

    def test_defaults_start_within_the_promised_memory_and_disk(self):
        with open(harness.HOLDFASTD, 'rb') as program:
            code = program.read()
        # Each partition reserves addresses for all rows, 1.44 TiB together; the thread sanitizer has 1.5 TiB for everything.
        engine = self.start(*(['--partitions', '64'] if b'__tsan_init' in code else []), small=False)
        with open(f'/proc/{engine.process.pid}/status', encoding='ascii') as lines:
            resident_kib = next(int(line.split()[1]) for line in lines if line.startswith('VmRSS'))
        used = sum(os.stat(os.path.join(self.data, name)).st_blocks * 512 for name in os.listdir(self.data))
        self.assertLess(used, 256 << 20)
        rows = self.status(engine)['tables']
        self.assertGreaterEqual(rows['skus']['rows_max'], 1000000)
        self.assertGreaterEqual(rows['orders']['rows_max'], 16000000)
        if b'__asan_init' not in code and b'__tsan_init' not in code:
            self.assertLess(resident_kib, 512 << 10)


if __name__ == '__main__':
    harness.main()
