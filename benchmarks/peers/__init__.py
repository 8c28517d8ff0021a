"""Servers that are compared: ours, and those that one would have instead. They obey one protocol.

Each is a program in a process of its own, and is told what to do in lines of JSON on standard
input; for each line it says one on standard output. Standard error is free for what it has to say
to people.

    PROGRAM [--tls CERT KEY ROOTS]

It serves on a free port of 127.0.0.1, with `--tls` under mutual TLS, and says {"port": n}. Then

    {"do": "fill", "count": n, "rest": …}   → {}        serve the resources bench-0 … bench-(n-1),
                                                        and no others; before clients come
    {"do": "publish", "name": "bench-0", "rest": …, "acks": n}
                                            → {"at_ns"} change one; from now on n ACKs are expected
    {"do": "expect", "acks": n}             → {}        from now on n ACKs are expected
    {"do": "acked"}                         → {"at_ns"} said when the last of them was handled, with
                                                        the moment; at once if none was expected
    {"do": "cpu"}                           → {"cpu_s"} of the whole process, user and system
    {"do": "memory"}                        → {"rss_kb"} resident, when all garbage is collected and
                                                        what is free was given back to the system;
                                                        {"found_kb"} before, as people would find it
    {"do": "tell"}                          → {"streams", …} what it knows of itself

- A resource is an `envoy.config.route.v3.RouteConfiguration`: field 1, its name, and then the bytes
  of `rest`, which are sent in base64. Route configurations are served by StreamRoutes and
  DeltaRoutes of the RouteDiscoveryService and, aggregated, by StreamAggregatedResources and
  DeltaAggregatedResources.
- A moment is in nanoseconds of CLOCK_MONOTONIC, which all processes of a machine share. That of
  `publish` is when the message is decoded, before anything is made of it that the server needs.
- An ACK is a request that has a `response_nonce` and no `error_detail`. It is handled when it has
  reached what the server keeps of the stream.
- Standard input is the program's leash: it ends with it, whatever it is doing. What it cannot do is
  an end with a status that is not 0, and standard error says why.

`catalogue` knows them all by name, `../servers.py` is the program of those in Python.
"""
