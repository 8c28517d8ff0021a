"""The load harness: many discovery streams against any xDS server, from one process.

In: an address and what to ask for. Out: when each stream was sent what, and how long it took. It
speaks raw HTTP/2 frames, for a client library costs more per stream than the server that it is to
measure.
"""
