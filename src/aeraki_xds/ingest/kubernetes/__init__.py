"""A Kubernetes cluster as a source of configuration: one list and watch for each kind of object.

In: an API server. Out: batches of events (`event.Source`). Guaranteed: what could not be read is
never taken for gone; only a list that is complete says that an object is not there any more.
Nothing here is imported before a cluster is asked for: kubernetes_asyncio is slow to import.
"""
