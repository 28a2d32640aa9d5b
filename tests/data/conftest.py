from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _apart_from_the_machine(
    tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No environment variable, an empty cache, no proxy between us and the local server."""
    if "real_root" not in request.fixturenames:
        monkeypatch.delenv("PPL_VAE_DATA", raising=False)
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda name: str(tmp_path / "cache" / name))
    monkeypatch.setenv("no_proxy", "*")


@pytest.fixture
def real_root() -> Path:
    root = os.environ.get("PPL_VAE_DATA")
    if root is None:
        pytest.skip("PPL_VAE_DATA is not set")
    return Path(root)
