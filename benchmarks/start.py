"""How long it takes until something happens: starting, beside what importing torch takes.

    python benchmarks/start.py

Each command runs in a process of its own, in an empty folder; they take turns. The floor is what
any program of torch and torchvision waits for.
"""
import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time

from runs import REPOSITORY, machine, middle, table

COMMANDS = {
    'import torch, torchvision (the floor)': ['-c', 'import torch, torchvision'],
    '--help': ['-m', 'dldemos.VAE.main', '--help'],
    'generate': ['-m', 'dldemos.VAE.main', 'generate'],
    'generate --ckpt_path sharp': ['-m', 'dldemos.VAE.main', 'generate', '--ckpt_path', 'sharp'],
    'interpolate': ['-m', 'dldemos.VAE.main', 'interpolate'],
    'explore': ['-m', 'dldemos.VAE.main', 'explore'],
}


def seconds(arguments):
    """Seconds of a whole process, in an empty folder."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        subprocess.run([sys.executable, *arguments], cwd=folder, check=True,
                       stdout=subprocess.DEVNULL,
                       env={**os.environ, 'PYTHONPATH': str(REPOSITORY)})
        return time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--repeats', type=int, default=7)
    args = parser.parse_args()
    print(f'{machine()}; median (lowest - highest) of {args.repeats} turns')
    for arguments in COMMANDS.values():
        seconds(arguments)                                 # from disk into memory
    times = {name: [] for name in COMMANDS}
    for _ in range(args.repeats):
        for name, arguments in COMMANDS.items():
            times[name].append(seconds(arguments))
    floor, *_ = times.values()
    table(('command', 'seconds', 'ratio to the floor'), (
        (name, middle(values, 1),
         f'{statistics.median(value / least for value, least in zip(values, floor)):.2f}')
        for name, values in times.items()))


if __name__ == '__main__':
    main()
