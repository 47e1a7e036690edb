"""Backbones normalise and read what they are given."""

import torch

from models.backbone import CellReadout, GridReadout, face_backbone, timm_backbone, vit_backbone
from models.vit import normalise
from tests.models.parts import VIT, pictures


def test_a_timm_backbone_sees_images_normalised_its_own_way():
    backbone, images = timm_backbone("test_efficientnet").eval(), pictures(2, 32)
    mean, std = (torch.tensor(x).view(-1, 1, 1) for x in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    expected = backbone.network((images.float() / 255 - mean) / std)
    assert expected.shape == (2, backbone.width)
    torch.testing.assert_close(backbone(images), expected, atol=1e-4, rtol=1e-4)


def test_our_backbone_sees_images_as_the_encoder_was_pretrained():
    backbone, images = vit_backbone(VIT, 1).eval(), pictures(2)
    assert isinstance(backbone.network, GridReadout)
    torch.testing.assert_close(backbone(images), backbone.network.encoder(normalise(images)), atol=1e-5, rtol=1e-5)


def test_a_convolutional_backbone_is_read_cell_by_cell():
    backbone, images = face_backbone([4, 8], [1, 1], 2, 32).eval(), pictures(2, 32)
    assert isinstance(backbone.network, CellReadout)
    maps = backbone.network.stem(normalise(images))
    assert maps.shape == (2, 8, 8, 8) and backbone.width == 32
    cells = backbone(images).view(2, 8, 2, 2)
    torch.testing.assert_close(cells[:, :, 1, 0], maps[:, :, 4:, :4].mean(dim=(2, 3)), atol=1e-5, rtol=1e-4)
