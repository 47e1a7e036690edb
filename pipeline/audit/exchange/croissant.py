"""Croissant metadata of the data behind a submission: what there is, by name and digest; the data stay where they are.

https://docs.mlcommons.org/croissant/docs/croissant-spec-1.0.html. A folder's files are told by DVC's list of them,
which goes along and is the only file that a reader of this can open: a record set gives path and md5 of each.
"""

import hashlib
import json
from typing import Any

from pipeline.audit.case import Case
from pipeline.audit.exchange.contents import is_rendered, raw_data
from pipeline.audit.exchange.package import Member
from pipeline.audit.locks import DIRECTORY, Item

CONFORMS = "http://mlcommons.org/croissant/1.0"
CC0 = "https://creativecommons.org/publicdomain/zero/1.0/"
CLOSED = "Under the terms of whoever released the data; they are not part of this file's crate."
CONTEXT = {  # the specification's own, as it stands there
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}


def list_name(item: Item) -> str:
    """Where the list of a folder's files lies in a crate."""
    return f"lists/{item.md5.removesuffix(DIRECTORY)}.json"


def lists_of(case: Case) -> dict[str, Member]:
    """The lists of the data's folders that are known here, by their names in a crate."""
    found = {}
    for item in raw_data(case):
        listing = case.objects.listing(item) if item.is_folder else None
        if listing:
            rows = [{"md5": md5, "relpath": path} for path, md5 in sorted(listing.items())]
            found[list_name(item)] = Member(json.dumps(rows, sort_keys=True).encode())
    return found


def croissant(case: Case, published: str, lists: dict[str, Member]) -> dict[str, Any]:
    """The metadata as plain data; `published` is a date, `lists` what `lists_of` gave."""
    items = raw_data(case)
    listed = [item for item in items if list_name(item) in lists]
    names = ", ".join(item.path for item in items)
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": CONFORMS,
        "name": f"data-behind-{case.hit.stage.replace('@', '-')}",
        "description": f"Data behind a submission of the track {case.track}: {names}. Digests tell the exact bytes.",
        "license": CC0 if is_rendered(case) else CLOSED,
        "url": f"https://dvc.org/doc#{case.hit.commits[0] if case.hit.commits else 'uncommitted'}",
        "version": "1.0.0",
        "datePublished": published,
        "citeAs": "`mien rules FILE --paper` writes what to cite.",
        "distribution": [part for item in items for part in _distribution(item, lists)],
        "recordSet": [_records(item) for item in listed],
    }


def _id(item: Item) -> str:
    return item.path.replace("/", "-")


def _distribution(item: Item, lists: dict[str, Member]) -> list[dict[str, Any]]:
    """A file, or a folder's list and the set of files that it tells of."""
    if not item.is_folder:
        return [_object(_id(item), item.path, item.path, item.size, {"md5": item.md5}, "application/octet-stream")]
    name = list_name(item)
    files = {
        "@type": "cr:FileSet",
        "@id": f"{_id(item)}-files",
        "name": f"{_id(item)}-files",
        "description": f"{item.nfiles} files, {item.size} bytes, below {item.path}; DVC's digest {item.md5}",
        "encodingFormat": "application/octet-stream",
        "includes": f"{item.path}/**",
    }
    if name not in lists:
        return [files]
    data = lists[name].data
    digests = {"sha256": hashlib.sha256(data).hexdigest(), "md5": hashlib.md5(data).hexdigest()}
    return [_object(f"{_id(item)}-list", name, item.path, len(data), digests, "application/json"), files]


def _object(name: str, url: str, path: str, size: int, digests: dict[str, str], encoding: str) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": name,
        "name": name,
        "description": f"of {path}",
        "contentUrl": url,
        "contentSize": f"{size} B",
        "encodingFormat": encoding,
        **digests,
    }


def _records(item: Item) -> dict[str, Any]:
    """A record for each file of a folder: its path and its md5."""
    name = f"{_id(item)}-digests"
    fields = [
        {
            "@type": "cr:Field",
            "@id": f"{name}/{field}",
            "name": f"{name}/{field}",
            "description": what,
            "dataType": "sc:Text",
            "source": {"fileObject": {"@id": f"{_id(item)}-list"}, "extract": {"jsonPath": f"$[*].{field}"}},
        }
        for field, what in (("relpath", f"path of a file below {item.path}"), ("md5", "md5 of its bytes"))
    ]
    return {
        "@type": "cr:RecordSet",
        "@id": name,
        "name": name,
        "description": f"Files of {item.path}.",
        "field": fields,
    }
