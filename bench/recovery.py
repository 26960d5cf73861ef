"""How fast a log becomes a state again: `holdfast journal replay` on one core, and a start of holdfastd until it is ready.

The log is written by step_bench with the file backend, so that it holds only what placing orders writes, and read from the page cache as
far as that reaches.
"""

import os

from engine import Engine, Failed, pinned, program, run_json, scratch
from rows import row

SKUS = 1 << 20
SPARE = 4096
CPU = 1


def sizes(orders):
    return ['--max-skus', str(SKUS + SPARE), '--max-cells', str(SKUS + SPARE), '--max-orders', str(orders), '--max-lines', str(orders),
            '--max-command-ids', str(2 * SKUS + SPARE)]


def log_bytes(data):
    return sum(os.path.getsize(os.path.join(where, name)) for where, _, names in os.walk(data) for name in names)


def run(printer, quick):
    orders = 10000000 if quick else 14000000
    # The step that it is compared with has its tables of that size, touched before its clock starts.
    fitting = ['--prefault', '--max-orders', str(orders + 200000), '--max-skus', str(SKUS + 4096), '--max-cells', str(SKUS + 4096),
               '--max-lines', '1000', '--max-command-ids', str(2 * SKUS + 200000), '--max-limits', '1000']
    step = pinned(CPU, [program('step_bench'), '--case', '1m-skus', '--orders', str(orders)])
    with scratch('bench-data') as directory:
        data = os.path.join(directory, 'data')
        run_json([*step, '--data', data])
        replays, steps, starts = [], [], []
        for _ in range(3 if quick else 5):
            replays.append(run_json(pinned(CPU, [program('holdfast'), 'journal', 'replay', '--data', data, '--json',
                                            *fitting])))
            steps.append(run_json(step)['value'])
        bytes_on_disk = log_bytes(data)
        for _ in range(2 if quick else 3):
            with Engine(data, sizes(2 * orders), CPU) as engine:
                starts.append(engine.ready_seconds)
                engine.stop()
    records = replays[0]['records']
    if any((one['records'], one['digest']) != (records, replays[0]['digest']) for one in replays):
        raise Failed('replays of one log differ')
    told = {'records': records, 'log_bytes': bytes_on_disk, 'digest': replays[0]['digest'], 'skus': SKUS, 'orders': orders}
    printer.add(row('recovery', 'recovery/replay', [one['records_per_s'] for one in replays], 'records/s', 'step/1m-skus', steps,
                    goal=0.8, **told))
    printer.add(row('recovery', 'recovery/restart', starts, 's', conditions='holdfastd from its start until ready', **told,
                    records_per_s=round(records / (sum(starts) / len(starts)))))
