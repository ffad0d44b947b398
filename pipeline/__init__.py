"""Data, training, export and proof: from a recipe to a bundle that may ship."""
