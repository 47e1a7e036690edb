"""The page of words that a bundle starts with: what it is, how to check it, how to rebuild it."""

from pipeline.audit.case import Case
from pipeline.audit.exchange.contents import LeftOut

TEXT = """# {file} of {stage}

A submission with all that made it, as far as it may be passed on. Written by `mien bundle`.

| | |
|---|---|
| submission | `{file}`, md5 `{md5}` |
| commit | `{commit}` |
| code, params, graph, lock, pinned environment | `code/` |
| trained weights, scores of the test list, run records | `outputs/` |
| weights from outside | `external/`, where their licence allows it |
| statement | `statement.intoto.json`, {signed} |
| the audit, where the bundle was made | `audit.html` |

## Check

```
pip install './code[pipeline]'   # or any Mien of this version or later
mien audit {file}
mien audit {file} --verify-attestation statement.intoto.json{key}
```

Both run in this folder. The code is put together to the commit again (git's own digest of all files), each output is
held against the lock of that commit, links, params and rules are checked anew. What needs the data themselves is said
to be unchecked. The sha256 of each file stands in `bundle.json`.

## Rebuild

```
cp -r code project && cd project
git init -q && git add -A && git commit -qm "the bundle's code"
make setup && . .venv/bin/activate
{data}
dvc repro {stage}
cmp {path} ../{file}
```

Bytes come out the same on the same kind of processor; on another, sums of floats come in another order
(`mien diff` tells rows apart).

## Not in here

{left}
"""
SHOWN = 40
NO_DATA = "# the data are rendered by the first stage: nothing to bring"


def readme(case: Case, file: str, left_out: list[LeftOut], is_signed: bool) -> str:
    """The text of README.md."""
    hit = case.hit
    data = [f"# put the data at {item.path}: md5 {item.md5}, {item.size} bytes" for item in case.data.values()]
    outside = [f"# put {one.path} there: {one.why}, {one.digest}" for one in left_out if one.why.startswith("weights")]
    lines = [f"- `{one.path}` ({one.digest}): {one.why}" for one in left_out[:SHOWN]]
    more = len(left_out) - len(lines)
    return TEXT.format(
        file=file,
        stage=hit.stage,
        path=hit.item.path,
        md5=hit.item.md5,
        commit=hit.commits[0],
        signed="signed (DSSE, Ed25519): ask the team for its public key" if is_signed else "unsigned",
        key=" --key PUBLIC" if is_signed else "",
        data="\n".join([*data, *outside]) or NO_DATA,
        left="\n".join([*lines, *([f"- and {more} more: `left_out` in `bundle.json`"] if more else [])]),
    )
