"""Durable orders placed by gRPC, beside a minimal grpc-go server with a canned answer: 4 connections x 100 streams, bodies without an id.

Both servers have core 0 whole (of Holdfast that is shard, log, pump and one control thread; of grpc-go GOMAXPROCS=1), both loads core 1;
their runs alternate. Two loads: nghttp2's h2load, which costs little, and a grpc-go client, which looks at the status of each call.
"""

import contextlib
import os
import re
import signal
import subprocess
import sys

from engine import BUILD, ROOT, Engine, Failed, dies_with_us, pinned, run_json, scratch, write_stock
from rows import median, row

sys.path.insert(0, os.path.join(ROOT, 'tools'))

import peer_tools

CONNECTIONS, STREAMS = 4, 100
METHOD = '/holdfast.v1.Orders/PlaceOrder'
RATE_MAX = 200000  # calls/s that tables are sized for
SKU = 'SKU000001'  # the first of write_stock


def varint(number):
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes(out + bytes([number]))


def message(*fields):
    """proto3: (number of field, text, bytes or int)..."""
    out = b''
    for number, value in fields:
        if isinstance(value, int):
            out += varint(number << 3) + varint(value)
        else:
            value = value.encode() if isinstance(value, str) else value
            out += varint(number << 3 | 2) + varint(len(value)) + value
    return out


def place_request():
    """holdfast.v1.PlaceOrderRequest: customer, channel, one line; no id."""
    line = message((1, SKU), (2, 1), (3, 1), (4, 199))
    return message((2, 42), (3, 'WEB'), (4, line))


@contextlib.contextmanager
def on_cpu(cpu):
    """What is started meanwhile inherits the one core."""
    before = os.sched_getaffinity(0)
    if len(before) > 1:
        os.sched_setaffinity(0, {cpu})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class Served(Engine):
    """A holdfastd that serves its API over TCP. It finds one core: of two it would keep its control thread off the shard's."""

    def start(self):
        with on_cpu(0):
            super().start()
        with open(self.log_path, encoding='utf-8', errors='replace') as log:
            found = re.findall(r'"control listening","address":"tcp://([^"]+)"', log.read())
        if not found:
            raise Failed('holdfastd does not say where its API is')
        self.api = found[-1]

    def orders(self):
        return self.tool('status')['log']['orders_since_start']


@contextlib.contextmanager
def grpc_go(path, answer):
    """The address of the peer's server."""
    process = subprocess.Popen(pinned(0, [path, 'serve', answer]), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
                               env=dict(os.environ, GOMAXPROCS='1'), preexec_fn=dies_with_us(signal.SIGKILL))
    try:
        words = process.stdout.readline().split()
        if words[:1] != ['ready']:
            raise Failed(f'grpc_go: exit {process.wait()}')
        yield process.pid, words[1]
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def processor_s(pid):
    with open(f'/proc/{pid}/stat', encoding='ascii') as stat:
        fields = stat.read().rsplit(')', 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')


def h2load(address, directory, seconds):
    """-> calls, seconds, p50_us, p99_us; Failed when one went wrong."""
    log = os.path.join(directory, 'h2load.log')
    done = subprocess.run(pinned(1, ['h2load', '-t', '1', '-c', str(CONNECTIONS), '-m', str(STREAMS), '-D', str(seconds), '-d',
                                     os.path.join(directory, 'framed'), '-H', 'content-type: application/grpc', '-H', 'te: trailers',
                                     '--log-file', log, f'http://{address}{METHOD}']),
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=seconds + 60,
                          preexec_fn=dies_with_us(signal.SIGKILL), check=False)
    finished = re.search(r'finished in [\d.]+m?s', done.stdout)
    found = re.search(r'(\d+) succeeded, (\d+) failed, (\d+) errored', done.stdout)
    if done.returncode != 0 or not finished or not found or found.group(1) == '0' or found.groups()[1:] != ('0', '0'):
        raise Failed(f'h2load: exit {done.returncode}: {done.stdout[-600:]}')
    with open(log, encoding='ascii') as lines:
        taken = sorted(int(line.split('\t')[2]) for line in lines)
    os.unlink(log)
    return {'calls': int(found.group(1)), 'seconds': seconds, 'p50_us': taken[len(taken) // 2], 'p99_us': taken[len(taken) * 99 // 100]}


def go_client(path, address, directory, seconds):
    return run_json(pinned(1, [path, 'call', address, METHOD, os.path.join(directory, 'plain'), str(CONNECTIONS), str(STREAMS),
                               str(seconds)]))


class Runs:
    """The runs of both servers under one load."""

    def __init__(self, name, load):
        self.name, self.load, self.ours, self.theirs = name, load, [], []

    def measure(self, into, pid, address, seconds):
        before = processor_s(pid)
        got = self.load(address, seconds)
        got['cpu_us'] = (processor_s(pid) - before) * 1e6 / got['calls']
        into.append(got)
        return got

    def round(self, engine, peer, seconds):
        before = engine.orders()
        got = self.measure(self.ours, engine.process.pid, engine.api, seconds)
        placed = engine.orders() - before
        # A load that stops by the clock leaves calls behind that nobody counted.
        if not got['calls'] <= placed <= got['calls'] + 2 * CONNECTIONS * STREAMS:
            raise Failed(f"{self.name}: {got['calls']} calls made {placed} orders")
        self.measure(self.theirs, *peer, seconds)

    def report(self, printer, **told):
        def rates(runs):
            return [one['calls'] / one['seconds'] for one in runs]

        printer.add(row('grpc', f'place/{self.name}', rates(self.ours), 'calls/s', 'grpc-go', rates(self.theirs), goal=1.0,
                        connections=CONNECTIONS, streams=STREAMS, durable=True, **told))
        for name, unit in (('p50_us', 'us'), ('p99_us', 'us'), ('cpu_us', 'us/call')):
            printer.add(row('grpc', f'place/{self.name}/{name}', [one[name] for one in self.ours], unit, 'grpc-go',
                            [one[name] for one in self.theirs], at_calls_per_s=round(median(rates(self.ours))),
                            against_at_calls_per_s=round(median(rates(self.theirs)))))


def engine_options(orders):
    return ['--shards', '1', '--control', 'tcp://127.0.0.1:0', '--max-skus', '8192', '--max-cells', '8192', '--max-orders', str(orders),
            '--max-lines', str(orders), '--prefault']


def run(printer, quick):
    rounds, seconds = (3, 2) if quick else (5, 5)
    folder = os.path.join(BUILD, 'peers')
    os.makedirs(folder, exist_ok=True)
    path = peer_tools.Tools(folder).go_program(os.path.join(ROOT, 'bench/peers/grpc_go'))
    with scratch('bench-data') as directory:
        stock, plain, answer = (os.path.join(directory, name) for name in ('stock.csv', 'plain', 'answer'))
        write_stock(stock, 1, 2000000000)
        body = place_request()
        for name, content in (('plain', body), ('framed', b'\0' + len(body).to_bytes(4, 'big') + body)):
            with open(os.path.join(directory, name), 'wb') as file:
                file.write(content)
        loads = [Runs('h2load', lambda address, s: h2load(address, directory, s)),
                 Runs('grpc-go-client', lambda address, s: go_client(path, address, directory, s))]
        with Served(os.path.join(directory, 'data'), engine_options(rounds * seconds * 2 * RATE_MAX), cpu=None) as engine:
            engine.tool('stock', 'import', stock)
            subprocess.run([path, 'ask', engine.api, METHOD, plain, answer], check=True, timeout=60)
            with grpc_go(path, answer) as peer:
                for _ in range(rounds):
                    for load in loads:
                        load.round(engine, peer, seconds)
            engine.kill()
        for load in loads:
            load.report(printer, rounds=rounds, seconds=seconds, answer_bytes=os.path.getsize(answer))
