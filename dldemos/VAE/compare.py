"""Experiments beside each other: their curves in one picture, their last samples in another.

    python -m dldemos.VAE.main train --work_dir runs/a --kl_weight 0.0001
    python -m dldemos.VAE.main train --work_dir runs/b --kl_weight 0.001
    python -m dldemos.VAE.compare runs/a runs/b

saves work_dirs/compare.jpg, with the curves above where matplotlib is installed.
"""
import csv
import json
import sys
from pathlib import Path

from PIL import Image
from torchvision.transforms.functional import to_tensor

from dldemos.VAE.images.grids import PADDING, labelled_rows, save_picture
from dldemos.VAE.support.errors import UserError, exit_status
from dldemos.VAE.support.files import WORK_DIR, printable
from dldemos.VAE.support.settings import Parser, as_text
from dldemos.VAE.training.log import SAMPLES, draw_curves, held_out_rows
from dldemos.VAE.weights import FREE_SETTINGS

N_SHOWN = 16                       # samples of each run, of its last epoch


def compare(folders, work_dir=WORK_DIR):
    """Draw the runs of some folders: their curves, of held-out images where all have them, and
    a row of the last samples of each.

    Args:
        folders: work_dirs of runs.

    Returns:
        The picture, compare.jpg in work_dir.

    Raises:
        UserError: a folder holds no run with a whole epoch.
    """
    settings, logs = zip(*[read_run(Path(folder)) for folder in folders])
    labels, which = labels_of(folders, settings), 'training images'
    picture = labelled_rows([(label, last_samples(folder, len(rows)))
                             for label, folder, rows in zip(labels, folders, logs)])
    if all('held_out_loss' in rows[-1] for rows in logs):
        logs, which = [held_out_rows(rows) for rows in logs], 'held-out images'
    curves = draw_curves(dict(zip(labels, logs)), max(picture.width, 1100), which)
    if curves is not None:
        samples = picture
        size = max(curves.width, samples.width), curves.height + samples.height
        picture = Image.new('RGB', size, 'white')
        picture.paste(curves, (0, 0))
        picture.paste(samples, (0, curves.height))
    return save_picture(picture, f'{work_dir}/compare.jpg')


def read_run(folder):
    """(settings, rows) of the run in a folder; a row is {column: number}, without what is empty."""
    try:
        settings = {**json.loads((folder / 'settings.json').read_text(encoding='utf-8'))}
        with open(folder / 'log.csv', encoding='utf-8', newline='') as file:
            rows = [{name: float(value) for name, value in row.items() if value}
                    for row in csv.DictReader(file)]
    except FileNotFoundError:
        rows = []
    except (ValueError, TypeError) as error:
        raise UserError(f'settings.json or log.csv in {folder} is damaged ({error}): train '
                        f'again') from error
    if not rows:
        raise UserError(f'there is no run with a whole epoch in {folder}: make one with '
                        f'`python -m dldemos.VAE.main train --work_dir {folder}`')
    return settings, rows


def labels_of(folders, settings):
    """A label for each run: the settings in which they differ, or its folder.

    Runs whose label would be the same get their folder beside it.
    """
    names = [name for name in dict.fromkeys(name for one in settings for name in one)
             if name not in (*FREE_SETTINGS, 'steps', 'images')
             and len({as_text(one.get(name)) for one in settings}) > 1]
    labels = [' '.join(f'{name} {as_text(one.get(name))}' for name in names) for one in settings]
    return [printable(label if label and labels.count(label) == 1 else f'{folder} {label}'.strip())
            for folder, label in zip(folders, labels)]


def last_samples(folder, n_epochs):
    """The first samples of a run's last epoch, (N_SHOWN, 3, H, W): the same codes in every run."""
    path = Path(folder) / SAMPLES.format(n_epochs)
    if not path.exists():
        raise UserError(f'there is no {path}: the samples of this run were removed, train again')
    sheet = to_tensor(Image.open(path).convert('RGB'))
    side = (sheet.shape[2] - PADDING) // 4 - PADDING             # four in a row, see save_samples
    tiles = sheet[:, PADDING:, PADDING:].unfold(1, side, side + PADDING).unfold(
        2, side, side + PADDING)                                 # (3, rows, columns, side, side)
    return tiles.permute(1, 2, 0, 3, 4).flatten(0, 1)[:N_SHOWN]


def main(argv=None):
    parser = Parser(prog='python -m dldemos.VAE.compare', description=__doc__.splitlines()[0])
    parser.add_argument('folders', nargs='+', metavar='FOLDER', help='work_dir of a run')
    compare(parser.parse(argv).folders)


if __name__ == '__main__':
    sys.exit(exit_status(main))
