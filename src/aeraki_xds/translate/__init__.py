"""3. From the mesh to Envoy's messages: pure, sorted, deterministic.

In: the graph and one host (and, for ADS, what the proxy can do). Out: `Output`: drafts of
resources, the names that must stay as they are, and findings. One module a protocol, plus
clusters, endpoints and listeners; `compose` puts them together. Nothing here encodes or serves.
"""
