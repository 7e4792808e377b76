"""The baseline: the article's program, written out, which benchmarks and tests compare with.

    python benchmarks/baseline.py FOLDER N_IMAGES BATCH_SIZE KL_WEIGHT

prints the images/s of one epoch.
"""
import os
import sys
import time
from pathlib import Path

import torch
from PIL import Image
from torch.nn.functional import mse_loss
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms


class BaselineDataset(Dataset):
    """Open, crop, resize and convert at every access."""

    def __init__(self, root, n_images):
        self.root = root
        self.names = sorted(name for name in os.listdir(root) if name.endswith('.jpg'))[:n_images]
        self.transform = transforms.Compose([transforms.CenterCrop(168),
                                             transforms.Resize((64, 64)),
                                             transforms.ToTensor()])

    def __len__(self):
        return len(self.names)

    def __getitem__(self, index):
        image = Image.open(os.path.join(self.root, self.names[index])).convert('RGB')
        return self.transform(image)


def baseline_loader(root, n_images, batch_size=16):
    """Shuffled batches of the first n_images of a folder, decoded each time by one process."""
    return DataLoader(BaselineDataset(root, n_images), batch_size, shuffle=True)


def baseline_epoch(model, optimizer, dataloader, kl_weight):
    """One epoch of the article's training loop; yields (loss, KL) of each step."""
    model.train()
    for x in dataloader:
        y, mean, logvar = model(x)
        recons_loss = mse_loss(y, x)
        kl_loss = torch.mean(-0.5 * torch.sum(1 + logvar - mean**2 - torch.exp(logvar), 1), 0)
        loss = recons_loss + kl_loss * kl_weight
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        yield loss.detach(), kl_loss.detach()


def main(root, n_images, batch_size, kl_weight):
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from dldemos.VAE.model import VAE
    torch.manual_seed(0)
    model = VAE()
    optimizer = torch.optim.Adam(model.parameters(), 0.005)
    warm_up = baseline_loader(root, 2 * batch_size, batch_size)
    list(baseline_epoch(model, optimizer, warm_up, kl_weight))
    start = time.perf_counter()
    dataloader = baseline_loader(root, n_images, batch_size)
    list(baseline_epoch(model, optimizer, dataloader, kl_weight))
    print(n_images / (time.perf_counter() - start))


if __name__ == '__main__':
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
