"""What the benchmarks share: their command line, the program in a process of its own, tables."""
import argparse
import csv
import inspect
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from functools import partial
from itertools import chain
from pathlib import Path

import torch

REPOSITORY = Path(__file__).absolute().parents[1]
ENVIRONMENT = {**os.environ, 'PYTHONPATH': str(REPOSITORY)}
sys.path.insert(0, str(REPOSITORY))        # for all benchmarks, which import this

from dldemos.VAE.support.errors import exit_status  # noqa: E402


def make_parser(description, *functions):
    """A parser with a sub-command for each function.

    A parameter without a default is an argument, one with a default an option of its name: of the
    default's type, a list where that is a tuple, a switch where it is False.
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, metavar='COMMAND')
    for function in functions:
        about = inspect.getdoc(function)
        command = commands.add_parser(function.__name__, help=about.splitlines()[0],
                                      description=about)
        command.set_defaults(function=function)
        for name, parameter in inspect.signature(function).parameters.items():
            default = parameter.default
            if default is parameter.empty:
                command.add_argument(name)
            elif default is False:
                command.add_argument(f'--{name}', action='store_true')
            else:
                several = isinstance(default, tuple)
                command.add_argument(f'--{name}', default=default, nargs='+' if several else None,
                                     type=type(default[0] if several else default),
                                     help='default: %(default)s')
    return parser


def main(parser):
    """Call the function that the command line names; the exit status."""
    arguments = vars(parser.parse_args())
    return exit_status(partial(arguments.pop('function'), **arguments))


def python(*arguments, folder, **environment):
    """Run Python in a folder, with this repository on its path; what it prints is dropped."""
    subprocess.run([sys.executable, *arguments], cwd=folder, check=True, stdout=subprocess.DEVNULL,
                   env={**ENVIRONMENT, **environment})


def train(root, options, seed=0):
    """Train on the images of `root` as a user does, in a process and a folder of its own.

    Returns:
        The rows of its log, {name: number}.
    """
    with tempfile.TemporaryDirectory() as folder:
        python('-m', 'dldemos.VAE.main', 'train', '--data_root', os.path.abspath(root),
               '--seed', str(seed), *options.split(), folder=folder)
        with open(Path(folder) / 'work_dirs/log.csv') as file:
            return [{name: float(value) for name, value in row.items() if value}
                    for row in csv.DictReader(file)]


def machine():
    """The machine and the versions, in words."""
    return (f'{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, '
            f'torch {torch.__version__}')


def spread(values, digits, middle=statistics.mean):
    """'mean (lowest - highest)', or the mean alone where all are alike"""
    mean, low, high = (f'{value:,.{digits}f}' for value in (middle(values), min(values),
                                                            max(values)))
    return mean if low == high else f'{mean} ({low} - {high})'


def table(head, rows):
    """Print a table in Markdown, each row as soon as it comes."""
    for row in chain([head, ['---'] * len(head)], rows):
        print(f'| {" | ".join(row)} |', flush=True)
    print()


def balanced_accuracy(said, has):
    """The mean of the shares of those with and without it that are said rightly; bool (N,) both."""
    return (said[has].float().mean() + (~said[~has]).float().mean()).item() / 2
