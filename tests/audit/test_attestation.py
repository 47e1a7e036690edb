"""Signed statements: as other libraries read them, and every way in which one may be wrong told in one line."""

import base64
import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format
from in_toto_attestation.predicates.provenance.v1 import provenance_pb2
from in_toto_attestation.v1 import statement_pb2
from in_toto_attestation.v1.statement import Statement
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError

from pipeline.audit.attest import statement
from pipeline.audit.audit import Found
from pipeline.audit.claims import Claim
from pipeline.audit.exchange import verify
from pipeline.audit.exchange.envelope import sealed, write_attestation
from pipeline.audit.exchange.keys import new_key, public_path, read_public
from pipeline.audit.exchange.verify import check_statement
from tests.audit.licensed import OPEN, ROWS, found_in, licensed


class Known:
    """A history that knows one submission."""

    def __init__(self, found: Found) -> None:
        self.found = found


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Found:
    """A submission that the audit finds, and a key, in a folder of their own."""
    monkeypatch.chdir(tmp_path)
    found = found_in(licensed(tmp_path, {"toy.safetensors": OPEN | {"sha256": "0" * 64}}))
    monkeypatch.setattr(verify, "look_up", lambda file, history: history.found)
    monkeypatch.setattr(verify, "case_of", lambda hit, history: history.found.case)
    Path("predictions.txt").write_bytes(ROWS)
    new_key(Path("team.key"))
    return found


def said(found: Found, name: str = "s.json", key: bool = True) -> list[Claim]:
    public = public_path(Path("team.key")) if key else None
    return list(check_statement(Path(name), Path("predictions.txt"), public, Known(found)))  # type: ignore[arg-type]


def wrong(claims: list[Claim]) -> list[tuple[str, str]]:
    return [(claim.kind, claim.text) for claim in claims if claim.verdict == "broken"]


def test_other_libraries_read_and_verify_it(made: Found) -> None:
    write_attestation(Path("s.json"), statement(made, []), Path("team.key"))
    envelope = Envelope.from_dict(json.loads(Path("s.json").read_text()))
    assert envelope.payload_type == "application/vnd.in-toto+json"
    key = read_public(Path("team.key.pub"))
    assert envelope.verify([key], 1) == {key.keyid: key}
    message = json_format.Parse(envelope.payload, statement_pb2.Statement())
    Statement.copy_from_pb(message).validate()
    provenance = json_format.ParseDict(
        json_format.MessageToDict(message.predicate), provenance_pb2.Provenance(), ignore_unknown_fields=False
    )
    assert provenance.build_definition.build_type.startswith("https://")
    named = {one.name: dict(one.digest) for one in provenance.build_definition.resolved_dependencies}
    assert named["the project"] == {"gitCommit": "c0ffee"}
    assert len(named["data/raw/x"]["sha256"]) == 64


def test_same_statement_and_key_same_bytes(made: Found) -> None:
    for name in ("one.json", "two.json"):
        write_attestation(Path(name), statement(made, []), Path("team.key"))
    assert Path("one.json").read_bytes() == Path("two.json").read_bytes()


@pytest.mark.parametrize("key", [True, False])
def test_an_honest_statement_holds(made: Found, key: bool) -> None:
    write_attestation(Path("s.json"), statement(made, []), Path("team.key"))
    claims = said(made, key=key)
    assert wrong(claims) == []
    assert [claim.kind for claim in claims if claim.verdict == "unchecked"] == ([] if key else ["signature"])
    assert len(claims) == 7


def test_an_unsigned_one_is_said_to_be_unsigned(made: Found) -> None:
    write_attestation(Path("s.json"), statement(made, []))
    claims = said(made, key=False)
    assert wrong(claims) == []
    assert claims[0].text == "unsigned: anybody may have written it"
    assert wrong(said(made)) == [("signature", "it has no signature, and a key was given")]


def test_another_key_and_a_taken_off_signature(made: Found) -> None:
    new_key(Path("other.key"))
    write_attestation(Path("s.json"), statement(made, []), Path("other.key"))
    ((kind, text),) = wrong(said(made))
    assert kind == "signature" and "not by the given key" in text
    tree = json.loads(Path("s.json").read_text())
    Path("s.json").write_text(json.dumps(tree | {"signatures": []}))
    assert wrong(said(made)) == [("signature", "it has no signature, and a key was given")]


def test_every_flipped_byte_of_the_payload_is_seen(made: Found) -> None:
    """With the key each of them; our answer and that of securesystemslib are the same."""
    tree = sealed(statement(made, []), Path("team.key"))
    payload = base64.b64decode(tree["payload"])
    key = read_public(Path("team.key.pub"))
    for place in range(0, len(payload), 97):
        changed = bytearray(payload)
        changed[place] ^= 1
        bad = tree | {"payload": base64.b64encode(changed).decode()}
        Path("s.json").write_text(json.dumps(bad))
        ((kind, text),) = wrong(said(made))
        assert kind == "signature" and text.endswith("changed since")
        with pytest.raises(VerificationError):
            Envelope.from_dict(copy.deepcopy(bad)).verify([key], 1)


def test_another_payload_type_does_not_pass_under_the_signature(made: Found) -> None:
    tree = sealed(statement(made, []), Path("team.key"))
    Path("s.json").write_text(json.dumps(tree | {"payloadType": "text/plain"}))
    ((kind, text),) = wrong(said(made))
    assert kind == "signature" and "'text/plain'" in text


def test_an_id_that_the_signer_left_out_does_not_matter(made: Found) -> None:
    tree = sealed(statement(made, []), Path("team.key"))
    for signature in tree["signatures"]:
        del signature["keyid"]
    Path("s.json").write_text(json.dumps(tree))
    assert wrong(said(made)) == []


def of(name: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda tree: next(
        one for one in tree["predicate"]["buildDefinition"]["resolvedDependencies"] if one["name"] == name
    )


CHANGES: dict[str, tuple[Callable[[dict[str, Any]], Any], str, str]] = {
    "type": (lambda t: t.update(_type="https://in-toto.io/Statement/v9"), "form", "Statement/v9"),
    "predicate": (lambda t: t.update(predicateType="https://example.org/x"), "form", "an unknown predicate"),
    "no build": (lambda t: t["predicate"].pop("buildDefinition"), "form", "parts of SLSA's provenance are missing"),
    "other bytes": (lambda t: t["subject"][0]["digest"].update(sha256="1" * 64), "subject", "about other bytes"),
    "build type": (lambda t: t["predicate"]["buildDefinition"].update(buildType="x"), "build", "x -> https://dvc.org"),
    "commit": (lambda t: of("the project")(t)["digest"].update(gitCommit="bad"), "dependency", "bad -> c0ffee"),
    "data": (lambda t: of("data/raw/x")(t)["digest"].update(md5="1" * 32), "dependency", f"md5 {'1' * 32} -> "),
    "sha256": (lambda t: of("data/raw/x")(t)["digest"].update(sha256="2"), "dependency", "digest.sha256 2 -> "),
    "no digest": (lambda t: of("data/raw/x")(t).update(digest={}), "dependency", "no digest of it is one"),
    "licence": (
        lambda t: of("weights/toy.safetensors")(t)["annotations"].update(licence="none"),
        "dependency",
        "annotations.licence none -> MIT",
    ),
    "left out": (
        lambda t: t["predicate"]["buildDefinition"]["resolvedDependencies"].pop(),
        "dependency",
        "the chain has it, the statement does not",
    ),
    "added": (
        lambda t: t["predicate"]["buildDefinition"]["resolvedDependencies"].append(
            {"name": "n", "digest": {"md5": "1"}}
        ),
        "dependency",
        "n: the chain has no such dependency",
    ),
    "twice": (
        lambda t: t["predicate"]["buildDefinition"]["resolvedDependencies"].append(copy.deepcopy(of("the project")(t))),
        "dependency",
        "1 names stand twice",
    ),
    "param": (
        lambda t: t["predicate"]["buildDefinition"]["externalParameters"]["params"]["pretrain_mae@mae"]["params.yaml"][
            "pretrain_mae"
        ].update(mask_ratio=0.5),
        "params",
        "mask_ratio 0.5 -> 0.75",
    ),
    "command": (
        lambda t: t["predicate"]["buildDefinition"]["internalParameters"]["commands"].update({"submit@va": "cheat"}),
        "graph",
        "commands.submit@va cheat -> make submit@va",
    ),
    "run": (
        lambda t: t["predicate"]["runDetails"]["byproducts"][0]["annotations"].update({"finetune@vit-va": "b2"}),
        "runs",
        "finetune@vit-va b2 -> a1",
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_each_difference_is_named_and_nothing_else(made: Found, change: str) -> None:
    """Signed by the right key and yet untrue: what the statement says is held against what is found."""
    do, kind, text = CHANGES[change]
    tree = json.loads(json.dumps(statement(made, [])))
    do(tree)
    write_attestation(Path("s.json"), tree, Path("team.key"))
    ((found_kind, found_text),) = wrong(said(made))
    assert (found_kind, text in found_text) == (kind, True), found_text
    assert "\n" not in found_text


def test_a_strangers_words_do_not_reach_the_terminal(made: Found) -> None:
    tree = json.loads(json.dumps(statement(made, [])))
    hostile = {"name": "x\nverified: all\x1b[2J" + "y" * 999, "digest": {"md5": "1"}}
    tree["predicate"]["buildDefinition"]["resolvedDependencies"].append(hostile)
    write_attestation(Path("s.json"), tree, Path("team.key"))
    ((_, text),) = wrong(said(made))
    assert text.startswith("x?verified: all?[2Jyyy") and len(text) == 240


def test_bytes_that_nobody_knows(made: Found, monkeypatch: pytest.MonkeyPatch) -> None:
    write_attestation(Path("s.json"), statement(made, []))
    monkeypatch.setattr(verify, "look_up", lambda file, history: None)
    ((kind, text),) = wrong(said(made, key=False))
    assert kind == "subject" and "no lock in this repository" in text


def test_digests_of_what_is_not_here_are_not_compared_and_that_is_said(made: Found) -> None:
    write_attestation(Path("s.json"), statement(made, []), Path("team.key"))
    for item in made.case.data.values():
        for md5 in (made.case.objects.listing(item) or {}).values():
            made.case.objects.cached(md5).unlink()
    claims = said(made)
    assert wrong(claims) == []
    (text,) = (claim.text for claim in claims if claim.verdict == "unchecked")
    assert text.endswith("since their bytes are not here: data/raw/x")


@pytest.mark.parametrize(
    "text", ["", "[]", "nonsense", "[" * 99999, '{"payload": 1}', '{"payload": "!!"}', '{"signatures": 3}', "7"]
)
def test_what_is_no_statement_is_told_in_one_line(made: Found, text: str) -> None:
    from pipeline.core.errors import MienError

    Path("s.json").write_text(text)
    try:
        claims = said(made, key=False)
    except MienError as error:
        assert "\n" not in str(error) and error.exit_code == 1
    else:
        ((kind, _),) = wrong(claims)
        assert kind == "form"
