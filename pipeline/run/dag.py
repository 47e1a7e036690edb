"""The graph, read from DVC: the only definition of what depends on what."""

from pathlib import Path

import networkx as nx
from dvc.repo import Repo


def stage_order(root: Path | None = None) -> dict[str, list[str]]:
    """Each stage of the pipeline and the stages it depends on, upstream first.

    Stages are named as `dvc repro` takes them (`finetune@vit-expr`, `demo/dvc.yaml:synthesize`). A stage of another
    dvc.yaml belongs to the pipeline when a stage of the main one needs it.
    """
    with Repo(str(root or Path.cwd())) as repo:
        graph = repo.index.graph
        main = [stage for stage in graph if ":" not in stage.addressing and stage.is_data_source is False]
        wanted = set(main).union(*(nx.descendants(graph, stage) for stage in main))
        ordered = [stage for stage in nx.dfs_postorder_nodes(graph.subgraph(wanted)) if not stage.is_data_source]
        return {
            s.addressing: sorted(d.addressing for d in graph.successors(s) if not d.is_data_source) for s in ordered
        }
