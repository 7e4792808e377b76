"""Many images to latent codes and back, a batch at a time; codes in a file."""
import json

import torch
from tqdm import tqdm

from dldemos.VAE.support.errors import UserError
from dldemos.VAE.support.files import printable

BATCH_SIZE = 64
CODES_FORMAT = 'dldemos.VAE codes 1'


def count_images(dataloader):
    """How many images a loader of batches gives, without reading them where it can tell."""
    if not hasattr(dataloader, 'dataset'):
        return sum(map(len, dataloader))
    if getattr(dataloader, 'batch_size', None) is None:     # of load_celebA.batches: all of them
        return len(dataloader.dataset)
    n_images = len(dataloader.sampler)
    return n_images - n_images % dataloader.batch_size * dataloader.drop_last


@torch.no_grad()
def encode_all(model, device, dataloader):
    """Mean and log-variance of the codes of all images, on the CPU, in the loader's order."""
    model.to(device).eval()
    n_images, done = count_images(dataloader), 0
    codes = torch.empty(2, n_images, model.latent_dim)
    with tqdm(total=n_images, desc='encoding', unit='image', leave=False,
              disable=None if n_images > 20 * BATCH_SIZE else True) as bar:
        for images in dataloader:
            for part, of_batch in zip(codes, model.encode(images.to(device))):
                part[done:done + len(images)] = of_batch
            done += len(images)
            bar.update(len(images))
    return codes[0, :done], codes[1, :done]


@torch.no_grad()
def decode_batches(model, device, code):
    """Yield the images decoded from codes (N, latent_dim), on the CPU, some at a time."""
    model.to(device).eval()
    for some in tqdm(code.split(BATCH_SIZE), desc='decoding', leave=False,
                     disable=None if len(code) > 20 * BATCH_SIZE else True):
        yield model.decode(some.to(device)).cpu()


def first_images(dataloader, n):
    """The first n images of a loader of batches, or all there are: (n, 3, H, W)."""
    batches = []
    for images in dataloader:
        batches.append(images)
        if sum(map(len, batches)) >= n:
            break
    return torch.cat(batches)[:n]


def read_codes(path, latent_dim, weights=''):
    """The codes (N, latent_dim) of a file that the page of explore saved.

    It is JSON: {"format": CODES_FORMAT, "weights": "4f2a ...", "codes": [[0.1, -1.2, ...], ...]}.

    Args:
        weights: SHA-256 of the weights in use; a line says so where the file is of others.

    Raises:
        UserError: there is no such file, it holds no codes, or codes of another length.
    """
    try:
        with open(path, encoding='utf-8-sig') as file:      # editors of Windows begin with a mark
            saved = json.load(file)
    except FileNotFoundError as error:
        raise UserError(f'there is no file {path}: give --code the file that the page of explore '
                        f'saved') from error
    except ValueError as error:                        # no JSON, or no text at all
        raise UserError(f'{path} is no JSON: give --code a file that the page of explore '
                        f'saved') from error
    if not isinstance(saved, dict) or saved.get('format') != CODES_FORMAT:
        raise UserError(f'{path} holds no codes: its "format" should be "{CODES_FORMAT}", as in '
                        f'files that the page of explore saves')
    codes = as_tensor(saved.get('codes'))
    if codes is None:
        raise UserError(f'the "codes" of {path} should be a list of codes, each a list of as many '
                        f'finite numbers')
    if codes.shape[1] != latent_dim:
        raise UserError(f'the codes of {path} have {codes.shape[1]} numbers, and those of these '
                        f'weights {latent_dim}: give --ckpt_path the weights that it was saved of')
    if weights and saved.get('weights') and not weights.startswith(str(saved['weights'])):
        print(printable(f'the codes of {path} were saved of other weights: expect other faces'))
    return codes


def as_tensor(codes):
    """Lists of numbers as a tensor (N, length), or None: they are none, or not all finite."""
    try:
        tensor = torch.tensor(codes, dtype=torch.float32)
    except (TypeError, ValueError, OverflowError, RuntimeError):      # in as many words by torch
        return None
    if tensor.dim() != 2 or not tensor.numel() or not tensor.isfinite().all():
        return None
    return None if any(isinstance(x, bool) for code in codes for x in code) else tensor
