"""The MAE training step against the plain published formulation at equal architecture and batch.

Peer: all patches are embedded by the convolution, masked by gathering afterwards, the loss is taken over all patches
and weighted by the mask (the formulas of arXiv 2111.06377 as they are usually written). Ours gathers first. Both
start from the same weights and draw the same masks; their losses are compared in the same run. Each side runs in a
process of its own, so that peak memory is its own.

usage: python -m bench.mae
"""

import multiprocessing
import resource
import statistics
import time
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from models.mae import MAE
from models.masking import gather_tokens, patchify, random_masking
from models.vit import build_vit, normalise
from pipeline.core.files import write_json

RESULT = Path("docs/benchmarks/mae.json")
BATCH, STEPS = 128, 8
# (name, image, patch, encoder width, depth, heads), decoder (width, depth, heads)
SIZES = {
    "demo": ((64, 8, 96, 4, 4), (64, 2, 4)),
    "ViT-Ti 112, decoder 128x4": ((112, 16, 192, 12, 3), (128, 4, 4)),
}


class PlainMAE(MAE):
    """The same network, computed in the published order."""

    def forward(self, images: Tensor) -> Tensor:
        encoder, pixels = self.encoder, normalise(images)
        position, class_token = cast(Tensor, encoder.pos_embed), cast(Tensor, encoder.cls_token)
        x = encoder.patch_embed(pixels) + position[:, 1:]
        kept, order = random_masking(len(x), x.shape[1], self.mask_ratio, x.device)
        restore = order.argsort(dim=1)
        mask = torch.ones(len(x), x.shape[1])
        mask[:, : kept.shape[1]] = 0
        mask = mask.gather(1, restore)
        x = gather_tokens(x, kept)
        token = (class_token + position[:, :1]).expand(len(x), -1, -1)
        latent = encoder.norm(encoder.blocks(torch.cat([token, x], dim=1)))
        predicted = self.forward_decoder(latent, order)
        target = patchify(pixels, self.patch)
        variance, mean = target.var(dim=-1, keepdim=True), target.mean(dim=-1, keepdim=True)
        loss = (predicted - (target - mean) / (variance + 1e-6) ** 0.5).square().mean(dim=-1)
        return (loss * mask).sum() / mask.sum()


def run(kind: str, size: str, queue: "multiprocessing.Queue") -> None:
    encoder, decoder = SIZES[size]
    torch.manual_seed(0)
    model = (PlainMAE if kind == "plain" else MAE)(build_vit(*encoder), *decoder, 0.75)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4)
    images = torch.randint(0, 256, (BATCH, 3, encoder[0], encoder[0]), dtype=torch.uint8)
    losses, times = [], []
    for step in range(STEPS):
        torch.manual_seed(step)
        started = time.perf_counter()
        loss = model(images)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        times.append(time.perf_counter() - started)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    queue.put((BATCH / statistics.median(times[2:]), peak, losses))


def measure(size: str) -> dict:
    context = multiprocessing.get_context("spawn")
    results = {}
    for kind in ("plain", "ours"):
        queue = context.Queue()
        process = context.Process(target=run, args=(kind, size, queue))
        process.start()
        results[kind] = queue.get()
        process.join()
    (plain_rate, plain_peak, plain_losses), (rate, peak, losses) = results["plain"], results["ours"]
    return {
        "size": size,
        "images_per_second": {"plain": round(plain_rate, 1), "ours": round(rate, 1)},
        "peak_megabytes": {"plain": round(plain_peak), "ours": round(peak)},
        "ratio": round(rate / plain_rate, 2),
        "largest_loss_difference": max(abs(a - b) for a, b in zip(plain_losses, losses, strict=True)),
    }


def main() -> None:
    results = [measure(size) for size in SIZES]
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    write_json(RESULT, results)
    for r in results:
        rates, peaks = r["images_per_second"], r["peak_megabytes"]
        print(
            f"mae {r['size']}: {rates['ours']} images/s against {rates['plain']} (ratio {r['ratio']}), peak "
            f"{peaks['ours']} against {peaks['plain']} MB, largest loss difference {r['largest_loss_difference']:.1e}"
        )


if __name__ == "__main__":
    main()
