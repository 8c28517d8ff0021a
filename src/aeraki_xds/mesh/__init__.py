"""What configuration means: pure objects, names and the questions one may ask of them.

In: `Upsert`, `Delete`, `Rejected` values made by `ingest`. Out: the set of hosts that a change
touches, and for one host its service, its rules and its subsets. No I/O, no clock, no protocol.

Glossary, one word for one thing:

- *object*: one Kubernetes-style manifest, a frozen `msgspec.Struct` with a `Key`.
- *host*: a service's fully qualified name, the unit of translation.
- *service*: what the ServiceEntries of a host say together.
- *router*: a MetaRouter; *rule*: one ordered routing rule, from a router or a VirtualService.
- *subset*: a named part of a service's endpoints, from a DestinationRule.
- *problem*: what is wrong with one field of one object; *finding*: a problem found while composing.
- *held*: an object that could not be understood and has no earlier version to stand on.
"""
