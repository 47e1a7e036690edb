"""What a system starts from: backbones built from params, filled with weights that its line of the graph names."""

from pathlib import Path

from models.backbone import Backbone
from pipeline.backbones.build import BackboneSettings, build_backbone
from pipeline.core.paths import ENCODER
from pipeline.train.fit import Job


def start_backbone(settings: BackboneSettings, job: Job, drop_path: float = 0.0) -> Backbone:
    """The network that params name, filled unless the job says otherwise; what it reads must be needed."""
    if job.pretrained and settings.name == "encoder":
        job.needs.check(ENCODER, "a backbone is our own encoder")
    if job.pretrained and settings.weights:
        job.check_own(Path(settings.weights), f"weights of {settings.name}")
    return build_backbone(settings, job.vit, job.pretrained, drop_path)
