"""Arguments in, exit status out: the only room that prints."""
