import keras
import pytest


@pytest.fixture(autouse=True)
def seed():
    """Start every test from the same random numbers."""
    keras.utils.set_random_seed(0)


@pytest.fixture
def mixed_bfloat16():
    """Run a test under mixed precision, then put the old policy back."""
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    yield
    keras.config.set_dtype_policy(policy)
