"""The Istio output: EnvoyFilters that put our protocols' filters in place of Istio's TCP proxy.

In: the graph, a host, and a profile. Out: Kubernetes objects, which Istio reads: the host's
EnvoyFilters, and for gateways the VirtualServices that open their listeners. One module a protocol;
each makes network filters as plain JSON, in the spelling that protobuf's canonical JSON has
(specification §3.0), and knows nothing of names, namespaces and selectors: those are `placing`'s.

`profile` says how like Aeraki's own the output is. Guaranteed: a host that cannot be decided keeps
its objects (`Output.held`); no object touches a port whose name is not a protocol's.
"""
