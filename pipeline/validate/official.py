"""Published statistics of the official releases (ABAW sites, papers and participants' printed notebooks)."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Figures:
    """What is known of one track's split; None where no figure was published."""

    videos: int | None = None
    rows: int | None = None
    valid: int | None = None
    classes: tuple[int, ...] = ()


OFFICIAL: dict[tuple[str, str], Figures] = {
    ("expr", "train"): Figures(
        248, 1_102_504, 597_361, (179_434, 17_153, 10_978, 9_110, 94_344, 80_671, 30_639, 169_887)
    ),
    ("expr", "validation"): Figures(70, None, 284_230, (83_176, 6_127, 5_322, 8_473, 34_941, 25_594, 12_338, 108_259)),
    ("expr", "test"): Figures(228, 1_022_655),
    ("va", "train"): Figures(356, None, 1_679_857),
    ("va", "validation"): Figures(76, None, 382_021),
    ("va", "test"): Figures(162, 927_210),
    ("au", "train"): Figures(None, None, 1_359_523),
    ("au", "validation"): Figures(105, None, 445_845),
    ("au", "test"): Figures(141, 729_736),
    ("mtl", "train"): Figures(257, 142_382, 90_645, (23_976, 4_555, 3_168, 3_122, 18_135, 7_609, 5_228, 24_852)),
    ("mtl", "validation"): Figures(50, 26_876, 15_440, (1_886, 487, 565, 1_254, 3_751, 1_893, 1_003, 4_601)),
    ("mtl", "test"): Figures(82, 51_159),
    ("lsd", "train"): Figures(None, 277_251, 277_251, (18_286, 15_150, 10_923, 73_285, 144_631, 14_976)),
    ("lsd", "validation"): Figures(None, 4_670, 4_670),
    ("lsd", "test"): Figures(None, 106_120),
    ("ce", "test"): Figures(56, 26_145),
}
