"""Real parts, started and stopped: what the README's demo and tests/e2e both need.

Here live an Envoy, a Thrift service and a Thrift client that keeps calling it, each behind an
`async with` that leaves nothing running. What a change looks like from outside is shown with
these; nothing in here knows how the server works, and no other package imports this one.
Needs the `demo` extra.
"""
