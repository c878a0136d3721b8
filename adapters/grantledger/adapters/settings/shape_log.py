"""What the settings' file may say of the Merkle log and who sees it."""

from __future__ import annotations

from typing import Annotated

import msgspec

from grantledger.adapters.settings.bounds import Text, Texts


class _Settings(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Base: an unknown name is a mistake, not a hint."""


class WitnessSettings(_Settings):
    """Who cosigns checkpoints (C2SP tlog-witness).

    Attributes:
        url: submission prefix; `/add-checkpoint` is added.
        key: verifier key of type 0x04: `name+id+base64`.
        seconds: for one answer.
    """

    url: Text
    key: Text
    seconds: Annotated[float, msgspec.Meta(ge=0.1, le=60)] = 5.0


class LogSettings(_Settings):
    """The log's name to the world, and how its checkpoints are published.

    Attributes:
        origin: checkpoints' first lines begin with it, such as `example.com/grants`;
            the log's incarnation follows after a slash.
        publish: services and workers publish checkpoints; one of them does at a time.
        publish_seconds, publish_leaves: after so long, or so many new leaves.
        late_seconds: leaves that no checkpoint covers for longer are an outage; with
            it the maximum merge delay that is promised.
        overlap_days: how long a signing key that was replaced signs as well.
        public: checkpoint and tiles of hashes are for all; entries are for no one
            without `read_log`.
        witnesses: asked for cosignatures.
        quorum: of them have to cosign; 0: none has to.
        exports: where each checkpoint is written once: a `file:` URL of a directory,
            or an `https:` prefix that takes PUT.
        export_seconds: at most one in so long.
        ca_file: trust anchors for witnesses and exports, in PEM.
    """

    origin: Text = "grantledger"
    publish: bool = True
    publish_seconds: Annotated[float, msgspec.Meta(ge=0.1, le=3600)] = 1.0
    publish_leaves: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 1000
    late_seconds: Annotated[float, msgspec.Meta(ge=1, le=86_400)] = 60.0
    overlap_days: Annotated[float, msgspec.Meta(ge=0, le=3650)] = 7.0
    public: bool = False
    witnesses: Annotated[list[WitnessSettings], msgspec.Meta(max_length=32)] = []
    quorum: Annotated[int, msgspec.Meta(ge=0, le=32)] = 0
    exports: Texts = []
    export_seconds: Annotated[float, msgspec.Meta(ge=1, le=86_400)] = 60.0
    ca_file: Text | None = None
