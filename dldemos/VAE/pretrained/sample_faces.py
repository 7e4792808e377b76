"""Faces to train on where CelebA is absent: drawn once, by the bundled weights `sharp`.

    python -m dldemos.VAE.pretrained.sample_faces

They are decoded from codes of its flow prior. For some attributes, a part of the codes are pushed
along the attribute's direction, so that a short training shows it; `list_attr_sample_faces.txt`
says which.
"""
import shutil
import sys
import tempfile
from pathlib import Path

import torch
from PIL import Image
from tqdm import tqdm

from dldemos.VAE.images.grids import to_bytes
from dldemos.VAE.images.which import SAMPLE_FACES
from dldemos.VAE.latent.codes import decode_batches
from dldemos.VAE.pretrained import directions, random_codes, vae
from dldemos.VAE.support.errors import exit_status
from dldemos.VAE.support.files import printable, remove_abandoned, temporary_prefix

DRAWN_BY, TEMPERATURE = 'sharp', 1.1    # which teach most: benchmarks/README.md
LIST_NAME = 'list_attr_sample_faces.txt'
HEAD = (f'{{n}} faces drawn by the bundled weights {DRAWN_BY} at temperature {TEMPERATURE}; '
        f'attributes as their codes were pushed')
# Attribute: the share of the faces that have it, and how far codes with and without it are pushed
PUSHED = {'Eyeglasses': (0.2, 2, 0), 'Smiling': (0.5, 1, -1), 'Male': (0.5, 1, -1),
          'Bangs': (0.2, 1.5, 0), 'Blond_Hair': (0.2, 1.5, 0)}


def draw_sample_faces(folder, n_faces=4000, seed=0):
    """Draw faces of 64 x 64 pixels and the list of their attributes into a folder, once.

    The folder appears when all is drawn; one that is there already stays as it is.

    Returns:
        The folder, as a Path.
    """
    folder = Path(folder)
    if folder.exists():
        if not is_ours(folder):
            print(printable(f'{folder} holds other faces than this version draws: remove it to '
                            f'have those'))
        return folder
    print(printable(f'drawing {n_faces:,} faces into {folder}, once'), flush=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    remove_abandoned(folder)
    unfinished = Path(tempfile.mkdtemp('.tmp', temporary_prefix(folder), folder.parent))
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            draw_into(unfinished, n_faces)
        unfinished.chmod(0o755)                # a temporary folder starts as its owner's alone
        unfinished.rename(folder)
    except OSError:
        if not folder.exists():                # else another process was the first to end
            raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def is_ours(folder):
    """Whether the faces of a folder are those that `draw_into` draws."""
    try:
        with open(folder / LIST_NAME, encoding='utf-8', errors='replace') as file:
            return file.readline().partition(' ')[2] == HEAD.partition(' ')[2] + '\n'
    except FileNotFoundError:
        return False


def draw_into(folder, n_faces):
    codes, attributes = pushed_codes(n_faces)
    model = vae(DRAWN_BY).to(memory_format=torch.channels_last)
    bar = tqdm(total=n_faces, unit='face', desc='drawing once', leave=False, disable=None)
    names = [f'{i:06}.jpg' for i in range(1, n_faces + 1)]
    rest = iter(names)
    with bar:
        for faces in decode_batches(model, 'cpu', codes):
            for pixels in to_bytes(faces).permute(0, 2, 3, 1).contiguous().numpy():
                Image.fromarray(pixels).save(folder / next(rest), quality=95, subsampling=0)
            bar.update(len(faces))
    lines = [HEAD.format(n=n_faces), ' '.join(attributes)]
    for i, name in enumerate(names):
        lines.append(' '.join([name, *('1' if has[i] else '-1' for has in attributes.values())]))
    (folder / LIST_NAME).write_text('\n'.join(lines) + '\n', encoding='utf-8')


def pushed_codes(n_faces):
    """Codes (N, latent_dim) of the flow prior, pushed, and {attribute: bool tensor (N,)}."""
    codes = random_codes(n_faces, DRAWN_BY, temperature=TEMPERATURE)
    along, attributes = directions(DRAWN_BY), {}
    for name, (share, with_it, without) in PUSHED.items():
        attributes[name] = torch.rand(n_faces) < share
        amount = torch.where(attributes[name], float(with_it), float(without))
        codes += amount.unsqueeze(1) * along[name]
    return codes, attributes


def main():
    folder = draw_sample_faces(SAMPLE_FACES)
    print(f'{len(list(folder.glob("*.jpg"))):,} faces in {folder}')


if __name__ == '__main__':
    sys.exit(exit_status(main))
