"""Held-out losses of other settings than the chosen ones, over several seeds.

    python benchmarks/recipes.py data/celebA/img_align_celeba

Each row is `train` with the options that stand in it; the loss is that of its last epoch, on the
last tenth of the images.
"""
import argparse
import os
from pathlib import Path

from runs import run_each, spread

TRIED = (
    '--recipe quick',
    '--recipe quick --optimizer adam --adam_betas 0.8,0.99',
    '--recipe quick --n_epochs 3',
    '--recipe quick --n_epochs 3 --batch_size 64',
    '--recipe quick --batch_size 24',
    '--recipe quick --batch_size 64',
    '--recipe quick --lr 0.0035',
    '--recipe quick --lr 0.007',
    '--recipe quick --warm_up 0.2',
    '--recipe quick --adam_betas 0.9,0.999',
)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('root')
    parser.add_argument('--seeds', type=int, default=3)
    parser.add_argument('options', nargs='*', help='settings to try instead, each in quotes')
    parser.add_argument('--jobs', type=int, default=os.cpu_count(), help='runs at once')
    args = parser.parse_args()
    root = str(Path(args.root).absolute())
    print('| options | held-out loss: mean (lowest - highest) | MSE | KL, nats |\n'
          '| --- | --- | --- | --- |')
    for options, results in run_each(root, ['train'], args.options or TRIED, range(args.seeds),
                                            args.jobs):
        print(f'| `{options}` |', ' | '.join(
            spread([result[name] for result in results], digits) for name, digits in (
                ('held_out_loss', 5), ('held_out_reconstruction', 5), ('held_out_kl', 1))),
            '|', flush=True)


if __name__ == '__main__':
    main()
