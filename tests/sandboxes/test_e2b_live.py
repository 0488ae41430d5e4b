"""The contract against the real E2B, with the key of whoever runs it: `pytest --live`. It costs sandbox minutes."""

from __future__ import annotations

import os

import pytest

from flue_ci.core.ports import SandboxProvider
from flue_ci.sandboxes.e2b.provider import E2BProvider
from flue_ci.testing.sandbox_contract import SandboxContract


@pytest.mark.live
class TestLiveContract(SandboxContract):
    also_visible = frozenset(
        {"E2B_SANDBOX", "E2B_SANDBOX_ID", "E2B_TEAM_ID", "E2B_TEMPLATE_ID", "E2B_EVENTS_ADDRESS", "E2B_SANDBOX_URL"}
    )

    @pytest.fixture
    def provider(self) -> SandboxProvider:
        return E2BProvider(
            api_key=os.environ["E2B_API_KEY"],
            domain=os.environ.get("E2B_DOMAIN", ""),
            api_url=os.environ.get("E2B_API_URL", ""),
            sandbox_url=os.environ.get("E2B_SANDBOX_URL", ""),
        )
