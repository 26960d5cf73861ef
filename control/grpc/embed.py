#!/usr/bin/env python3
"""embed.py IN OUT SYMBOL: writes the bytes of IN as a C array SYMBOL, with their number as SYMBOL_bytes."""

import sys


def main(source, target, symbol):
    with open(source, 'rb') as file:
        data = file.read()
    rows = [', '.join(str(byte) for byte in data[at:at + 24]) for at in range(0, len(data), 24)]
    with open(target, 'w', encoding='ascii') as file:
        file.write(f'#include <stddef.h>\nextern const unsigned char {symbol}[];\nextern const size_t {symbol}_bytes;\n'
                   f'const unsigned char {symbol}[] = {{\n' + ',\n'.join(rows) + f'}};\nconst size_t {symbol}_bytes = {len(data)};\n')


if __name__ == '__main__':
    main(*sys.argv[1:])
