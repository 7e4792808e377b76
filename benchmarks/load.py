"""How fast images become batches: the article's loader, the first pass, later passes.

    python benchmarks/load.py data/celebA/img_align_celeba

The baseline decodes every image again in every epoch, in one process. The first pass is
one build of the cache, in an empty folder; later passes read it. Batches of 16, shuffled.
Each figure is the median of the repeats, with the lowest and the highest.
"""
import argparse
import os
import platform
import statistics
import tempfile
import time
from pathlib import Path

import PIL
import runs  # noqa: F401  (puts this repository on the path)
import torch
from baseline import baseline_loader

from dldemos.VAE.load_celebA import CelebADataset, batches
from dldemos.VAE.training.speed import keep_freed_memory


def images_per_second(loader, passes):
    """Images/s of so many whole passes."""
    start = time.perf_counter()
    count = sum(len(batch) for _ in range(passes) for batch in loader)
    return count / (time.perf_counter() - start)


def first_pass(root, n_images):
    """Images/s of building a cache in a new folder; a source of links where n_images < all."""
    with tempfile.TemporaryDirectory(dir=Path(root).absolute().parent) as folder:
        source = Path(folder) / 'images'
        source.mkdir()
        for name in sorted(os.listdir(root))[:n_images]:
            os.link(Path(root) / name, source / name)
        start = time.perf_counter()
        dataset = CelebADataset(source)
        speed = len(dataset) / (time.perf_counter() - start)
        loader = batches(dataset)
        images_per_second(loader, 1)                       # warm-up
        later = images_per_second(loader, max(3, 20000 // n_images))
    return speed, later


def show(values):
    return f'{statistics.median(values):>9,.0f} ({min(values):,.0f} - {max(values):,.0f})'


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('root')
    parser.add_argument('--repeats', type=int, default=3)
    args = parser.parse_args()
    keep_freed_memory()
    n_all = len(os.listdir(args.root))
    print(f'{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, '
          f'torch {torch.__version__}, Pillow {PIL.__version__}; images/s, batches of 16')
    print(f'{"images":>7}  {"baseline":>24}  {"first pass":>24}  {"later passes":>30}  '
          f'first/baseline  later/baseline')
    for n_images in sorted({min(1000, n_all), min(4000, n_all), n_all}):
        baseline, first, later = [], [], []
        for _ in range(args.repeats):
            baseline.append(images_per_second(baseline_loader(args.root, n_images), 1))
            speeds = first_pass(args.root, n_images)
            first.append(speeds[0])
            later.append(speeds[1])
        base = statistics.median(baseline)
        ratios = statistics.median(first) / base, statistics.median(later) / base
        print(f'{n_images:>7}  {show(baseline):>24}  {show(first):>24}  {show(later):>30}  '
              f'{ratios[0]:>10.2f}x  {ratios[1]:>10.1f}x')


if __name__ == '__main__':
    main()
