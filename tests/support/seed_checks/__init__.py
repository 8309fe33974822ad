"""One check for each checkable row of seeds/claims.csv, by area. Each reproduces, refutes or honours its claim."""
