"""The lane on real brokers."""

import pytest

pytest.register_assert_rewrite("tests.integration.lane.harness")
