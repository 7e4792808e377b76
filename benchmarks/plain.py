"""The article's program, written out plainly: what the benchmarks compare with.

    python benchmarks/plain.py FOLDER N_IMAGES BATCH_SIZE

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


class PlainDataset(Dataset):
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


def plain_epoch(model, optimizer, root, n_images, batch_size=16, kl_weight=0.00025):
    """One epoch of the article's training loop, on the first n_images of a folder."""
    model.train()
    for x in DataLoader(PlainDataset(root, n_images), batch_size, shuffle=True):
        y, mean, logvar = model(x)
        recons_loss = mse_loss(y, x)
        kl_loss = torch.mean(-0.5 * torch.sum(1 + logvar - mean**2 - torch.exp(logvar), 1), 0)
        loss = recons_loss + kl_loss * kl_weight
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def main(root, n_images, batch_size):
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from dldemos.VAE.model import VAE
    torch.manual_seed(0)
    model = VAE()
    optimizer = torch.optim.Adam(model.parameters(), 0.005)
    plain_epoch(model, optimizer, root, 2 * batch_size, batch_size)       # warm-up
    start = time.perf_counter()
    plain_epoch(model, optimizer, root, n_images, batch_size)
    print(n_images / (time.perf_counter() - start))


if __name__ == '__main__':
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
