"""The benchmarks: everything is measured side by side, in one run, on this machine's loopback (`make bench`)."""
