"""Searching for a better recipe: by KerasTuner's oracles, over the fields of a recipe."""
