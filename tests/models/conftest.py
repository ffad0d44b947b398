import keras
import pytest


@pytest.fixture(autouse=True)
def seed():
    """Start every test from the same random numbers."""
    keras.utils.set_random_seed(0)


@pytest.fixture
def policy(request):
    """Run a test under the dtype policy that it is parametrized with, then put the old one back."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(request.param)
    yield request.param
    keras.config.set_dtype_policy(before)
