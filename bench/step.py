"""Engine step and log append on one core, without transport or disk, against the hot path's bare memory traffic."""

from engine import pinned, program, run_json
from rows import row

CPU = 1


def ceiling_run(orders):
    return run_json(pinned(CPU, [program('hot_path_ceiling'), '--orders', str(orders)]))


def step_run(case, *options):
    return run_json(pinned(CPU, [program('step_bench'), '--case', case, *options]))


def told(runs, *keys):
    return {key: runs[-1][key] for key in keys}


def run(printer, quick):
    orders = 6000000 if quick else 14000000
    few = orders // 2
    runs = {'ceiling': [], '1m-skus': [], 'three-line': [], 'hot-sku': [], 'steady': []}
    for number in range(3 if quick else 5):
        runs['ceiling'].append(ceiling_run(orders))
        runs['1m-skus'].append(step_run('1m-skus', '--orders', str(orders)))
        runs['three-line'].append(step_run('three-line', '--orders', str(few)))
        runs['hot-sku'].append(step_run('hot-sku', '--orders', str(few)))
        if not quick or number == 0:
            runs['steady'].append(step_run('steady', '--seconds', '6' if quick else '10'))
    values = {case: [one['orders_per_s' if case == 'ceiling' else 'value'] for one in made] for case, made in runs.items()}
    keys = ('ns_per_order', 'skus', 'lines', 'orders', 'batch', 'ttl_ms', 'retention_s', 'max_orders', 'record_bytes_per_order', 'log')
    conditions = 'one core, null log backend, tables touched beforehand'
    printer.add(row('step', 'step/ceiling', values['ceiling'], 'orders/s', skus=runs['ceiling'][-1]['skus'], orders=orders))
    printer.add(row('step', 'step/1m-skus', values['1m-skus'], 'orders/s', 'ceiling', values['ceiling'], goal=0.6, conditions=conditions,
                    **told(runs['1m-skus'], *keys)))
    for case in ('three-line', 'hot-sku'):
        printer.add(row('step', f'step/{case}', values[case], 'orders/s', 'step/1m-skus', values['1m-skus'], conditions=conditions,
                        **told(runs[case], *keys)))
    printer.add(row('step', 'step/steady', values['steady'], 'orders/s', 'step/1m-skus', values['1m-skus'], conditions=conditions,
                    **told(runs['steady'], *keys, 'seconds', 'swept', 'forgotten', 'marks', 'sweep_lag_ms', 'orders_kept')))
