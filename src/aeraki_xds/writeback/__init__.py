"""What goes back into a cluster: Istio's objects, written by one replica at a time.

In: the objects that the pipeline wants, and those that are there. Out: creations, updates and
deletions. Guaranteed: nothing is written that is there already, nothing that is not ours is
touched, nothing is deleted on a guess, and of several replicas only the holder of the lock writes.
"""
