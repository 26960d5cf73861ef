"""Durable orders over TCP against Redis and PostgreSQL at the same work, all on one file system, their runs interleaved.

Every round runs holdfastd from an empty directory on core 0 with its load on core 1: all cases that keep their orders on one start, with
tables for all that is placed; the steady case on a start of its own, with short life and retention. Redis and PostgreSQL stay up.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time

from engine import ROOT, Engine, Failed, dies_with_us, pinned, program, run_json, scratch, write_stock
from rows import disk_interrupts, median, row

SKUS = 100000
SPARE = 4096        # rows beyond what is needed: threads take theirs in shares
CONNECTIONS = 8
STEADY_S = 2        # ttl and retention of tcp/steady

# case: orders a frame, frames in flight a connection, what else differs
HEADLINE = {'batch': 64, 'inflight': 16}
FEW_IN_FLIGHT = {'batch': 64, 'inflight': 1}
EIGHT_A_FRAME = {'batch': 8, 'inflight': 128}
ONE_A_FRAME = {'batch': 1, 'inflight': 1024}


class Case:
    """rate_max: orders/s that the tables are sized for; beyond it a run ends as FULL and is void."""

    def __init__(self, name, seconds, shape, rate_max, skus=SKUS, lines=1, ttl_ms=900000):
        self.name, self.seconds, self.shape, self.rate_max = name, seconds, shape, rate_max
        self.skus, self.lines, self.ttl_ms = skus, lines, ttl_ms

    def load(self, seconds):
        options = {'--skus': self.skus, '--zipf': 0, '--lines': self.lines, '--qty': 1, '--connections': CONNECTIONS,
                   '--batch': self.shape['batch'], '--inflight': self.shape['inflight'], '--rate': 0, '--seconds': seconds,
                   '--ttl': self.ttl_ms}
        return ['load', *(str(word) for option in options.items() for word in option)]


class Peer:
    """A peer's script that measures once for every line it gets."""

    def __init__(self, script, directory, *options):
        path = os.path.join(ROOT, 'bench', 'peers', script)
        self.name = script
        self.process = subprocess.Popen([path, '--on-demand', *options, directory], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True, preexec_fn=dies_with_us(signal.SIGTERM))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        """The script stops its server and removes its data whatever we were doing."""
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(30)
        self.process.stdout.close()
        with contextlib.suppress(OSError):
            self.process.stdin.close()

    def await_line(self):
        line = self.process.stdout.readline()
        if not line:
            raise Failed(f'{self.name}: exit {self.process.wait()}')
        return json.loads(line)

    def measure(self, *words):
        self.process.stdin.write(' '.join(map(str, words)) + '\n')
        self.process.stdin.flush()
        return self.await_line()


def flush_us(directory, count=100):
    """Median of a 4 KiB write with fdatasync in us, as the peers' own logs do it."""
    path, taken = os.path.join(directory, 'flush'), []
    file = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        for number in range(count):
            began = time.perf_counter()
            os.pwrite(file, b'\1' * 4096, number * 4096)
            os.fdatasync(file)
            taken.append((time.perf_counter() - began) * 1e6)
    finally:
        os.close(file)
        os.unlink(path)
    return median(taken)


def engine_options(orders, lines, retention_s=600):
    return ['--max-skus', str(SKUS + SPARE), '--max-cells', str(SKUS + SPARE), '--max-orders', str(orders), '--max-lines', str(lines),
            '--max-command-ids', str(2 * SKUS + SPARE), '--max-limits', '1024', '--retention', str(retention_s), '--prefault']


class Holdfast:
    def __init__(self, directory, stock):
        self.directory, self.stock, self.runs = directory, stock, {}

    def round(self, cases, retention_s=600):
        """Runs the cases in their order on one start, yielding after each so that peers run in between."""
        places = [case.rate_max * min(case.seconds, case.ttl_ms // 1000 + retention_s + 2) for case in cases]
        orders, lines = sum(places), sum(count * case.lines for count, case in zip(places, cases))
        data = os.path.join(self.directory, 'data')
        options = engine_options(orders, lines, retention_s)
        with Engine(data, options) as engine:
            imported = engine.tool('stock', 'import', self.stock)
            if imported['refused'] != 0:
                raise Failed(f'stock import: {imported}')
            for case in cases:
                self.run_case(engine, case, {'max_orders': orders, 'max_lines': lines, 'retention_s': retention_s})
                yield case
            engine.kill()
        shutil.rmtree(data, ignore_errors=True)

    def run_case(self, engine, case, conditions):
        before = disk_interrupts()
        got = run_json(pinned(1, engine.command(*case.load(case.seconds))))
        by_cpu = disk_interrupts(before)
        bad = {code: count for code, count in got['refused'].items() if count and code != 'BUSY'}
        if bad or got['short'] or got['errors'] or got['unanswered'] or not engine.alive():
            raise Failed(f'{case.name}: the run is void: {json.dumps(got)}')
        got['conditions'] = {**conditions, 'disk_interrupts_by_cpu': by_cpu}
        self.runs.setdefault(case.name, []).append(got)

    def values(self, name):
        return [one['granted'] / one['seconds'] for one in self.runs[name]]

    def told(self, case):
        last = self.runs[case.name][-1]
        return {'orders_a_frame': case.shape['batch'], 'in_flight': case.shape['batch'] * case.shape['inflight'] * CONNECTIONS,
                'connections': CONNECTIONS, 'skus': case.skus, 'lines': case.lines, 'ttl_ms': case.ttl_ms, 'seconds': case.seconds,
                'shards': 1, 'idle': 'sleep', 'engine_cpu': 0, 'load_cpu': 1, 'busy': sum(one['busy'] for one in self.runs[case.name]),
                'response_us': last['response_us'], 'service_us': last['service_us'], **last['conditions']}


def cases_of(quick):
    """-> (cases by start: those of one list share it, the headline is the very first; the steady case)"""
    steady = Case('tcp/steady', 4 if quick else 10, HEADLINE, 3500000, ttl_ms=STEADY_S * 1000)
    first = [Case('tcp/single-line', 2 if quick else 4, HEADLINE, 4500000),
             Case('tcp/three-line', 1 if quick else 3, HEADLINE, 1800000, lines=3)]
    hot = Case('tcp/hot-sku', 1 if quick else 3, HEADLINE, 4500000, skus=1)
    if quick:
        return [[*first, hot]], steady
    return [first, [hot, Case('tcp/single-line-512-in-flight', 3, FEW_IN_FLIGHT, 3000000),
                    Case('tcp/single-line-8-a-frame', 3, EIGHT_A_FRAME, 4000000),
                    Case('tcp/single-line-1-a-frame', 2, ONE_A_FRAME, 1500000)]], steady


def run_rounds(holdfast, redis, postgres, quick):
    """-> (redis: pipeline -> rates, postgres rates)"""
    starts, steady = cases_of(quick)
    pipelines = {16: 45000, 64: 45000} if quick else {1: 80000, 16: 200000, 64: 200000}
    by_pipeline, postgres_rates = {pipeline: [] for pipeline in pipelines}, []
    for number in range(3 if quick else 5):
        for cases in starts:
            with contextlib.closing(holdfast.round(cases)) as done:
                for case in done:
                    if case is not starts[0][0]:
                        continue
                    for pipeline, requests in pipelines.items():
                        by_pipeline[pipeline].append(redis.measure(pipeline, requests)['orders_per_s'])
                    postgres_rates.append(postgres.measure(1 if quick else 5)['orders_per_s'])
        if number == 0 or not quick:
            with contextlib.closing(holdfast.round([steady], retention_s=STEADY_S)) as done:
                for _ in done:
                    pass
    return by_pipeline, postgres_rates


def report(printer, holdfast, by_pipeline, postgres_rates, flush, quick):
    starts, steady = cases_of(quick)
    headline, *others = [case for cases in starts for case in cases]
    values, told = holdfast.values(headline.name), holdfast.told(headline)
    pipeline = max(by_pipeline, key=lambda one: median(by_pipeline[one]))
    redis_rates = by_pipeline[pipeline]
    for one, rates in by_pipeline.items():
        printer.add(row('peers', f'redis-same-work/pipeline-{one}', rates, 'orders/s', clients=50, flush_us_p50=round(flush, 1)))
    printer.add(row('peers', 'postgres', postgres_rates, 'orders/s', clients=32, skus=SKUS))
    printer.add(row('peers', headline.name, values, 'orders/s', 'redis-same-work', redis_rates, goal=55, redis_pipeline=pipeline,
                    flush_us_p50=round(flush, 1), **told))
    printer.add(row('peers', headline.name, values, 'orders/s', 'postgres', postgres_rates, goal=200, **told))
    goals = {'tcp/three-line': 0.45, 'tcp/hot-sku': 0.9}
    for case in [*others, steady]:
        printer.add(row('peers', case.name, holdfast.values(case.name), 'orders/s', headline.name, values, goal=goals.get(case.name),
                        **holdfast.told(case)))


def run(printer, quick):
    program('holdfastd')
    with scratch('bench-data') as directory:
        stock = os.path.join(directory, 'stock.csv')
        write_stock(stock, SKUS, 2000000000)
        flush = flush_us(directory)
        with Peer('postgres_same_work.sh', directory) as postgres, Peer('redis_same_work.sh', directory) as redis:
            redis.await_line()
            postgres.await_line()
            holdfast = Holdfast(directory, stock)
            report(printer, holdfast, *run_rounds(holdfast, redis, postgres, quick), flush, quick)
