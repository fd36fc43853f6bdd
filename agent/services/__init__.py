"""What holds ports: find, plan, stop, restore, and the guardian that survives the program."""
