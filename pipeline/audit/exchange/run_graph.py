"""The chain as entities of a Provenance Run Crate: steps, tools, actions, params, data by digest, software."""

from datetime import UTC, datetime
from functools import cached_property
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import Any

from pipeline.audit.case import Case
from pipeline.audit.check.code import code_of
from pipeline.audit.check.runs import open_store
from pipeline.audit.exchange.contents import outside_weights
from pipeline.audit.locks import DIRECTORY, Item, Stage
from pipeline.audit.outside import named_weights
from pipeline.core.paths import CODE, RUNS
from pipeline.run.tracking import flatten

Entity = dict[str, Any]
WORKFLOW = "dvc.yaml"
RUN, LANGUAGE = "#run", "https://dvc.org/doc/user-guide/project-structure/dvcyaml-files"
PYPI = "https://pypi.org/project"
SWH_LENGTH = 40  # Software Heritage names commits by SHA-1
UNITS = {
    "seconds": "http://qudt.org/vocab/unit/SEC",
    "peak_memory_bytes": "http://qudt.org/vocab/unit/BYTE",
}


def ref(identifier: str) -> dict[str, str]:
    """A reference to an entity."""
    return {"@id": identifier}


def _refs(identifiers: Any) -> list[dict[str, str]]:
    return [ref(one) for one in dict.fromkeys(identifiers)]


class RunGraph:
    """All entities of a chain: `data` are data entities, `context` the others, `actions` the ids of what was done."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.data: dict[str, Entity] = {}
        self.context: dict[str, Entity] = {}
        self.actions: list[str] = [RUN]
        self._steps: list[str] = []
        self._controls: list[str] = []
        self._software()
        self.result = self._formal(case.hit.item.path, "File", PurePosixPath(case.hit.item.path).name)
        for place, stage in enumerate(reversed(case.stages)):
            self._stage(place, stage)
        self._whole()

    def workflow(self) -> Entity:
        """dvc.yaml as the workflow."""
        return {
            "@type": ["File", "SoftwareSourceCode", "ComputationalWorkflow", "HowTo"],
            "name": "dvc.yaml",
            "description": "The graph: every stage with what it reads and writes, from raw data to submissions.",
            "url": LANGUAGE,
            "version": self.case.hit.commits[0] if self.case.hit.commits else "not committed",
            "programmingLanguage": ref(LANGUAGE),
            "step": _refs(self._steps),
            "hasPart": _refs(tool for tool, one in self.context.items() if one.get("additionalType") == "stage"),
            "input": _refs(self._inputs),
            "output": [ref(self.result)],
        }

    @cached_property
    def _times(self) -> dict[str, Entity]:
        """When each run began and ended, where MLflow's store is here."""
        client, _ = open_store()
        found = {}
        for name, record in self.case.runs.items() if client else ():
            info = _info(client, record["run_id"])
            if info and info.end_time:
                found[name] = {"startTime": _moment(info.start_time), "endTime": _moment(info.end_time)}
        return found

    @cached_property
    def _inputs(self) -> list[str]:
        """Formal parameters of what no stage of the chain makes."""
        made = {out.path for stage in self.case.stages for out in stage.outs}
        entities = self.context.values()
        inputs = (one for one in entities if one["@type"] == "FormalParameter" and one["name"] not in made)
        return [str(one["@id"]) for one in inputs if one["@id"] != self.result]

    def _add(self, entity: Entity) -> str:
        self.context.setdefault(entity["@id"], entity)
        return str(entity["@id"])

    def _software(self) -> None:
        """DVC, which ran the graph, MLflow, which kept the records, and dvc.yaml's language."""
        self.engine = self._library("dvc", version("dvc"))
        self._library("mlflow", version("mlflow"))
        language = {"name": "DVC pipeline", "url": LANGUAGE, "identifier": ref(LANGUAGE)}
        self._add({"@id": LANGUAGE, "@type": "ComputerLanguage", **language})

    def _library(self, name: str, number: str) -> str:
        url = f"{PYPI}/{name}/{number}/"
        return self._add({"@id": url, "@type": "SoftwareApplication", "name": name, "url": url, "version": number})

    def _stage(self, place: int, stage: Stage) -> None:
        """A stage's step, tool and action, with the action that ties them."""
        tool = self._tool(stage)
        step = {"@id": f"#step/{stage.name}", "@type": "HowToStep", "name": stage.name, "position": str(place)}
        self._steps.append(self._add(step | {"workExample": ref(tool)}))
        action = self._action(stage, tool)
        control = {"@id": f"#control/{stage.name}", "@type": "ControlAction", "name": f"orchestrate {stage.name}"}
        self._controls.append(self._add(control | {"instrument": ref(step["@id"]), "object": ref(action)}))
        self.actions.append(action)

    def _tool(self, stage: Stage) -> str:
        """The program of a stage, by Software Heritage's id of its file in the commit; several stages may share it."""
        module = f"stages/{stage.name.partition('@')[0]}.py"
        commit = self.case.hit.commits[0] if self.case.hit.commits else ""
        is_sha1 = len(commit) == SWH_LENGTH
        name = f"swh:1:rev:{commit};path=/{module}" if is_sha1 else f"#tool/{module}"
        _, libraries = code_of(self.case, stage)
        tool = self._add(
            {
                "@id": name,
                "@type": "SoftwareApplication",
                "additionalType": "stage",
                "name": module,
                "version": commit or "not committed",
                "softwareRequirements": [],
                "input": [],
                "output": [],
            }
        )
        entity = self.context[tool]
        entity["softwareRequirements"] = _merged(entity["softwareRequirements"], map(self._library, *_pairs(libraries)))
        entity["input"] = _merged(entity["input"], (self._of_item(dep)[1] for dep in stage.deps))
        entity["output"] = _merged(entity["output"], (self._of_item(out)[1] for out in stage.outs))
        return tool

    def _action(self, stage: Stage, tool: str) -> str:
        """One run of a stage: what it read, under which params, what it made, on what machine."""
        run = self.case.runs.get(stage.name, {})
        used = [self._weight(name) for name in named_weights(self.case, stage)]
        own = Path(self.case.hit.item.path)
        made = [own.name if out.path == own.as_posix() else self._of_item(out)[0] for out in stage.outs]
        told = f"{stage.cmd}; MLflow run {run['run_id'] or 'unknown'}" if run else stage.cmd
        action = {
            "@id": f"#action/{stage.name}",
            "@type": "CreateAction",
            "name": stage.name,
            "description": f"{told}; {run.get('hardware', 'machine not told')}",
            "instrument": ref(tool),
            "object": _refs([*(self._of_item(dep)[0] for dep in stage.deps), *self._params(stage), *used]),
            "result": _refs(made),
            "actionStatus": "http://schema.org/CompletedActionStatus",
            "resourceUsage": [ref(self._usage(stage, name, run[name])) for name in UNITS if name in run],
            **self._times.get(stage.name, {}),
        }
        return self._add({key: value for key, value in action.items() if value != []})

    def _usage(self, stage: Stage, name: str, value: Any) -> str:
        entity = {"@id": f"#usage/{stage.name}/{name}", "@type": "PropertyValue", "name": name, "propertyID": name}
        return self._add(entity | {"value": str(value), "unitCode": UNITS[name]})

    def _params(self, stage: Stage) -> list[str]:
        """A property for each param; two stages that read the same value share it."""
        found = []
        for file, values in stage.params.items():
            for name, value in flatten(dict(values)).items():
                same = self.context.get(f"#param/{file}/{name}", {"value": str(value)})["value"] == str(value)
                key = f"{file}/{name}" + ("" if same else f"/{stage.name}")
                formal = self._formal(key, "Text", f"#param/{key}")
                entity = {"@id": f"#param/{key}", "@type": "PropertyValue", "name": name, "value": str(value)}
                found.append(self._add(entity | {"exampleOfWork": ref(formal)}))
        return found

    def _formal(self, name: str, kind: str, example: str) -> str:
        entity = {"@id": f"#formal/{name}", "@type": "FormalParameter", "additionalType": kind, "name": name}
        return self._add(entity | {"workExample": ref(example)})

    def _of_item(self, item: Item) -> tuple[str, str]:
        """A file or folder that is not in the crate: its entity by digest, and its formal parameter."""
        kind, ending = ("Dataset", "/") if item.is_folder else ("File", "")
        name = f"urn:md5:{item.md5.removesuffix(DIRECTORY)}#{item.path}{ending}"
        if item.path == self.case.hit.item.path:
            return PurePosixPath(item.path).name, self.result
        entity = {"@id": name, "@type": kind, "name": item.path, "description": _described(item)}
        formal = self._formal(item.path, kind, name)
        size = {"contentSize": str(item.size)} if item.size else {}
        known = {"md5": item.md5, "exampleOfWork": ref(formal)}
        self.data.setdefault(name, entity | size | known)
        return name, formal

    def _weight(self, name: str) -> str:
        """Weights that were not trained here."""
        entry = outside_weights(self.case)[name]
        identifier = f"urn:sha256:{entry.sha256}" if entry else f"#undeclared/{name}"
        formal = self._formal(f"weights/{name}", "File", identifier)
        entity: Entity = {"@id": identifier, "@type": "File", "name": name, "exampleOfWork": ref(formal)}
        if entry:
            seen = ", ".join(entry.trained_on)
            entity |= {"license": entry.licence, "description": f"from {entry.source}; trained on {seen}"}
            entity |= {"sha256": entry.sha256}
        self.data.setdefault(identifier, entity)
        return identifier

    def _whole(self) -> None:
        """The run of the whole workflow, and DVC's part in it."""
        entities = [*self.context.values(), *self.data.values()]
        inputs = set(self._inputs)
        used = [str(one["@id"]) for one in entities if one.get("exampleOfWork", {}).get("@id") in inputs]
        stage = self.case.hit.stage
        run = {
            "@id": RUN,
            "@type": "CreateAction",
            "name": f"run of {stage} and all that it stands on",
            "description": f"dvc repro {stage}",
            "instrument": ref(WORKFLOW),
            "object": _refs(used),
            "result": [ref(PurePosixPath(self.case.hit.item.path).name)],
            **{key: value for key, value in self._times.get(stage, {}).items() if key == "endTime"},
        }
        self._add(run)
        organised = {"@id": "#organize", "@type": "OrganizeAction", "name": "DVC's run of the graph"}
        parts = {"instrument": ref(self.engine), "object": _refs(self._controls), "result": ref(RUN)}
        self._add(organised | parts)


def _pairs(libraries: dict[str, str]) -> tuple[list[str], list[str]]:
    return list(libraries), list(libraries.values())


def _merged(former: list[dict[str, str]], more: Any) -> list[dict[str, str]]:
    return _refs([*(one["@id"] for one in former), *more])


def _described(item: Item) -> str:
    path = Path(item.path)
    what = f"{item.nfiles} files" if item.is_folder else "a file"
    if path.is_relative_to(CODE):
        what = "what code a stage can reach, by digests"
    elif path.is_relative_to(RUNS):
        what = "the record of a run"
    return f"{what}; not in this crate, named by DVC's digest {item.md5}"


def _info(client: Any, run_id: str) -> Any:
    from mlflow.exceptions import MlflowException

    try:
        return client.get_run(run_id).info if run_id else None
    except MlflowException:
        return None


def _moment(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds")
