"""Read the command line, run a command, return its exit status: the only room that prints."""
