"""What the control plane costs the data path: the open loop's p99 alone, and beside 2,000 REST orders/s and 1,000 slow readers of events.

The shard has core 0 to itself. Core 1 has all the rest: the control plane's threads (which holdfastd keeps off shards' cores by itself),
h2load, the readers, and the generator of the open loop, which goes before them, so that it measures the engine and not its own waiting for
the core. The two of a pair run on the same start of the engine, the other way round every second time. A run counts only if REST was
answered at its rate, no reader was ended, and every order was granted.
"""

import contextlib
import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import time

from engine import Engine, Failed, dies_with_us, pinned, program, run_json, scratch, write_stock
from rows import disk_interrupts, median, row

RATE = 20000  # orders/s of the open loop
REST_RATE, REST_CONNECTIONS = 2000, 10
READERS, READER_BYTES_PER_S = 1000, 2048
SKUS, SPARE = 10000, 8192
WARMUP_S, LEAD_S = 1, 3
READY_S = 60
SLOW_READERS = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'slow_readers.py')
BODY = {'customer': '42', 'channel': 'WEB', 'lines': [{'sku': 'SKU000001', 'location': 1, 'quantity': 1, 'unitPrice': '199'}]}


class Served(Engine):
    """A holdfastd whose control plane has a TCP port; `api` is its HOST:PORT."""

    def start(self):
        super().start()
        with open(self.log_path, encoding='utf-8', errors='replace') as log:
            self.api = re.findall(r'"control listening","address":"tcp://([^"]+)"', log.read())[-1]

    def numbers(self):
        """The control plane's own, by name."""
        control = self.tool('status')['control']
        return {**control['events'], 'slow_requests': control['slow_requests']}


def first_of(command):
    """(the command with a real-time priority where that is allowed, else with a high one; which)."""
    for before in (['chrt', '--fifo', '1'], ['nice', '-n', '-20']):
        if subprocess.run([*before, 'true'], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                          check=False).returncode == 0:
            return [*before, *command], before[0]
    return command, 'none'


@contextlib.contextmanager
def readers(engine):
    """A thousand slow readers, all of whom follow. -> a function that ends them and says what they took"""
    host, port = engine.api.rsplit(':', 1)
    process = subprocess.Popen(pinned(1, [sys.executable, SLOW_READERS, host, port, str(READERS), str(READER_BYTES_PER_S)]),
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, preexec_fn=dies_with_us(signal.SIGKILL))

    def end():
        process.stdin.close()
        return json.loads(process.stdout.readline() or '{}')
    try:
        if not select.select([process.stdout], [], [], READY_S)[0] or process.stdout.readline() != 'ready\n':
            raise Failed('the slow readers do not all follow')
        yield end
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        with contextlib.suppress(OSError):
            process.stdin.close()


@contextlib.contextmanager
def rest(engine, directory, seconds):
    """2,000 orders a second over HTTP. -> a function that waits for its end and says how it went"""
    body = os.path.join(directory, 'body.json')
    with open(body, 'w', encoding='ascii') as file:
        json.dump(BODY, file)
    process = subprocess.Popen(pinned(1, ['h2load', '-t', '1', '-c', str(REST_CONNECTIONS), '-m', '10', '-D', str(seconds),
                                          f'--rps={REST_RATE * 1.05 / REST_CONNECTIONS:.0f}', '-d', body,
                                          '-H', 'content-type: application/json', f'http://{engine.api}/v1/orders']),
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                               preexec_fn=dies_with_us(signal.SIGKILL))

    def end():
        said = process.communicate(timeout=seconds + READY_S)[0]
        found = re.search(r'status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx', said)
        if process.returncode != 0 or not found or found.groups()[1:] != ('0', '0', '0'):
            raise Failed(f'h2load: exit {process.returncode}: {said[-600:]}')
        return int(found.group(1)) / seconds
    try:
        yield end
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def open_loop(engine, seconds):
    """-> (p99 and others in us, how the generator went before the rest)"""
    load, first = first_of(engine.command('load', '--skus', SKUS, '--zipf', 0, '--lines', 1, '--qty', 1, '--connections', 4, '--batch', 64,
                                          '--inflight', 16, '--rate', RATE, '--seconds', seconds + WARMUP_S, '--warmup', WARMUP_S,
                                          '--ttl', 900000))
    got = run_json(pinned(1, load))
    if any(got['refused'].values()) or got['short'] or got['errors'] or got['unanswered'] or not engine.alive():
        raise Failed(f'the open loop: the run is void: {json.dumps(got)}')
    return got, first


def beside(engine, directory, seconds):
    """The open loop with all that goes on beside it. -> its figures, with theirs"""
    before, began = engine.numbers(), time.monotonic()
    with readers(engine) as end_readers, rest(engine, directory, LEAD_S + seconds + WARMUP_S + LEAD_S) as end_rest:
        # The readers must be behind, and REST at its rate, before it counts.
        open_loop(engine, LEAD_S - WARMUP_S)
        got, first = open_loop(engine, seconds)
        rest_rate = end_rest()
        numbers, counted_s = engine.numbers(), time.monotonic() - began
        took = end_readers()
    if rest_rate < 0.95 * REST_RATE or took.get('ended') != 0 or numbers['followers'] < READERS:
        raise Failed(f'what goes on beside the open loop did not: REST {rest_rate:.0f}/s, readers {took}, {numbers}')
    got['beside'] = {'rest_per_s': round(rest_rate), 'followers': numbers['followers'], 'readers_bytes': took['bytes'],
                     'counted_s': counted_s,
                     **{name: numbers[name] - before[name] for name in ('told', 'messages', 'reads', 'reads_behind', 'slow_dropped',
                                                                        'slow_requests')}}
    return got, first


def run(printer, quick):
    rounds, seconds = (3, 3) if quick else (5, 10)
    program('holdfastd')
    orders = rounds * (2 * RATE * (seconds + WARMUP_S) + RATE * LEAD_S + 2 * REST_RATE * (seconds + 2 * LEAD_S + WARMUP_S)) + SPARE
    options = ['--control', 'tcp://127.0.0.1:0', '--max-skus', str(SKUS + SPARE), '--max-cells', str(SKUS + SPARE), '--max-orders',
               str(orders), '--max-lines', str(orders), '--max-command-ids', str(2 * SKUS + SPARE), '--max-limits', '1024', '--prefault',
               '--follower-stall', '600']
    alone, with_control, first, interrupts = [], [], 'none', disk_interrupts()
    with scratch('bench-data') as directory:
        stock = os.path.join(directory, 'stock.csv')
        write_stock(stock, SKUS, 2000000000)
        with Served(os.path.join(directory, 'data'), options) as engine:
            engine.tool('stock', 'import', stock)
            for number in range(rounds):
                for both in (False, True) if number % 2 == 0 else (True, False):
                    got, first = beside(engine, directory, seconds) if both else open_loop(engine, seconds)
                    (with_control if both else alone).append(got)
        shutil.rmtree(os.path.join(directory, 'data'), ignore_errors=True)
    report(printer, alone, with_control, seconds=seconds, rate=RATE, rest_rate=REST_RATE, readers=READERS,
           reader_bytes_per_s=READER_BYTES_PER_S, shard_cpu=0, control_cpu=1, load_cpu=1, load_priority=first,
           disk_interrupts_by_cpu=disk_interrupts(interrupts))


def report(printer, alone, with_control, **told):
    def values(runs, name):
        return [one['response_us'][name] for one in runs]
    for name, bound in (('p99', {'goal_at_most': 1.5}), ('p50', {})):
        printer.add(row('isolation', f'open-loop-{name}', values(with_control, name), 'us', 'alone', values(alone, name), **bound, **told,
                        beside=[one['beside'] for one in with_control]))
    printer.add(row('isolation', 'beside/rest', [one['beside']['rest_per_s'] for one in with_control], 'orders/s', **told))
    told_per_s = [one['beside']['told'] / one['beside']['counted_s'] for one in with_control]
    printer.add(row('isolation', 'beside/events-told', told_per_s, 'events/s',
                    followers=median([one['beside']['followers'] for one in with_control]), **told))
