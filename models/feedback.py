"""Semi-supervised pretraining with feedback (Yu et al., arXiv 2403.11942, after Face2Exp, Zeng et al. 2022).

A teacher learns from class-balanced labelled faces and labels a large unlabelled pool; a student learns from those
labels alone; what the student gains on the balanced labelled faces is fed back to the teacher.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.across import average
from models.backbone import Backbone
from models.system import Batch, System


class Classifier(nn.Module):
    """A backbone, its head's norm and a linear classifier; `features` is what the temporal encoder reads."""

    def __init__(self, backbone: Backbone, classes: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.norm = backbone.head_norm()
        self.head = nn.Linear(backbone.width, classes)
        nn.init.trunc_normal_(self.head.weight, std=2e-5)  # as MAE fine-tunes: all classes start equal

    def features(self, images: Tensor) -> Tensor:
        """uint8 images (B, 3, P, P) to (B, width)."""
        return self.norm(self.backbone(images))

    def forward(self, images: Tensor) -> Tensor:
        """uint8 images (B, 3, P, P) to logits (B, classes)."""
        return self.head(self.features(images))


class Feedback(System):
    """Teacher and student.

    A batch holds class-balanced labelled `images` and `expression` (no invalid label among them), and two views of
    unlabelled faces, `weak` and `strong` (U, 3, P, P). `feedback` False leaves the third part of the teacher's loss
    out. The last `labelled_steps` updates of `total_steps` train the student on labelled faces (published: optional).
    During the first `head_start_steps` the teacher learns from labelled faces alone and the student then starts as its
    copy: ours, for networks that do not start from pretrained weights as the published ones do.
    """

    step: Tensor

    def __init__(
        self,
        teacher: Backbone,
        student: Backbone,
        *,
        classes: int,
        feedback: bool,
        temperature: float,
        unsupervised_weight: float,
        ramp_steps: int,
        head_start_steps: int,
        labelled_steps: int,
        total_steps: int,
    ) -> None:
        super().__init__()
        self.pixels = student.pixels
        self.teacher, self.student = Classifier(teacher, classes), Classifier(student, classes)
        self.feedback = feedback
        self.temperature = temperature
        self.unsupervised_weight = unsupervised_weight
        self.ramp_steps = ramp_steps
        self.head_start_steps = head_start_steps
        self.last_pseudo_step = total_steps - labelled_steps
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))

    def steps(self, batch: Batch) -> Iterator[dict[str, Tensor]]:
        """Student, then teacher; the student's gain is measured between the two."""
        number = int(self.step)
        self.step += 1
        images, labels = batch["images"], batch["expression"]

        # 1. head start: the teacher alone, on labelled faces; then the student starts as its copy
        if number < self.head_start_steps:
            yield {"teacher": F.cross_entropy(self.teacher(images), labels)}
            return
        if number == self.head_start_steps and number:
            self.student.load_state_dict(self.teacher.state_dict())

        # 2. the last updates: the student alone, on labelled faces
        if number >= self.last_pseudo_step:
            yield {"student_labelled": F.cross_entropy(self.student(images), labels)}
            return

        # 3. in between, two optimiser steps a batch. The student learns what the teacher says of the weak view, seeing
        #    the strong one; what that did to its loss on labelled faces is the gain
        with torch.no_grad():
            soft = (self.teacher(batch["weak"]) / self.temperature).softmax(-1)
            before = F.cross_entropy(self.student(images), labels)
        yield {"student": F.cross_entropy(self.student(batch["strong"]), soft.argmax(-1))}
        with torch.no_grad():
            gain = average(before - F.cross_entropy(self.student(images), labels))

        # 4. the teacher learns from labels, from agreement with itself, and from the gain: a good pseudo-label (the
        #    student got better) is made likelier, a bad one less likely
        yield self.teacher_losses(batch, soft, gain, min(1.0, (number - self.head_start_steps + 1) / self.ramp_steps))

    def teacher_losses(self, batch: Batch, soft: Tensor, gain: Tensor, ramp: float) -> dict[str, Tensor]:
        """Labelled cross-entropy, consistency of the views under `ramp`, and the student's `gain` times the
        cross-entropy of the strong view against its own likeliest class.
        """
        strong = self.teacher(batch["strong"])
        parts = {
            "teacher": F.cross_entropy(self.teacher(batch["images"]), batch["expression"]),
            "unsupervised": self.unsupervised_weight * ramp * F.cross_entropy(strong, soft),
        }
        if self.feedback:
            parts["feedback"] = gain * F.cross_entropy(strong, strong.argmax(-1))
        return parts

    @torch.no_grad()
    def predict(self, batch: Batch) -> dict[str, Tensor]:
        """The student's expression probabilities (B, classes)."""
        return {"expression": self.student(batch["images"]).softmax(-1)}

    def no_weight_decay(self) -> set[str]:
        """Names that weight decay leaves alone (timm's convention)."""
        return {
            f"{name}.backbone.{inner}"
            for name, net in (("teacher", self.teacher), ("student", self.student))
            for inner in net.backbone.no_weight_decay()
        }

    def backbones(self) -> list[str]:
        """The networks of both."""
        return [f"{name}.backbone.{getattr(self, name).backbone.trunk}" for name in ("teacher", "student")]
