"""Pure rules: what is on the old unit, what the new one can hold, what the person decided; out comes a plan."""
