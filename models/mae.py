"""Masked autoencoder (He et al. 2022, arXiv 2111.06377) on a timm ViT: only visible patches are encoded.

Levers over the plain formulation, same result: patches are gathered before they are embedded, the embedding is one
matrix product on patchified pixels, and the loss looks at masked patches only.
"""

import torch
import torch.nn.functional as F
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn

from models.masking import encode_visible, gather_tokens, patchify, random_masking
from models.system import Batch, Trainee
from models.vit import normalise, sincos_position_embedding


def unpatchify(patches: Tensor, patch: int) -> Tensor:
    """Inverse of `patchify` for square images."""
    batch, tokens, _ = patches.shape
    grid = round(tokens**0.5)
    x = patches.reshape(batch, grid, grid, 3, patch, patch)
    return x.permute(0, 3, 1, 4, 2, 5).reshape(batch, 3, grid * patch, grid * patch)


class MAE(Trainee):
    """Encoder, a lighter decoder, and the normalised-pixel loss."""

    decoder_pos_embed: Tensor

    def __init__(
        self,
        encoder: VisionTransformer,
        decoder_width: int,
        decoder_depth: int,
        decoder_heads: int,
        mask_ratio: float,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.mask_ratio = mask_ratio
        self.patch = encoder.patch_embed.patch_size[0]
        width, grid = encoder.embed_dim, encoder.patch_embed.grid_size[0]
        fixed = sincos_position_embedding(grid, width)
        encoder.pos_embed = nn.Parameter(fixed, requires_grad=False)
        self.decoder_embed = nn.Linear(width, decoder_width)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, decoder_width))
        self.register_buffer("decoder_pos_embed", sincos_position_embedding(grid, decoder_width), persistent=False)
        self.decoder_blocks = nn.Sequential(
            *(Block(decoder_width, decoder_heads, qkv_bias=True) for _ in range(decoder_depth))
        )
        self.decoder_norm = nn.LayerNorm(decoder_width)
        self.decoder_pred = nn.Linear(decoder_width, 3 * self.patch**2)
        nn.init.normal_(self.mask_token, std=0.02)

    def forward_encoder(self, patches: Tensor, kept: Tensor) -> Tensor:
        """Visible patches only: (B, tokens, 3pp), (B, kept) to (B, 1 + kept, width)."""
        return encode_visible(self.encoder, patches, kept)

    def forward_decoder(self, latent: Tensor, order: Tensor) -> Tensor:
        """Mask tokens join the latent, all in their own places: predicted patches (B, tokens, 3pp)."""
        x = self.decoder_embed(latent)
        hidden = order.shape[1] - (x.shape[1] - 1)
        tokens = torch.cat([x[:, 1:], self.mask_token.expand(len(x), hidden, -1)], dim=1)
        tokens = gather_tokens(tokens, order.argsort(dim=1))
        x = torch.cat([x[:, :1], tokens], dim=1) + self.decoder_pos_embed
        return self.decoder_pred(self.decoder_norm(self.decoder_blocks(x)))[:, 1:]

    def forward_loss(self, patches: Tensor, predicted: Tensor, hidden: Tensor) -> Tensor:
        """Mean squared error on hidden patches, each target normalised by its own mean and variance."""
        target = gather_tokens(patches, hidden)
        variance, mean = torch.var_mean(target, dim=-1, keepdim=True)
        return F.mse_loss(gather_tokens(predicted, hidden), (target - mean) / (variance + 1e-6).sqrt())

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """The reconstruction loss of a batch of crops."""
        return {"reconstruction": self(batch["images"])}

    def no_weight_decay(self) -> set[str]:
        """Tokens are not decayed."""
        return {"encoder.cls_token", "mask_token"}

    def forward(self, images: Tensor) -> Tensor:
        """uint8 or float images (B, 3, H, W) to the scalar loss."""
        patches = patchify(normalise(images), self.patch)
        kept, order = random_masking(patches.shape[0], patches.shape[1], self.mask_ratio, patches.device)
        predicted = self.forward_decoder(self.forward_encoder(patches, kept), order)
        return self.forward_loss(patches, predicted, order[:, kept.shape[1] :])

    @torch.no_grad()
    def reconstruct(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """What the network sees and what it makes of it: two uint8 (B, 3, H, W), hidden patches grey in the first.

        Predictions are in units of each patch's own deviation, so a hidden patch is shown with the true patch's mean
        and deviation, as the published pictures are.
        """
        patches = patchify(normalise(images), self.patch)
        kept, order = random_masking(patches.shape[0], patches.shape[1], self.mask_ratio, patches.device)
        predicted = self.forward_decoder(self.forward_encoder(patches, kept), order)
        variance, mean = torch.var_mean(patches, dim=-1, keepdim=True)
        visible = torch.zeros(patches.shape[:2], device=patches.device).scatter(1, kept, 1.0)[..., None]
        restored = patches * visible + (predicted * variance.sqrt() + mean) * (1 - visible)
        return tuple(  # type: ignore[return-value]
            ((unpatchify(x, self.patch) + 1) * 127.5).clamp(0, 255).byte() for x in (patches * visible, restored)
        )
