"""What an operator asks a running engine over the control socket, and tells it."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'end'))

import grpc

import api_test
import harness
import protocol as p
from holdfast.v1 import admin_pb2, orders_pb2

WAIT_S = harness.WAIT_S
STAGES = [admin_pb2.STAGE_RECEIVE, admin_pb2.STAGE_RUN, admin_pb2.STAGE_SWEEP, admin_pb2.STAGE_DRAIN, admin_pb2.STAGE_ANSWER,
          admin_pb2.STAGE_FLUSH, admin_pb2.STAGE_TURN]


def pages(call, rows):
    """All rows of a call that answers in pages."""
    got, page = [], call()
    while True:
        got += getattr(page, rows)
        if not page.more:
            return got
        page = call(first_shard=page.next_shard)


class OpsTest(api_test.ShopTest):
    def test_shards_and_stalls_and_the_log_are_parts_of_the_status(self):
        engine, shop = self.begin(shards=2)
        for _ in range(20):
            shop.place('apple', 1, ttl_ms=600000) if _ < 10 else shop.GetCell(sku='apple', location=1)
        def in_time():
            shards = pages(shop.Shards, 'shards')
            return shards if all(shard.responsive for shard in shards) else None
        shards = self.eventually(in_time, 'an answer of every shard')
        self.assertEqual([shard.shard for shard in shards], [0, 1])
        self.assertTrue(all(shard.turns > 0 and shard.stage != admin_pb2.STAGE_UNSPECIFIED for shard in shards))
        self.assertGreaterEqual(sum(shard.commands for shard in shards), 20)
        self.assertGreater(sum(shard.words_taken for shard in shards), 10)
        self.assertGreater(sum(shard.record_bytes for shard in shards), 10 * 128)
        stalls = pages(shop.Stalls, 'shards')
        self.assertEqual([shard.shard for shard in stalls], [0, 1])
        for shard in stalls:
            self.assertEqual([stage.stage for stage in shard.stages], STAGES)
            self.assertEqual({len(stage.buckets) for stage in shard.stages}, {12})
            self.assertEqual(len({sum(stage.buckets) for stage in shard.stages}), 1, 'every stage is counted once a turn')
            self.assertGreaterEqual(shard.stages[-1].longest_ns, max(stage.longest_ns for stage in shard.stages[:-1]))
        log = shop.Log()
        digest = shop.Digest()
        self.assertGreaterEqual(log.durable_position, digest.position)
        self.assertEqual(log.lag_bytes, log.position - log.durable_position)
        self.assertGreater(log.records, 10)
        self.assertGreater(log.free_bytes, 0)
        self.assertEqual((log.watermark, log.term), (0, 1))
        self.assertEqual(engine.stop(), 0, engine.text())

    def test_sixteen_shards_come_in_pages(self):
        _, shop = self.begin(shards=16, stock=0)
        for call, rows in ((shop.Shards, 'shards'), (shop.Stalls, 'shards')):
            self.assertTrue(call().more)
            self.assertEqual([row.shard for row in pages(call, rows)], list(range(16)))
        self.assertEqual({counter.shard for counter in pages(shop.Status, 'counters')}, set(range(-1, 16)))
        self.assertEqual(len(shop.Shards(first_shard=99).shards), 0)

    def test_the_log_level_changes_while_the_engine_runs(self):
        engine, shop = self.begin(stock=0)
        walks = lambda: [line['level'] for line in engine.messages() if line['msg'] == 'every shard stood still for a walk']
        shop.Digest()
        said = shop.SetLogLevel()
        self.assertEqual((said.level, said.previous), (admin_pb2.LOG_LEVEL_INFO, admin_pb2.LOG_LEVEL_INFO))
        said = shop.SetLogLevel(level=admin_pb2.LOG_LEVEL_DEBUG)
        self.assertEqual((said.level, said.previous), (admin_pb2.LOG_LEVEL_DEBUG, admin_pb2.LOG_LEVEL_INFO))
        shop.Digest()
        self.eventually(lambda: walks() == ['debug'], 'saying the walk')
        said = shop.SetLogLevel(level=admin_pb2.LOG_LEVEL_WARN)
        self.assertEqual(said.previous, admin_pb2.LOG_LEVEL_DEBUG)
        self.refused(grpc.StatusCode.INVALID_ARGUMENT, 'BAD_ARGUMENT', shop.SetLogLevel, level=9)
        self.assertEqual(shop.SetLogLevel().level, admin_pb2.LOG_LEVEL_WARN)
        self.assertEqual(engine.stop(), 0, engine.text())
        self.assertEqual(walks(), ['debug'])
        self.assertNotIn('stopped', [line['msg'] for line in engine.messages()])

    def test_drain_ends_the_engine_as_a_signal_does(self):
        engine, shop = self.begin()
        placed = shop.place('apple', 1)
        shop.Drain()
        self.assertEqual(engine.wait_end(), 0)
        self.assertEqual([line['msg'] for line in engine.messages()][-2:], ['stopping', 'stopped'])
        engine, shop = self.begin(stock=0)
        self.assertEqual(shop.GetOrder(id=placed.id).state, orders_pb2.ORDER_STATE_HELD)
        self.audit_clean(engine)

    def test_commands_as_bytes_are_what_they_are_on_the_data_port(self):
        engine, shop = self.begin(shards=2)
        execute = lambda command: p.Answer(shop.Execute(command=command).answer)
        welcome = shop.Welcome()
        self.assertEqual(welcome.partitions, next(line['partitions'] for line in engine.messages() if line['msg'] == 'started'))
        identity = p.make_id(p.route('apple'), welcome.time_ms)
        held = execute(p.place(identity, [('apple', 1, 2)]))
        self.assertEqual((held.result, held.order), ('OK', 'HELD'))
        self.assertTrue(execute(p.place(identity, [('apple', 1, 2)])).repeated)
        again = execute(p.place(identity, [('apple', 1, 3)]))
        self.assertEqual(again.result, 'ID_REUSED')
        short = execute(p.place(p.make_id(p.route('apple'), welcome.time_ms), [('apple', 1, 20)]))
        self.assertEqual((short.result, short.short()), ('SHORT', [(0, 20, 8)]))
        self.assertEqual(execute(p.command(p.GET_CELL, lines=[p.line('apple', 1)])).cell()['reserved'], 2)
        self.assertEqual(execute(p.command(0x7777)).result, 'UNKNOWN_OPCODE')
        self.assertEqual(execute(p.command(p.GET_CELL, line_count=9)).result, 'BAD_LINE_COUNT')
        self.assertEqual(execute(p.command(p.STATUS, flags=255)).result, 'RESERVED_NOT_ZERO')
        for wrong in (b'', b'1234567', p.command(p.STATUS)[:-8], p.command(p.STATUS) + bytes(8), p.command(p.STATUS, length=56),
                      p.command(p.STATUS, length=1 << 31), bytes(64)):
            self.refused(grpc.StatusCode.INVALID_ARGUMENT, 'BAD_LENGTH', shop.Execute, command=wrong)
        self.audit_clean(engine)

    def test_a_command_as_bytes_is_run_as_it_came_whatever_trace_comes_with_the_call(self):
        engine, shop = self.begin(shards=2)
        raw = shop.channel.unary_unary('/holdfast.v1.Admin/Execute', request_serializer=admin_pb2.ExecuteRequest.SerializeToString,
                                       response_deserializer=admin_pb2.ExecuteResponse.FromString)
        trace = [('traceparent', '00-' + '4' * 32 + '-' + '5' * 16 + '-01')]
        execute = lambda command: p.Answer(raw(admin_pb2.ExecuteRequest(command=command), timeout=WAIT_S, metadata=trace).answer)
        longest = 64 + 256 * 32 + 512
        full = p.command(p.PLACE, length=longest) + bytes(longest - 64)
        self.assertEqual(execute(full).result, 'BAD_LINE_COUNT')
        self.assertEqual(execute(p.command(p.PLACE, line_count=1)).result, 'BAD_LENGTH')
        placed = p.make_id(p.route('apple'), shop.Welcome().time_ms)
        self.assertEqual(execute(p.place(placed, [('apple', 1, 2)])).result, 'OK')
        self.assertTrue(p.Answer(shop.Execute(command=p.place(placed, [('apple', 1, 2)])).answer).repeated)
        self.audit_clean(engine)


if __name__ == '__main__':
    harness.main()
