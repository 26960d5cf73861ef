#!/usr/bin/env python3
"""generate.py PROTOC PLUGIN ROOT FOLDER OUT NAME...: protobuf-c's code for ROOT/FOLDER/NAME.proto, written to OUT without the folders.

meson wants the outputs of a rule in one directory, protoc writes them into the proto's own folders and includes them from there.
"""

import os
import subprocess
import sys
import tempfile


def main(protoc, plugin, root, folder, out, *names):
    with tempfile.TemporaryDirectory() as scratch:
        subprocess.run([protoc, f'--plugin=protoc-gen-c={plugin}', '-I', root, f'--c_out={scratch}']
                       + [os.path.join(root, folder, name + '.proto') for name in names], check=True)
        for name in names:
            for kind in ('.pb-c.c', '.pb-c.h'):
                with open(os.path.join(scratch, folder, name + kind), encoding='utf-8') as file:
                    text = file.read()
                with open(os.path.join(out, name + kind), 'w', encoding='utf-8') as file:
                    file.write(text.replace(f'#include "{folder}/', '#include "'))


if __name__ == '__main__':
    main(*sys.argv[1:])
