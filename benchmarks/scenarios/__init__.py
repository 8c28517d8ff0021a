"""What `make bench` measures, a module for each question; each prints its table as it goes.

In: a `Bench`, which has peers and says how often. Out: rows, and bars with what was found. Every
figure is a median over runs; in a run all servers that are compared are there at once and take
turns, round by round, so that a busy machine is fair to all; a ratio is the median of the runs'
ratios.
"""
