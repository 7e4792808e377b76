"""The cache at CelebA's size: build time, the process's own memory, and a warm start.

    python benchmarks/scale.py data/celebA/img_align_celeba

Hard-links the images of a folder under new names until there are 202,599, in a temporary
folder beside it, and needs 2.5 GB there.
"""
import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

MEASURE = '''
import resource, time
import torch
from dldemos.VAE.load_celebA import CelebADataset, batches

def own_memory():  # MB, mapped files apart
    fields = dict(line.split(':') for line in open('/proc/self/status'))
    return int(fields['RssAnon'].split()[0]) / 1024

start = time.perf_counter()
dataset = CelebADataset({root!r})
opened = time.perf_counter() - start
batch = next(iter(batches(dataset)))
first = time.perf_counter() - start
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(f'{{len(dataset)}} images: opened in {{opened:.2f}} s, first batch after {{first:.2f}} s, '
      f'own memory {{own_memory():.0f}} MB at the end, {{peak:.0f}} MB at most with mapped pages')
'''


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('root')
    parser.add_argument('--sizes', type=int, nargs='+', default=[20260, 202599])
    args = parser.parse_args()
    root = Path(args.root).absolute()
    names = sorted(path.name for path in root.iterdir() if path.suffix == '.jpg')
    for size in args.sizes:
        with tempfile.TemporaryDirectory(dir=root.parent) as folder:
            source = Path(folder) / 'img_align_celeba'
            source.mkdir()
            for i in range(size):
                os.link(root / names[i % len(names)], source / f'{i + 1:06}.jpg')
            for label in ('build', 'warm ', 'warm '):
                print(label, end=' ', flush=True)
                subprocess.run([sys.executable, '-c', MEASURE.format(root=str(source))],
                               check=True, cwd=Path(__file__).parents[1],
                               stderr=subprocess.DEVNULL)


if __name__ == '__main__':
    main()
