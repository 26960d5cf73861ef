"""Draws the rows of `bench/run all` as one SVG: what has a goal against its goal, then every rate on a logarithmic scale."""

import math
from xml.sax.saxutils import escape

WIDTH, LABELS, RIGHT, ROW, BAR = 1100, 330, 300, 26, 16
INK, PALE, GOOD, SHORT, PLAIN = '#1f2933', '#d5dbe1', '#2f855a', '#c05621', '#3b6ea5'


def text(x, y, said, size=13, anchor='start', weight='normal', fill=INK):
    return (f'<text x="{x:.0f}" y="{y:.0f}" font-size="{size}" text-anchor="{anchor}" font-weight="{weight}" fill="{fill}">'
            f'{escape(said)}</text>')


def bar(y, share, fill):
    width = max(2.0, share * (WIDTH - LABELS - RIGHT))
    return f'<rect x="{LABELS}" y="{y}" width="{width:.1f}" height="{BAR}" rx="2" fill="{fill}"/>'


def short(number):
    for size, letter in ((1e9, 'G'), (1e6, 'M'), (1e3, 'k')):
        if abs(number) >= size:
            return f'{number / size:.3g} {letter}'
    return f'{number:.3g}'


def row_of(y, label, share, fill, said):
    middle = y + BAR - 4
    return [text(LABELS - 10, middle, label, anchor='end'), bar(y, share, fill),
            text(LABELS + max(2.0, share * (WIDTH - LABELS - RIGHT)) + 8, middle, said)]


def goals_drawn(rows, top):
    """One bar a row that has a goal: how much of the goal was reached; the line is the goal."""
    rows = [row for row in rows if row.get('goal') and row['ratio'] is not None]
    if not rows:
        return [], top
    made, full = [text(20, top, 'Against the goals (the line)', 16, weight='bold')], 1.6
    top += 16
    for number, row in enumerate(rows):
        reached = row['ratio'] / row['goal']
        made += row_of(top + number * ROW, row['case'], min(reached, full) / full, GOOD if reached >= 1 else SHORT,
                       f"{row['ratio']:.3g} × {row['against']} (goal {row['goal']:g})")
    x, bottom = LABELS + (WIDTH - LABELS - RIGHT) / full, top + len(rows) * ROW
    made.append(f'<line x1="{x:.0f}" y1="{top - 4}" x2="{x:.0f}" y2="{bottom - 6}" stroke="{INK}" stroke-width="2"/>')
    return made, bottom + 34


def once_each(rows):
    seen = {}
    for row in rows:
        seen.setdefault(row['case'], row)
    return list(seen.values())


def rates_drawn(rows, top):
    """Every rate once, on a logarithmic scale over the decades that they span."""
    rows = once_each([row for row in rows if str(row['unit']).endswith('/s') and row['value'] > 0])
    if not rows:
        return [], top
    low = math.floor(math.log10(min(row['value'] for row in rows)))
    decades = max(1, math.ceil(math.log10(max(row['value'] for row in rows))) - low)
    made, bottom = [text(20, top, 'Rates (logarithmic)', 16, weight='bold')], top + 16 + len(rows) * ROW
    for decade in range(decades + 1):
        x = LABELS + decade / decades * (WIDTH - LABELS - RIGHT)
        made.append(f'<line x1="{x:.0f}" y1="{top + 10}" x2="{x:.0f}" y2="{bottom}" stroke="{PALE}"/>')
        made.append(text(x, bottom + 14, short(10.0 ** (low + decade)), 11, 'middle'))
    for number, row in enumerate(rows):
        made += row_of(top + 16 + number * ROW, row['case'], (math.log10(row['value']) - low) / decades, PLAIN,
                       f"{short(row['value'])} {row['unit']}, spread {row['spread']:.0%}")
    return made, bottom + 40


def drawn(rows):
    first = rows[0]
    where = f"{first['machine']}; Linux {first['kernel']}; commit {first['commit']}{' (dirty)' if first['dirty'] else ''}"
    made = [text(20, 32, 'Holdfast', 20, weight='bold'), text(20, 52, where, 12)]
    goals, top = goals_drawn(rows, 90)
    rates, bottom = rates_drawn(rows, top)
    body = '\n'.join(made + goals + rates)
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{bottom}" viewBox="0 0 {WIDTH} {bottom}" '
            f'font-family="system-ui, sans-serif">\n<rect width="100%" height="100%" fill="#ffffff"/>\n{body}\n</svg>\n')
