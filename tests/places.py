"""Where tests find things: the checkout, what lies beside it, and records of past schemas."""

from __future__ import annotations

from pathlib import Path

TESTS = Path(__file__).resolve().parent
ROOT = TESTS.parent
SHARED = ROOT.parent / "shared"
V1 = TESTS / "records" / "v1.json"
