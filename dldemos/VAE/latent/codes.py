"""Many images to latent codes and back, a batch at a time."""
import torch
from tqdm import tqdm

BATCH_SIZE = 64


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
