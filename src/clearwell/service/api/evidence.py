"""Evidence under `/v1`: the manifest, seals, signed checkpoints, and proofs that an event is in the log."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response

from clearwell.application import checkpointing, proving, sealing
from clearwell.service.api import cursors
from clearwell.service.api.answers import json_answer
from clearwell.service.api.asking import USUAL_LIMIT, CursorParameter, LimitParameter
from clearwell.service.api.cursors import Cursor
from clearwell.service.api.schemas import CheckpointAnswer, ProofAnswer, SealsAnswer, SegmentsAnswer, responses
from clearwell.service.api.security import Querying, Reading

router = APIRouter(tags=["evidence"])

_HASH = "0" * 64
_SEAL = {"number": 1, "tree_size": 41, "root": _HASH, "sealed_at": "2026-02-01T00:00:03.000001Z", "hash": _HASH}


@router.get(
    "/v1/segments",
    summary="The manifest of the log",
    responses=responses(
        SegmentsAnswer, {"segments": [{"number": 1, "hash": _HASH}], "next_cursor": None}, of_cut=False
    ),
)
def segments(
    request: Request, principal: Reading, limit: LimitParameter = None, cursor: CursorParameter = ""
) -> Response:
    """A row per segment, linked by hash, in order."""
    subject, most = cursors.subject_of(request, principal), limit or USUAL_LIMIT
    after = int(cursors.read(cursor, subject, (int,)).place[0]) if cursor else 0
    workspace = request.app.state.service.workspace
    rows = [asdict(item) for item in workspace.log().segments if item.number > after][:most]
    following = cursors.written(Cursor((rows[-1]["number"],)), subject) if len(rows) >= most else None
    return json_answer({"segments": rows, "next_cursor": following})


@router.get(
    "/v1/seals", summary="The seals of the log", responses=responses(SealsAnswer, {"seals": [_SEAL]}, of_cut=False)
)
def seals(request: Request, _principal: Reading) -> Response:
    """Roots of the Merkle tree over the events, each linked to the one before."""
    found = sealing.read_sealed(request.app.state.service.workspace)
    return json_answer({"seals": [asdict(item) for item in found.seals]})


@router.post(
    "/v1/checkpoint",
    summary="A signed checkpoint",
    responses=responses(
        CheckpointAnswer, {"note": "clearwell\n41\n…", "verifier_key": "clearwell+…", "seal": _SEAL}, of_cut=False
    ),
)
def checkpoint(request: Request, principal: Querying) -> Response:
    """Seal what is not sealed, and sign size and root of the tree, for others to keep."""
    issued = checkpointing.checkpoint(request.app.state.service.workspace.by(principal.actor))
    seal = asdict(issued.seal)
    return json_answer({"note": issued.note, "verifier_key": issued.verifier.text(), "seal": seal})


@router.get(
    "/v1/proof/{event}",
    summary="The proof that an event is in the log",
    responses=responses(
        ProofAnswer,
        {
            "format": "clearwell-proof-1",
            "event": "{}",
            "leaf_index": 0,
            "tree_size": 41,
            "audit_path": [],
            "root": _HASH,
        },
        of_cut=False,
    ),
)
def proof(
    request: Request,
    _principal: Reading,
    event: Annotated[str, Path(max_length=1_024, description="The event's id, or #SEQUENCE.", examples=["evt_1"])],
    producer: Annotated[str, Query(max_length=255, description="Whose event, where several have this id.")] = "",
    size: Annotated[int | None, Query(ge=1, le=2**62, description="Of the tree of this size.")] = None,
) -> Response:
    """Its canonical text, and the hashes that lead from it to the root of the tree."""
    found = proving.prove(request.app.state.service.workspace, event, producer, size)
    return json_answer(json.loads(found.text()))
