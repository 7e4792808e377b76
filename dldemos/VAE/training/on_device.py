"""Training images kept on an accelerator, where they fit: a batch is gathered there."""
import torch
from torch.utils.data import BatchSampler, DataLoader, Dataset, Subset, default_convert

from dldemos.VAE.images.shuffle import ShuffledBatches, chosen_half, flip_half
from dldemos.VAE.load_celebA import CelebADataset
from dldemos.VAE.training.steps import moved

SHARE = 0.5                        # of the free memory, at most; the rest is for the steps
CHUNK_BYTES = 64 * 2**20           # copied at a time: the main memory never holds all pixels


def kept(dataloader, device):
    """A loader of the same batches, made on `device` from pixels that are kept there.

    The loader itself on a CPU, where the pixels do not fit, or where they are not known.

    Args:
        dataloader: of any kind, or None.
        device: a torch.device.
    """
    images = images_of(dataloader)
    if images is None or not fits(n_bytes(*images), device):
        return dataloader
    return KeptBatches(dataloader, upload(*images, device))


def images_of(dataloader):
    """(CelebADataset, list of indices in it) of a loader's images; None where not known.

    They are known of what `load_celebA.batches` makes. A loader with another dataset, with
    workers or another collate_fn may do anything to its images.
    """
    if not (type(dataloader) is DataLoader and dataloader.batch_size is None
            and isinstance(dataloader.sampler, (ShuffledBatches, BatchSampler))
            and dataloader.num_workers == 0
            and dataloader.collate_fn in (flip_half, default_convert)):
        return None
    dataset, indices = dataloader.dataset, None
    if type(dataset) is Subset:
        dataset, indices = dataset.dataset, dataset.indices
    if type(dataset) is not CelebADataset:
        return None
    rows = range(len(dataset))
    return dataset, list(rows) if indices is None else [rows[i] for i in indices]


def n_bytes(dataset, indices):
    """The bytes of the pixels of these images."""
    height, width = dataset.img_shape
    return len(indices) * 3 * height * width


def fits(n_bytes, device):
    """Whether pixels of n_bytes may be kept on a device; on a CPU never."""
    if device.type == 'mps' and n_bytes >= 2**31:
        return False       # torch up to 2.13 may read zeros beyond: pytorch's issue 188756
    return n_bytes < SHARE * free_memory(device)


def free_memory(device):
    """The bytes that are free on a CUDA device or Apple's GPU; 0 on others."""
    if device.type == 'cuda':
        return torch.cuda.mem_get_info(device)[0]
    if device.type == 'mps':
        return torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
    return 0


def upload(dataset, indices, device):
    """The pixels of these images on a device, uint8 (N, 3, height, width)."""
    pixels = torch.empty((len(indices), 3, *dataset.img_shape), dtype=torch.uint8, device=device)
    size = max(1, CHUNK_BYTES // n_bytes(dataset, [0]))
    for start in range(0, len(indices), size):
        chunk = indices[start:start + size]
        pixels[start:start + len(chunk)].copy_(dataset.read_pixels(chunk))
    return pixels


class KeptBatches:
    """The batches of a loader, bit for bit, from the same random numbers.

    Float (N, 3, H, W) in [0, 1], on the device of the pixels, channels last.

    Args:
        dataloader: one that `images_of` knows.
        pixels: of the images of its dataset, in their order, uint8 (n_images, 3, H, W).
    """

    def __init__(self, dataloader, pixels):
        self.dataset, self.sampler = dataloader.dataset, dataloader.sampler
        images = KeptImages(pixels, mirror=dataloader.collate_fn is flip_half)
        self.batches = DataLoader(images, batch_size=None, sampler=self.sampler,
                                  generator=dataloader.generator)

    def __iter__(self):
        return iter(self.batches)      # a DataLoader's, which draws a random number, as before

    def __len__(self):
        return len(self.batches)


class KeptImages(Dataset):
    """Images by a list of their indices: a batch on the device of the pixels.

    mirror: flip half of them, as flip_half does.
    """

    def __init__(self, pixels, mirror):
        self.pixels, self.mirror = pixels, mirror
        # divided on the CPU: CUDA multiplies by 1 / 255 instead, which rounds otherwise
        self.values = torch.arange(256).float().div_(255).to(pixels.device)

    def __getitem__(self, indices):
        device = self.pixels.device
        images = self.values[self.pixels[moved(torch.tensor(indices), device)].long()]
        if self.mirror:
            chosen = moved(chosen_half(len(images)), device)
            images = torch.where(chosen[:, None, None, None], images.flip(-1), images)
        return images.to(memory_format=torch.channels_last)
