"""What tests of the whole service share: traffic, worker processes, and what those left behind."""

import pytest

pytest.register_assert_rewrite("tests.harness.story")
