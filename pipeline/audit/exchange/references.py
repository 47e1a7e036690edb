"""Papers to cite, as data: facts alone, each with where they come from; what is not known is left out.

The challenge's own papers are known here by their numbers: their titles and authors were not read, so whoever cites
them completes the entry from arXiv.
"""

from dataclasses import dataclass

CITATION = "CITATION.cff of this project"
NUMBER = "its arXiv number; the edition by the month of the number"


@dataclass(frozen=True)
class Reference:
    """One paper: BibTeX's key and fields, and the source of the facts."""

    key: str
    source: str
    title: str = ""
    authors: tuple[str, ...] = ()
    year: int | None = None
    eprint: str = ""
    note: str = ""

    @property
    def bibtex(self) -> str:
        """The entry; a field that is not known is not there."""
        fields = {
            "author": " and ".join(self.authors),
            "title": f"{{{self.title}}}" if self.title else "",
            "year": str(self.year or ""),
            "eprint": self.eprint,
            "archivePrefix": "arXiv" if self.eprint else "",
            "note": self.note,
        }
        lines = [f"  {name} = {{{value}}}," for name, value in fields.items() if value]
        return "\n".join([f"% from {self.source}", f"@misc{{{self.key},", *lines, "}"])


SYSTEMS: dict[str, Reference] = {
    "au_cvt": Reference(
        "mao2022aucvt",
        CITATION,
        "AU-Supervised Convolutional Vision Transformers for Synthetic Facial Expression Recognition",
        ("Mao, Shuyi", "Li, Xinpeng", "Chen, Junyao", "Peng, Xiaojiang"),
        2022,
        "2207.09777",
    ),
    "multitask": Reference(
        "jeong2022synthetic",
        CITATION,
        "Learning from Synthetic Data: Facial Expression Classification based on Ensemble of Multi-task Networks",
        (
            "Jeong, Jae-Yeop",
            "Hong, Yeong-Gi",
            "Oh, JiYeon",
            "Hong, Sumin",
            "Jeong, Jin-Woo",
            "Jung, Yuchul",
        ),
        2022,
        "2207.10025",
        "Workshop version: LNCS 13806, pp. 60-75, doi 10.1007/978-3-031-25075-0\\_5",
    ),
    "emma": Reference(
        "li2022priori",
        CITATION,
        "Affective Behaviour Analysis Using Pretrained Model with Facial Priori",
        ("Li, Yifan", "Sun, Haomiao", "Liu, Zhaori", "Han, Hu"),
        2022,
        "2207.11679",
    ),
    "feedback": Reference(
        "yu2024exploring",
        CITATION,
        "Exploring Facial Expression Recognition through Semi-Supervised Pretraining and Temporal Modeling",
        (
            "Yu, Jun",
            "Wei, Zhihong",
            "Cai, Zhongpeng",
            "Zhao, Gongpeng",
            "Zhang, Zerui",
            "Wang, Yongqi",
            "Xie, Guochen",
            "Zhu, Jichao",
            "Zhu, Wangyuan",
        ),
        2024,
        "2403.11942",
    ),
    "dtm": Reference(
        "yu2023unlabeled",
        CITATION,
        "Exploring Large-scale Unlabeled Faces to Enhance Facial Expression Recognition",
        (
            "Yu, Jun",
            "Cai, Zhongpeng",
            "Li, Renda",
            "Zhao, Gongpeng",
            "Xie, Guochen",
            "Zhu, Jichao",
            "Zhu, Wangyuan",
        ),
        2023,
        "2303.08617",
    ),
    "dan": Reference("wen2021dan", "models/dan.py of this project", authors=("Wen", "others"), eprint="2109.07270"),
    "mini_xception": Reference(
        "arriaga2017",
        CITATION,
        "Real-time Convolutional Neural Networks for Emotion and Gender Classification",
        ("Arriaga, Octavio", "Valdenegro-Toro, Matias", "Plöger, Paul"),
        2017,
        "1710.07557",
    ),
}
SYSTEMS["cotex"] = SYSTEMS["emma"]  # one paper, two systems
MAE = Reference("he2022mae", "models/mae.py of this project", authors=("He", "others"), eprint="2111.06377")
MTCNN = Reference(
    "zhang2016mtcnn", "pipeline/faces/mtcnn.py of this project", authors=("Zhang", "others"), eprint="1604.02878"
)


def _edition(number: int, venue: str, year: int, eprint: str, source: str = NUMBER) -> Reference:
    note = f"The challenge's own paper of ABAW{number}, {venue} {year}; title and authors as arXiv has them"
    return Reference(f"abaw{number}", source, year=year, eprint=eprint, note=note)


EDITIONS: dict[str, Reference] = {  # no paper of 8, 9 and 11 is known here
    "abaw3": _edition(3, "CVPR", 2022, "2202.10659"),
    "abaw4": _edition(4, "ECCV", 2022, "2207.01138"),
    "abaw5": _edition(5, "CVPR", 2023, "2303.01498"),
    "abaw6": _edition(6, "CVPR", 2024, "2402.19344"),
    "abaw7": _edition(7, "ECCV", 2024, "2407.03835"),
    "abaw10": _edition(10, "CVPR", 2026, "2605.27451", "the official overview, by its arXiv number"),
}
