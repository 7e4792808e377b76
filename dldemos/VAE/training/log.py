"""What a run shows while it goes: a line an epoch, log.csv, curves, and faces appearing."""
import csv
import math
from pathlib import Path

import torch
from PIL import Image

from dldemos.VAE.images.grids import grid, save_animation
from dldemos.VAE.latent.elbo import meaning_of
from dldemos.VAE.support.files import atomic_write, printable
from dldemos.VAE.training import processes
from dldemos.VAE.weights import ENOUGH_STEPS

TITLES = {'loss': 'loss', 'reconstruction': 'reconstruction (mean squared error)',
          'kl': 'KL divergence (nats per image)'}
COLUMNS = ('epoch', 'loss', 'reconstruction', 'kl', 'held_out_loss', 'held_out_reconstruction',
           'held_out_kl', 'kl_weight', 'lr', 'images_per_second', 'seconds')
SAMPLES = 'samples/epoch_{:04}.jpg'           # in work_dir, after each epoch


def named_losses(values, prefix=''):
    """{name: value} of a loss, its reconstruction and its KL."""
    return dict(zip([f'{prefix}loss', f'{prefix}reconstruction', f'{prefix}kl'], values))


def print_header(rows, settings, n_steps):
    """Print the names of the columns, where epochs are left to do; n_steps: of an epoch.

    Before them comes a line where a new run is too short to show faces.
    """
    enough = ENOUGH_STEPS[settings.optimizer]
    n_all = settings.n_epochs * n_steps
    if not rows and settings.init is None and n_all < enough:
        print(f'a run of {n_all:,} step{"s" * (n_all != 1)} is too short to show faces: about '
              f'{enough:,} do, with --n_epochs {math.ceil(enough / n_steps)} here')
    if len(rows) < settings.n_epochs:
        print('  epoch      loss     recon       KL  held-out  images/s   time')


def print_row(row, n_epochs):
    held_out = f'{row["held_out_loss"]:8.5f}' if 'held_out_loss' in row else '-'
    seconds = int(row['seconds'])
    print(f'{row["epoch"]:>3}/{n_epochs:<3}  {row["loss"]:8.5f}  {row["reconstruction"]:8.5f}'
          f'  {row["kl"]:7.2f}  {held_out:>8}  {row["images_per_second"]:8.0f}'
          f'  {seconds // 60:02}:{seconds % 60:02}', flush=True)


def show_epoch(rows, settings, model, device):
    """Print the last of `rows`, write log.csv, and draw this epoch's samples, in work_dir."""
    if not processes.is_rank_0():
        return
    folder = Path(settings.work_dir)
    print_row(rows[-1], settings.n_epochs)
    write_log(rows, folder / 'log.csv')
    save_samples(model, device, folder / SAMPLES.format(len(rows)))


def show_run(rows, settings, model):
    """Draw the curves of a whole run and the animation of its samples; name its weights."""
    if not processes.is_rank_0():
        return
    folder = Path(settings.work_dir)
    save_curves(rows, folder / 'curves.jpg')
    join_samples(folder, len(rows))
    print(printable(f'weights: {settings.ckpt_path}'))
    n_values = 3 * getattr(model, 'image_size', 64)**2
    print(meaning_of(rows[-1]['kl_weight'], rows[-1]['reconstruction'], n_values))


def write_log(rows, path):
    """A CSV file with a row per epoch; losses as in loss_fn, KL in nats."""
    with atomic_write(path, 'w') as file:
        more = [name for name in rows[-1] if name not in COLUMNS]      # a reader's own
        writer = csv.DictWriter(file, [*COLUMNS, *more], lineterminator='\n')
        writer.writeheader()
        writer.writerows(rows)


@torch.no_grad()
def save_samples(model, device, path, n_samples=16):
    """Decode the same codes in every epoch."""
    code = torch.randn(n_samples, model.latent_dim,
                       generator=torch.Generator().manual_seed(0)).to(device)
    model.eval()
    with atomic_write(path) as file:
        grid(model.decode(code), columns=4).save(file, 'JPEG', quality=92)


def remove_samples(folder):
    """Remove the samples of an earlier run in this work_dir."""
    for path in Path(folder).glob(SAMPLES.replace('{:04}', '*')):
        path.unlink()


def join_samples(folder, n_epochs):
    """Join the samples of all epochs to an animated GIF that rests on its last frame."""
    paths = [folder / SAMPLES.format(epoch) for epoch in range(1, n_epochs + 1)]
    frames = [Image.open(path).convert('RGB') for path in paths if path.exists()]
    if frames:
        save_animation(frames, folder / 'samples.gif', [200] * (len(frames) - 1) + [2000])


def save_curves(rows, path):
    """Draw loss, reconstruction and KL over the epochs, of training and held-out images."""
    logs = {'training': rows}
    if 'held_out_loss' in rows[-1]:
        logs['held out'] = held_out_rows(rows)
    curves = draw_curves(logs)
    if curves is None:
        print(f'their numbers are in {printable(path.with_name("log.csv"))}')
        return
    with atomic_write(path) as file:
        curves.save(file, 'JPEG', quality=92)
    print(f'picture: {printable(path)}')


def held_out_rows(rows):
    """The log of the held-out split alone, under the names of that of training."""
    return [{'epoch': row['epoch'], **{name: row[f'held_out_{name}'] for name in TITLES}}
            for row in rows]


def draw_curves(logs, width=1100, heading=''):
    """Loss, reconstruction and KL over the epochs, a line for each log {label: rows} (PIL).

    None, with a line that says why, where matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        print('no picture of the curves: that needs `pip install matplotlib`')
        return None
    figure = Figure(figsize=(width / 110, 3.2), dpi=110, layout='constrained')
    for axes, (name, title) in zip(figure.subplots(1, 3), TITLES.items()):
        for label, rows in logs.items():
            axes.plot([row['epoch'] for row in rows], [row[name] for row in rows], marker='.',
                      label=label)
        axes.set_title(title)
        axes.set_xlabel('epoch')
        axes.locator_params(axis='x', integer=True)
        axes.grid(alpha=0.3)
        if name != 'kl':                  # the first epochs would flatten all others
            axes.set_yscale('log')
    figure.axes[0].legend()
    if heading:
        figure.suptitle(heading)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return Image.frombytes('RGBA', canvas.get_width_height(), canvas.buffer_rgba()).convert('RGB')
