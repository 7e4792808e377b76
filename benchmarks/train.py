"""Training speed and time to a held-out loss: the article's program against this one, in one run.

    python benchmarks/train.py data/celebA/img_align_celeba

1. Time to the loss: the baseline's lowest held-out loss at the end of an epoch and the time
   that it took; then `--recipe quick` and the default as a user starts them, in a process of
   their own, with import, decoding and saving.
2. Images/s with data loading: the baseline (decode each time, constant learning rate), then
   this program's epochs with the batch and the optimizer of the default and of `--recipe quick`,
   and the share of the floor that this machine's matrix product sets.
"""
import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import torch
from baseline import baseline_epoch, baseline_loader
from runs import machine, middle, run
from tqdm import tqdm

from dldemos.VAE import main as program
from dldemos.VAE.load_celebA import CelebADataset, batches, split
from dldemos.VAE.model import VAE
from dldemos.VAE.training.muon import Muon
from dldemos.VAE.training.speed import faster_layers, keep_freed_memory
from dldemos.VAE.training.steps import Totals, average_terms, to_device

FLOPS_PER_IMAGE = 85.5e6         # forward and backward, multiplications and additions


def floor():
    """Images/s at which the model's arithmetic runs as fast as a large matrix product."""
    a = torch.rand(2048, 2048)
    times = []
    for _ in range(8):
        start = time.perf_counter()
        a @ a
        times.append(time.perf_counter() - start)
    return 2 * 2048**3 / statistics.median(times[2:]) / FLOPS_PER_IMAGE


def baseline_speed(root, n_images, batch_size):
    """Images/s of an epoch of the baseline, in a process that has nothing of this one's."""
    done = subprocess.run([sys.executable, Path(__file__).with_name('baseline.py'), root,
                           str(n_images), str(batch_size), str(program.kl_weight)],
                          check=True, text=True, stdout=subprocess.PIPE)
    return float(done.stdout)


def own_epochs(root, n_images, batch_size, optimizer):
    """A generator of images/s of one epoch after the other."""
    torch.manual_seed(0)
    model = VAE().to(memory_format=torch.channels_last)
    optimizer = (Muon(model, 0.005, (0.9, 0.99)) if optimizer == 'muon' else
                 torch.optim.Adam(model.parameters(), 0.005, fused=True))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    dataloader = batches(CelebADataset(root, n_images=n_images), batch_size)
    with faster_layers(model, torch.device('cpu')):
        while True:
            start, totals = time.perf_counter(), Totals(torch.device('cpu'), 0)
            on_cpu = (to_device(images, 'cpu') for images in tqdm(dataloader, leave=False))
            program.train_epoch(model, on_cpu, optimizer, schedule, partial(totals.add, batch_size))
            totals.stop_if_nan(model)
            yield n_images / (time.perf_counter() - start)


def speeds(root, recipes, repeats, n_images=3200):
    """The programs take turns, so that a machine that slows down does so for all of them."""
    keep_freed_memory()
    for recipe in recipes:
        batch_size = recipe.get('batch_size', program.batch_size)
        optimizer = recipe.get('optimizer', program.optimizer)
        own = own_epochs(root, n_images, batch_size, optimizer)
        next(own)                                              # warm-up
        found = [{'floor': floor(), 'baseline': baseline_speed(root, n_images, batch_size),
                  'this program': next(own)} for _ in range(repeats)]
        limit = statistics.median(row['floor'] for row in found)
        print(f'batch {batch_size}, {optimizer}: floor set by a 2048 x 2048 matrix product: '
              f'{middle([row["floor"] for row in found])} images/s')
        for name in ('baseline', 'this program'):
            values = [row[name] for row in found]
            ratios = [row[name] / row['baseline'] for row in found]
            share = statistics.median(values) / limit
            print(f'batch {batch_size}: {name}: {middle(values)} images/s, '
                  f'{statistics.median(ratios):.2f}x ({min(ratios):.2f} - {max(ratios):.2f}), '
                  f'{share:.0%} of the floor', flush=True)


def baseline_quality(root, seed, n_epochs=10):
    """(seconds of training, held-out loss) at the end of each epoch of the baseline."""
    torch.manual_seed(seed)
    training, held_out = split(CelebADataset(root), program.held_out)
    held_out = batches(held_out, 64, shuffle=False)
    model = VAE()
    optimizer = torch.optim.Adam(model.parameters(), 0.005)
    seconds, results = 0.0, []
    for _ in range(n_epochs):
        start = time.perf_counter()
        dataloader = baseline_loader(root, len(training))
        list(baseline_epoch(model, optimizer, dataloader, program.kl_weight))
        seconds += time.perf_counter() - start
        terms = average_terms(program.loss_fn, torch.device('cpu'), held_out, model)
        results.append((seconds, terms[0]))
    return results


def own_quality(root, seed, recipe):
    """(seconds of the whole command, those of its steps, held-out loss at its end), no cache."""
    n_images = len(split(CelebADataset(root), 0.1)[0])
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        metrics = run(root, ['train'], f'--recipe {recipe} --cache_dir {folder}', seed)
        seconds = time.perf_counter() - start
    of_steps = sum(n_images / row['images_per_second'] for row in metrics['rows'])
    return seconds, of_steps, metrics['held_out_loss']


def qualities(root, seeds):
    print('seed  baseline: best held-out (epoch, s)    quick: held-out (s, of steps, ratio)    '
          'default: held-out (s, change)')
    ratios = []
    for seed in range(seeds):
        baseline = baseline_quality(root, seed)
        best_seconds, best = min(baseline, key=lambda result: result[1])
        epoch = baseline.index((best_seconds, best)) + 1
        quick_seconds, of_steps, quick = own_quality(root, seed, 'quick')
        own_seconds, _, own = own_quality(root, seed, 'default')
        ratios.append(best_seconds / quick_seconds)
        print(f'{seed:>4}  {best:.5f} ({epoch}, {best_seconds:.0f})    '
              f'{quick:.5f} ({quick_seconds:.1f}, {of_steps:.1f}, {ratios[-1]:.1f}x)    '
              f'{own:.5f} ({own_seconds:.0f}, {own / best - 1:+.1%})', flush=True)
    print(f'quick is sooner by {statistics.median(ratios):.1f} times, the median of {seeds} seeds')


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('root')
    parser.add_argument('--repeats', type=int, default=5, help='0 leaves part 2 out')
    parser.add_argument('--seeds', type=int, default=3, help='0 leaves part 1 out')
    args = parser.parse_args()
    root = str(Path(args.root).absolute())
    print(f'{machine()}; median (lowest - highest)')
    if args.seeds:               # first: keep_freed_memory would help the baseline
        qualities(root, args.seeds)
    if args.repeats:
        speeds(root, (program.RECIPES['default'], program.RECIPES['quick']), args.repeats)


if __name__ == '__main__':
    main()
