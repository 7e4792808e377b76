"""The metrics of `evaluate` for the recipes, and for other weights of the KL divergence.

    python benchmarks/results.py data/celebA/img_align_celeba

Each column is `train evaluate` with the options at its head, trained on the first nine tenths of
the images and evaluated on the last: mean (lowest - highest) over the seeds.
"""
import argparse
import os
from pathlib import Path

from runs import run_each, spread, table

COLUMNS = ('--recipe article --held_out 0.1', '--recipe default', '--recipe quick',
           '--kl_weight 0.000025', '--kl_weight auto')
DIGITS = {
    'held_out_loss': 5, 'mse_sampled': 5, 'mse_mean': 5, 'psnr': 2, 'ssim': 3, 'kl': 1,
    'kl_weight': 6, 'active_units': 0, 'swd_halves': 1, 'swd_normal': 1, 'swd_gaussian': 1,
    'swd_flow': 1,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('root')
    parser.add_argument('--seeds', type=int, default=3)
    parser.add_argument('columns', nargs='*', default=COLUMNS, help='other options, in quotes')
    parser.add_argument('--jobs', type=int, default=os.cpu_count(), help='runs at once')
    args = parser.parse_args()
    root = str(Path(args.root).absolute())
    results = dict(run_each(root, ['train', 'evaluate'], args.columns, range(args.seeds),
                            args.jobs))
    table(('', *(f'`{options}`' for options in results)),
          ((name, *(spread([metrics[name] for metrics in of_seeds], digits)
                    for of_seeds in results.values())) for name, digits in DIGITS.items()))


if __name__ == '__main__':
    main()
