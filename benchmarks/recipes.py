"""Held-out losses of the recipes and of other settings, over several seeds.

    python benchmarks/recipes.py data/celebA/img_align_celeba

Each row is `train` with the options that stand in it; the loss is that of its last epoch, on the
last tenth of the images.
"""
import argparse
from pathlib import Path

from runs import run_each, spread

TRIED = (
    '--recipe article --held_out 0.1',
    '--recipe default',
    '--recipe quick',
)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('root')
    parser.add_argument('--seeds', type=int, default=3)
    parser.add_argument('options', nargs='*', help='settings to try instead, each in quotes')
    args = parser.parse_args()
    root = str(Path(args.root).absolute())
    print('| options | held-out loss: mean (lowest - highest) | MSE | KL, nats |\n'
          '| --- | --- | --- | --- |')
    for options, results in run_each(root, ['train'], args.options or TRIED, range(args.seeds)):
        print(f'| `{options}` |', ' | '.join(
            spread([result[name] for result in results], digits) for name, digits in (
                ('held_out_loss', 5), ('held_out_reconstruction', 5), ('held_out_kl', 1))),
            '|', flush=True)


if __name__ == '__main__':
    main()
