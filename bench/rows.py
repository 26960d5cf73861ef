"""What a bench prints: rows with their machine, kernel and commit, medians and spreads."""

import functools
import json
import os
import platform
import statistics
import subprocess
import sys

from engine import ROOT


def median(values):
    return statistics.median(values)


def spread(values):
    middle = median(values)
    return (max(values) - min(values)) / middle if middle else 0.0


def git(*arguments):
    done = subprocess.run(['git', '-c', 'safe.directory=*', *arguments], cwd=ROOT, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, check=False)
    return done.stdout.decode().strip() if done.returncode == 0 else None


def cpu_name():
    try:
        with open('/proc/cpuinfo', encoding='utf-8', errors='replace') as info:
            return next(line.split(':', 1)[1].strip() for line in info if line.startswith(('model name', 'Model')))
    except (OSError, StopIteration):
        return platform.machine()


def disk_interrupts(since=None):
    """Interrupts of disks by CPU: so far, or since an earlier answer."""
    with open('/proc/interrupts', encoding='ascii', errors='replace') as table:
        cpus = len(table.readline().split())
        rows = [line.split() for line in table if 'nvme' in line or 'ahci' in line or ('virtio' in line and 'req' in line)]
    counts = [sum(int(one[1 + cpu]) for one in rows) for cpu in range(cpus)]
    return [now - then for then, now in zip(since, counts)] if since else counts


@functools.cache
def circumstances():
    memory = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30
    dirty = git('status', '--porcelain', '--untracked-files=no')
    return {
        'machine': f'{cpu_name()}, {os.cpu_count()} CPUs, {memory:.0f} GiB',
        'kernel': platform.release(),
        'commit': git('rev-parse', '--short=12', 'HEAD') or 'unknown',
        'dirty': bool(dirty) if dirty is not None else None,
    }


def row(bench, case, values, unit, against=None, against_values=None, **more):
    """A row from the runs' values. The ratio is that of the medians; a ratio of one's own may be given as `ratio`."""
    value = median(values)
    against_value = median(against_values) if against_values else None
    made = {
        'bench': bench, 'case': case, 'value': round(value, 3), 'unit': unit, 'against': against,
        'ratio': round(value / against_value, 4) if against_value else None,
        'runs': len(values), 'spread': round(spread(values), 4), **circumstances(),
    }
    if against_value:
        made['against_value'] = round(against_value, 3)
        made['against_spread'] = round(spread(against_values), 4)
    made['values'] = [round(one, 3) for one in values]
    made.update(more)
    return made


def adopted(bench, line):
    """A row from a bench program that has done its own runs and medians."""
    return {'bench': bench, 'against': None, 'ratio': None, **line, **circumstances()}


class Printer:
    def __init__(self, as_json):
        self.as_json, self.rows = as_json, []

    def add(self, made):
        self.rows.append(made)
        if self.as_json:
            print(json.dumps(made), flush=True)
            return
        ratio = f"{made['ratio']:.3g} x {made['against']}" if made['ratio'] is not None else ''
        print(f"{made['case']:<34} {made['value']:>14,.6g} {made['unit']:<10} {ratio:<28} {made['runs']} runs, spread {made['spread']:.1%}",
              flush=True)

    def note(self, text):
        print(f'bench/run: {text}', file=sys.stderr, flush=True)
