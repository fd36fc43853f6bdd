"""Networks on a virtual clock, and the client's own sweep run over thousands of them in minutes."""
