"""How weights are found: precision, schedule, fit, and what one sees meanwhile."""
