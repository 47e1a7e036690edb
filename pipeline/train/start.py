"""What a system starts from: backbones built from params, filled with weights that its line of the graph names."""

from pathlib import Path

from timm.models.vision_transformer import VisionTransformer

from models.backbone import Backbone, GridReadout, grid_backbone
from pipeline.backbones.build import BackboneSettings, build_backbone
from pipeline.core.errors import MienError
from pipeline.core.paths import ENCODER
from pipeline.train.fit import Job


def start_backbone(settings: BackboneSettings, job: Job, drop_path: float = 0.0) -> Backbone:
    """The network that params name, filled unless the job says otherwise; what it reads must be needed."""
    if job.pretrained and settings.is_own_encoder:
        job.needs.check(ENCODER, "a backbone is our own encoder")
    if job.pretrained and settings.weights:
        job.check_own(Path(settings.weights), f"weights of {settings.label}")
    return build_backbone(settings, job.vit, job.pretrained, drop_path)


def start_encoder(settings: BackboneSettings, job: Job, drop_path: float = 0.0) -> Backbone:
    """`start_backbone` for a system that handles a ViT's tokens itself: our encoder, or any other ViT."""
    backbone = start_backbone(settings, job, drop_path)
    if isinstance(backbone.network, VisionTransformer):
        backbone = grid_backbone(backbone.network, settings.readout_grid, backbone.normalise)
        if settings.standardise:
            backbone.standardise()
    if not isinstance(backbone.network, GridReadout):
        raise MienError(f"params.yaml: {settings.label} is no ViT, and this system reads a ViT's tokens", exit_code=2)
    if backbone.network.encoder.cls_token is None and settings.readout_grid == 0:
        raise MienError(f"params.yaml: {settings.label} has no class token; set readout_grid to 1 or more", exit_code=2)
    return backbone
