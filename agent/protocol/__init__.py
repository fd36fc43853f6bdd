"""What both sides say: bytes to values and back; no file here knows which side it serves."""
