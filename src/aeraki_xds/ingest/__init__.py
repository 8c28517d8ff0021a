"""1. Where configuration comes from: sources read manifests and say what happened to each object.

In: bytes from a folder (later from the Kubernetes API). Out: `Event` values, handed to an inbox.
Guaranteed: an unreadable manifest never removes the object it held before; nothing is said to be
synced before everything that is there was read.
"""
