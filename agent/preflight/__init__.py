"""What is wrong at the server itself: collect, evaluate."""
