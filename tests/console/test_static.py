"""The one library that pages load: which, from where, and under which licence."""

from __future__ import annotations

import re
from hashlib import sha256
from importlib.resources import files

from grantledger.adapters.console.rendering import PACKAGE

STATIC = files(PACKAGE) / "static"
VERSION = "2.0.10"
SHA256 = "71ea67185bfa8c98c39d31717c6fce5d852370fcdfd129db4543774d3145c0de"


def test_htmx_is_the_published_file_and_its_licence_stands_beside_it() -> None:
    library = (STATIC / "htmx.min.js").read_bytes()
    assert sha256(library).hexdigest() == SHA256
    assert f'version:"{VERSION}"'.encode() in library
    note = (STATIC / "htmx.LICENSE").read_text(encoding="utf-8")
    assert f"htmx {VERSION}" in note
    assert SHA256 in note
    assert "Zero-Clause BSD" in note


def test_htmx_neither_evaluates_nor_writes_styles_nor_leaves_the_origin() -> None:
    base = (files(PACKAGE) / "templates" / "base.html").read_text(encoding="utf-8")
    found = re.search(r'name="htmx-config" content=\'([^\']+)\'', base)
    assert found is not None
    for said in (
        '"allowEval":false',
        '"allowScriptTags":false',
        '"includeIndicatorStyles":false',
        '"selfRequestsOnly":true',
        '"historyCacheSize":0',
    ):
        assert said in found[1]
