"""What others say: IP, ICMP, BPF and X.509, who answered in the server's place, and how to show it safely."""
