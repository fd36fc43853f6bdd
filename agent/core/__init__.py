"""The nouns of all rooms: frozen values, and the errors that a user can meet."""
