"""Find problems on the server itself, beside its ports: collect what is known, evaluate it."""
