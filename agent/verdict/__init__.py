"""Evidence to state, place and reason, and those to findings; what to tell the user."""
