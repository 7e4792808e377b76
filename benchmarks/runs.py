"""The program as a user starts it, in a process and a folder of its own: what it leaves behind."""
import csv
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

REPOSITORY = Path(__file__).absolute().parents[1]
sys.path.insert(0, str(REPOSITORY))        # for all benchmarks, which import this


def run(root, actions, options, seed, environment=None):
    """Run actions of main on the images of `root`.

    Returns:
        {name: value} of the last row of its log, and of `evaluate` where that is among them;
        'rows': all rows of its log.
    """
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            [sys.executable, '-m', 'dldemos.VAE.main', *actions, '--data_root', root,
             '--seed', str(seed), *options.split()], cwd=folder, check=True,
            stdout=subprocess.DEVNULL,
            env={**os.environ, 'PYTHONPATH': str(REPOSITORY), **(environment or {})})
        work_dir = Path(folder) / 'work_dirs'
        with open(work_dir / 'log.csv') as file:
            rows = [{name: float(value) for name, value in row.items()}
                    for row in csv.DictReader(file)]
        metrics = {**rows[-1], 'rows': rows}
        if 'evaluate' in actions:
            metrics |= json.loads((work_dir / 'evaluate.json').read_text())
    return metrics


def run_each(root, actions, list_of_options, seeds, jobs):
    """Yield (options, the metrics of each seed); so many jobs run at once.

    Each run has one core: its losses are those of any run, its times are not.
    """
    with ThreadPoolExecutor(jobs) as pool:
        runs = [[pool.submit(run, root, actions, options, seed, {'OMP_NUM_THREADS': '1'})
                 for seed in seeds] for options in list_of_options]
        for options, of_seeds in zip(list_of_options, runs):
            yield options, [job.result() for job in of_seeds]


def machine():
    """What a measurement was made on."""
    return (f'{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, '
            f'torch {torch.__version__}')


def table(head, rows):
    """Print a Markdown table."""
    print(f'| {" | ".join(head)} |\n' + '| --- ' * len(head) + '|')
    for row in rows:
        print(f'| {" | ".join(row)} |', flush=True)


def middle(values, digits=0):
    """'median (lowest - highest)'"""
    return (f'{statistics.median(values):,.{digits}f} ({min(values):,.{digits}f} - '
            f'{max(values):,.{digits}f})')


def spread(values, digits):
    """'mean (lowest - highest)', or the mean alone where all are alike"""
    mean, low, high = (f'{v:.{digits}f}' for v in (statistics.mean(values), min(values),
                                                   max(values)))
    return mean if low == high else f'{mean} ({low} - {high})'
