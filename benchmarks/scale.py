"""The program at CelebA's size: the time and the own memory of what looks at all images.

    python benchmarks/scale.py data/celebA/img_align_celeba

Hard-links the images of a folder under new names until there are 202,599, in a temporary
folder beside it, and needs 2.5 GB there. Each row is a command in a process of its own, from its
start to its end: seconds, those of the processor among them, and the largest RssAnon seen, memory
without the mapped pages of the cache. The weights are the bundled ones, which know nine tenths of
these images by their looks; for priors and directions all but the same ones without a manifest, to
whose codes these are fitted for the first half of the images.
"""
import argparse
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from runs import REPOSITORY, table

from dldemos.VAE.latent.attributes import SHOWN_ATTRIBUTES
from dldemos.VAE.weights import PRETRAINED

OPEN = 'from dldemos.VAE.load_celebA import *; next(iter(batches(CelebADataset("{root}"))))'
BUNDLED, OWN = '--ckpt_path pretrained', '--ckpt_path model.pth'
STEPS = (                    # (what it is, arguments of Python)
    ('build the cache, first batch', ['-c', OPEN]),
    ('first batch again', ['-c', OPEN]),
    ('reconstruct', f'reconstruct {BUNDLED}'),
    ('generate --n_samples 20000', f'generate --n_samples 20000 {BUNDLED}'),
    ('the same with --save_images', f'generate --n_samples 20000 --save_images faces {BUNDLED}'),
    ('evaluate, priors fitted before', f'evaluate {BUNDLED}'),
    ('generate --prior gaussian, fitted', f'generate --prior gaussian {OWN}'),
    ('generate --prior flow, fitted', f'generate --prior flow {OWN}'),
    ('attributes, fitted', f'attributes {OWN}'),
)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('root')
    parser.add_argument('--sizes', type=int, nargs='+', default=[20260, 202599])
    parser.add_argument('--only', default='', help='a word in the name of each step')
    args = parser.parse_args()
    root = Path(args.root).absolute()
    steps = [step for step in STEPS if args.only in step[0] or step is STEPS[0]]
    columns = [measure(root, size, steps) for size in args.sizes]
    table(('', *(f'{size:,} images' for size in args.sizes)),
          ((name, *(column[name] for column in columns)) for name, _ in steps))


def measure(root, size, steps):
    """{name of a step: 'seconds (of the processor), MB'} for so many images."""
    found = {}
    with tempfile.TemporaryDirectory(dir=root.parent) as folder:
        source = Path(folder) / 'img_align_celeba'
        link_images(root, source, size)
        weights = torch.load(PRETRAINED, weights_only=True)
        weights['mean_linear.bias'] += 1e-6           # or a copy would be known, and its priors too
        torch.save(weights, Path(folder) / 'model.pth')
        for name, arguments in steps:
            if isinstance(arguments, str):
                arguments = ['-m', 'dldemos.VAE.main', *arguments.split(),
                             '--data_root', '{root}']
            seconds, of_cpu, memory = watch([word.format(root=source) for word in arguments],
                                            folder)
            found[name] = f'{seconds:.0f} s ({of_cpu:.0f}), {memory:.0f} MB'
            print(f'{size:,} images, {name}: {found[name]}', file=sys.stderr, flush=True)
    return found


def link_images(root, source, size):
    """Make the folder `source` of so many images, with a list of random attributes beside it."""
    names = sorted(path.name for path in root.iterdir() if path.suffix == '.jpg')
    header = [*SHOWN_ATTRIBUTES, *(f'Other_{i}' for i in range(40 - len(SHOWN_ATTRIBUTES)))]
    source.mkdir()
    chance = random.Random(0)
    with open(source.with_name('list_attr_celeba.txt'), 'w') as file:
        print(size, ' '.join(header), sep='\n', file=file)
        for i in range(size):
            os.link(root / names[i % len(names)], source / f'{i + 1:06}.jpg')
            print(f'{i + 1:06}.jpg', *chance.choices(('1', '-1'), k=40), file=file)


def watch(arguments, folder):
    """Run Python: its seconds, those of the processor, and its largest own memory in MB."""
    start, cpu_before, most = time.perf_counter(), cpu_of_children(), 0
    with subprocess.Popen([sys.executable, *arguments], cwd=folder, stdout=subprocess.DEVNULL,
                          env={**os.environ, 'PYTHONPATH': str(REPOSITORY)}) as process:
        while process.poll() is None:
            most = max(most, own_memory(process.pid))
            time.sleep(0.02)
    if process.returncode:
        raise SystemExit(f'{" ".join(arguments)} ended with {process.returncode}')
    return time.perf_counter() - start, cpu_of_children() - cpu_before, most / 1024


def cpu_of_children():
    """Seconds that processors gave to the processes started here that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def own_memory(pid):
    """RssAnon of a process in KB: its resident memory, mapped files apart."""
    try:
        status = Path(f'/proc/{pid}/status').read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    fields = dict(line.split(':', 1) for line in status.splitlines())
    return int(fields.get('RssAnon', '0').split()[0])


if __name__ == '__main__':
    main()
