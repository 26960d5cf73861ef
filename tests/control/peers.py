#!/usr/bin/env python3
"""peers.py BUILD [SUITE...]: runs public software that nobody here wrote against the servers in BUILD.

conformance (connectrpc's connectconformance), interop (grpc-go's interoperability client), h2spec, grpc_js (@grpc/grpc-js), buf (lint of
proto/), schemathesis (the OpenAPI document): each at a fixed version, in BUILD/peers (peer_tools.py). Known failures stand below, by name
and with a reason; one that passes is a failure too. Ends with `N passed, N failed, N skipped`.
"""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, 'tools'))

import peer_tools
from peer_tools import run

# h2spec's sections. nghttp2 ignores HEADERS with a lower stream number than one it has seen: they may have crossed a reset.
H2SPEC_KNOWN = {'5.1.1. Stream Identifiers: Sends stream identifier that is numerically smaller than previous'}
CONFORMANCE_KNOWN = ()
INTEROP_CASES = ('empty_unary large_unary client_streaming server_streaming ping_pong empty_stream timeout_on_sleeping_server '
                 'cancel_after_begin cancel_after_first_response status_code_and_message special_status_message custom_metadata '
                 'unimplemented_method unimplemented_service').split()
CONFIG = """features:
  versions: [HTTP_VERSION_2]
  protocols: [PROTOCOL_GRPC]
  codecs: [CODEC_PROTO]
  compressions: [COMPRESSION_IDENTITY, COMPRESSION_GZIP]
  supportsTls: false
  supportsH2c: true
  supportsTrailers: true
  supportsMessageReceiveLimit: true
"""
SMALL = ('--shards 1 --partitions 16 --max-skus 4096 --max-cells 8192 --max-orders 200000 --max-lines 400000 --max-command-ids 200000 '
         '--max-limits 4096 --log-ahead 4M --segment-bytes 4M').split()
# What a drain leaves is no server. Of valid data JSON Schema cannot say all (an id's route, a SKU that exists), so not everything that fits
# the document is accepted.
SCHEMATHESIS = ['--exclude-path', '/v1/admin:drain', '--seed', '1', '--max-examples', '15', '--checks', 'all',
                '--exclude-checks', 'positive_data_acceptance', '--no-color']
# llhttp, as Debian ships it, does not know the method QUERY, which is younger: 400, not 405.
SCHEMATHESIS_KNOWN = ('ST204 QUERY ',)
STOP_S = 60


@contextlib.contextmanager
def probe(build):
    """The port of a probe_server."""
    process = subprocess.Popen([os.path.join(build, 'tests/control/probe_server'), 'tcp://127.0.0.1:0'], stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, text=True)
    try:
        yield process.stdout.readline().split()[1]
    finally:
        process.communicate('quit\n', timeout=STOP_S)


@contextlib.contextmanager
def holdfast(build, folder):
    """HOST:PORT where a holdfastd serves its API; its directory goes with it."""
    data = tempfile.mkdtemp(prefix='data-', dir=folder)
    log_path = os.path.join(data, 'log.txt')
    with open(log_path, 'wb') as log:
        process = subprocess.Popen([os.path.join(build, 'server/holdfastd'), '--data', os.path.join(data, 'node'), '--listen',
                                    'tcp://127.0.0.1:0', '--control', 'tcp://127.0.0.1:0', *SMALL],
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        if process.stdout.readline() != 'ready\n':
            raise SystemExit('holdfastd does not serve: ' + said(log_path))
        yield control_address(log_path)
    finally:
        process.terminate()
        status = process.wait(STOP_S)
        process.stdout.close()
        words = said(log_path)
        shutil.rmtree(data)
    if status != 0:
        raise SystemExit(f'holdfastd ended with {status}: {words}')


def said(path):
    with open(path, encoding='utf-8', errors='replace') as file:
        return file.read()[-3000:]


def control_address(log_path):
    """What its log names after it began to listen there."""
    deadline = time.monotonic() + STOP_S
    while time.monotonic() < deadline:
        for line in said(log_path).splitlines():
            if line.startswith('{') and line.endswith('}'):
                entry = json.loads(line)
                if entry['msg'] == 'control listening':
                    return entry['address'].removeprefix('tcp://')
        time.sleep(0.01)
    raise SystemExit('holdfastd does not say where its API is: ' + said(log_path))


def conformance(tools, build):
    config = os.path.join(tools.folder, 'conformance.yaml')
    with open(config, 'w', encoding='ascii') as file:
        file.write(CONFIG)
    known = [word for name in CONFORMANCE_KNOWN for word in ('--known-failing', name)]
    done = run([tools.go_tool('connectconformance'), '--conf', config, '--mode', 'server'] + known +
               ['--', os.path.join(build, 'tests/control/conformance_server')])
    found = re.search(r'(\d+) passed, (\d+) failed', done.stdout)
    if not found or done.returncode != 0:
        print(done.stdout[-5000:])
    return (int(found.group(1)), int(found.group(2))) if found else (0, 1)


def interop(tools, build):
    passed, failed = 0, 0
    with probe(build) as port:
        for case in INTEROP_CASES:
            done = run([tools.go_tool('client'), '--server_host=127.0.0.1', '--server_port=' + port, '--test_case=' + case])
            passed, failed = passed + (done.returncode == 0), failed + (done.returncode != 0)
            if done.returncode != 0:
                print(f'interop {case}: {done.stdout[-1000:]}')
    return passed, failed


def h2spec(tools, build):
    with probe(build) as port:
        output = run([tools.go_tool('h2spec'), '-h', '127.0.0.1', '-p', port, '-P', '/x', '-o', '5']).stdout
    found = re.search(r'(\d+) tests, (\d+) passed, (\d+) skipped, (\d+) failed', output)
    if not found:
        print(output[-3000:])
        return 0, 1
    section, failures = '', set()
    for line in output[output.find('Failures:'):].splitlines() if 'Failures:' in output else ():
        heading, case = re.match(r'\s+(\d[\d.]*\. .*)', line), re.match(r'\s+\S \d+: (.*)', line)
        if heading:
            section = heading.group(1)
        elif case:
            failures.add(f'{section}: {case.group(1)}')
    for name in sorted(failures - H2SPEC_KNOWN):
        print(f'h2spec fails: {name}')
    for name in sorted(H2SPEC_KNOWN - failures):
        print(f'h2spec passes what is known to fail: {name}')
    for name in sorted(H2SPEC_KNOWN & failures):
        print(f'h2spec, known: {name}')
    return int(found.group(2)) + len(H2SPEC_KNOWN & failures), len(failures ^ H2SPEC_KNOWN) + int(found.group(3))


def grpc_js(tools, build):
    node, modules = tools.node_modules()
    with probe(build) as port, holdfast(build, tools.folder) as address:
        done = run([node, os.path.join(peer_tools.PACKAGES, 'grpc_js.js'), '127.0.0.1:' + port,
                    os.path.join(ROOT, 'tests/control/probe.proto'), address, os.path.join(ROOT, 'proto')],
                   env=dict(tools.env, NODE_PATH=modules))
    lines = done.stdout.splitlines()
    passed, failed = sum(line.startswith('ok ') for line in lines), sum(line.startswith('not ok ') for line in lines)
    if done.returncode != 0:
        print('\n'.join(line for line in lines if not line.startswith('ok '))[-5000:])
    return passed, failed + (done.returncode != 0 and failed == 0)


def schemathesis(tools, build):
    with holdfast(build, tools.folder) as address:
        output = run([tools.schemathesis(), 'run', f'http://{address}/openapi.json', *SCHEMATHESIS], cwd=tools.folder).stdout
    generated, operation, failures = re.search(r'^ *(\d+) generated', output, re.M), '?', set()
    for line in output.splitlines():
        heading, failure = re.match(r'_+ ([A-Z]+ /\S*) _+$', line), re.match(r'- (ST\d+) ', line)
        operation = heading.group(1) if heading else operation
        if failure:
            failures.add(f'{failure.group(1)} {operation}')
    known = {failure for failure in failures if failure.startswith(SCHEMATHESIS_KNOWN)}
    if not generated or 'ERRORS' in output or failures - known:
        print(output[-20000:])
        return 0, max(1, len(failures - known))
    for word in SCHEMATHESIS_KNOWN:
        print(f'schemathesis, known: {word} on {sum(failure.startswith(word) for failure in known)} paths')
    missing = sum(not any(failure.startswith(word) for failure in known) for word in SCHEMATHESIS_KNOWN)
    return int(generated.group(1)) - missing, missing


def buf(tools, _):
    node, modules = tools.node_modules()
    done = run([node, os.path.join(modules, '@bufbuild/buf/bin/buf'), 'lint'], cwd=os.path.join(ROOT, 'proto'), env=tools.env)
    print(done.stdout[-5000:], end='')
    return (1, 0) if done.returncode == 0 else (0, max(1, len(done.stdout.splitlines())))


SUITES = {suite.__name__: suite for suite in (conformance, interop, h2spec, grpc_js, buf, schemathesis)}


def main(build, *names):
    build = os.path.abspath(build)
    folder = os.path.join(build, 'peers')
    os.makedirs(folder, exist_ok=True)
    tools = peer_tools.Tools(folder)
    total = [0, 0]
    for name in names or SUITES:
        began = time.monotonic()
        passed, failed = SUITES[name](tools, build)
        print(f'{name}: {passed} passed, {failed} failed, {time.monotonic() - began:.0f} s')
        total = [total[0] + passed, total[1] + failed]
    print(f'{total[0]} passed, {total[1]} failed, 0 skipped')
    return 0 if total[1] == 0 and total[0] > 0 else 1


if __name__ == '__main__':
    sys.stdout.reconfigure(line_buffering=True)
    sys.exit(main(*sys.argv[1:]))
