"""Which tests of the suite of weight methods are left to the whole run."""

import pytest

SLOW = "test_draws_are_those_of_the_stated_posterior"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The suite is shipped without marks of ours."""
    for item in items:
        if getattr(item, "originalname", "") == SLOW:
            item.add_marker(pytest.mark.slow)
