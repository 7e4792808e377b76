"""How fast images become batches: the article's loader, the first pass, later passes.

    python benchmarks/load.py data/celebA/img_align_celeba

The baseline decodes every image again in every epoch, in one process. The first pass is
one build of the cache, in an empty folder; later passes read it. Batches of 16, shuffled.
Each figure is the median of the repeats, with the lowest and the highest.
"""
import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

from baseline import baseline_loader
from runs import machine, middle, table

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


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('root')
    parser.add_argument('--repeats', type=int, default=3)
    args = parser.parse_args()
    keep_freed_memory()
    n_all = len(os.listdir(args.root))
    print(f'{machine()}; images/s, batches of 16')
    rows = []
    for n_images in sorted({min(1000, n_all), min(4000, n_all), n_all}):
        baseline, first, later = [], [], []
        for _ in range(args.repeats):
            baseline.append(images_per_second(baseline_loader(args.root, n_images), 1))
            speeds = first_pass(args.root, n_images)
            first.append(speeds[0])
            later.append(speeds[1])
        base = statistics.median(baseline)
        ratios = statistics.median(first) / base, statistics.median(later) / base
        rows.append((f'{n_images:,}', middle(baseline), middle(first), middle(later),
                     *(f'{ratio:.2f}x' for ratio in ratios)))
    table(('images', 'baseline', 'first pass', 'later passes', 'first/baseline', 'later/baseline'),
          rows)


if __name__ == '__main__':
    main()
